"""Users' meshes that are no glTF: what they say is all there, and pictures are the bytes on the disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tests.v2m4.io.user_mesh_documents import picture, poses_of, two_parts
from v2m4.io._gltf_container import load_document
from v2m4.io._obj_parse import FaceGroup
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.io.srgb import linear_to_srgb
from v2m4.io.user_mesh import open_user_mesh

OBJ = """# a square of two materials, and a triangle
mtllib a.mtl
o square
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 2 0 0
v 2 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vn 0 0 2
usemtl cloth
s 1
f 1/1/1 2/2/1 3/3/1 4/4/1
usemtl red
f -5//-1 -2//-1 -1//-1 -4//-1 # from the end
o flag
v 0 0 5
v 1 0 5
v 0 1 5
usemtl cloth
f 7/1 8/2 9/3
"""
MTL = """newmtl cloth
Kd 0.1 0.1 0.1
map_Kd -s 1 1 1 -bm 0.5 a cloth.png
newmtl red
Kd 0.5 0.25 0
d 0.5
Ke 0 0 0
"""


@pytest.fixture
def obj(tmp_path: Path) -> Path:
    (tmp_path / "a.obj").write_text(OBJ)
    (tmp_path / "a.mtl").write_text(MTL)
    (tmp_path / "a cloth.png").write_bytes(picture(".png", 30))
    return tmp_path / "a.obj"


def test_an_obj_keeps_parts_materials_and_pictures(obj: Path, tmp_path: Path) -> None:
    user_mesh = open_user_mesh(obj)
    assert len(user_mesh.mesh.vertices) == 6 + 3 and len(user_mesh.mesh.faces) == 2 + 2 + 1
    path = tmp_path / "out.glb"
    poses = poses_of(user_mesh, 3)
    user_mesh.write_animation(path, poses, [0, 1, 2])
    document = load_document(path)
    assert [node["name"] for node in document.items("nodes")] == ["square", "flag"]
    assert [len(mesh["primitives"]) for mesh in document.items("meshes")] == [2, 1]
    assert document.image_bytes(0) == (obj.parent / "a cloth.png").read_bytes()
    cloth, red = document.items("materials")
    assert cloth["name"] == "cloth" and "baseColorFactor" not in cloth["pbrMetallicRoughness"]
    assert red["pbrMetallicRoughness"]["baseColorFactor"] == [0.5, 0.25, 0.0, 0.5] and red["alphaMode"] == "BLEND"
    assert "emissiveFactor" not in red
    attributes = document.items("meshes")[0]["primitives"][0]["attributes"]
    order = document.accessor(attributes["POSITION"])
    uvs = document.accessor(attributes["TEXCOORD_0"])
    assert np.array_equal(uvs, np.stack([order[:, 0], 1 - order[:, 1]], 1))
    assert np.array_equal(document.accessor(attributes["NORMAL"]), np.tile([0, 0, 1], (4, 1)))
    back = read_animation(path)
    for pose, seen in zip(poses, back.vertices.numpy(), strict=True):
        assert np.abs(seen - pose[np.concatenate(user_mesh.vertex_maps)]).max() < 1e-4


def test_the_content_digest_covers_files_beside_the_obj(obj: Path) -> None:
    before = open_user_mesh(obj).content_digest
    assert open_user_mesh(obj).content_digest == before
    (obj.parent / "a cloth.png").write_bytes(picture(".png", 31))
    assert open_user_mesh(obj).content_digest != before


def test_objects_that_share_vertices_are_one(obj: Path) -> None:
    obj.write_text(OBJ + "f 1 2 7\n")
    user_mesh = open_user_mesh(obj)
    assert len(user_mesh.mesh_nodes) == 1 and len(user_mesh.mesh.vertices) == 9


def test_an_obj_with_colours_of_vertices(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 0.5\nf 1 2 3\n")
    mesh = open_user_mesh(tmp_path / "a.obj").mesh
    assert mesh.colors is not None
    assert torch.allclose(mesh.colors, torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0.5]]), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("v 0 0 0\nv 1 0 0\nf 1 2 3\n", "v 3 of 2"),
        ("v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", "v line with 2 numbers"),
        ("v 0 0 0\nf 1 two 3\n", "line 2"),
        ("v 0 0 0\nf 0 1 1\n", "line 2"),
        ("v 0 0 0\n", "no faces"),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 1 2\n", "no triangle has an area"),
    ],
)
def test_broken_objs_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        open_user_mesh(tmp_path / "a.obj")
    assert "a.obj" in str(error.value) and "\n" not in str(error.value)


def test_a_ply_keeps_its_colours(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(2)
    colors = (127 + 120 * ball.vertices).astype(np.uint8)
    ball.visual = trimesh.visual.ColorVisuals(ball, vertex_colors=colors)
    ball.export(tmp_path / "a.ply")
    user_mesh = open_user_mesh(tmp_path / "a.ply")
    assert user_mesh.mesh.colors is not None and len(user_mesh.mesh.vertices) == 162
    nearest = np.abs(user_mesh.mesh.vertices.numpy()[:, None] - ball.vertices).sum(2).argmin(1)
    assert np.abs(user_mesh.mesh.colors.numpy() * 255 - colors[nearest]).max() < 0.01
    path = tmp_path / "out.glb"
    user_mesh.write_animation(path, poses_of(user_mesh, 2), [0, 1])
    document = load_document(path)
    stored = document.accessor(document.items("meshes")[0]["primitives"][0]["attributes"]["COLOR_0"])
    assert np.abs(linear_to_srgb(stored) * 255 - colors).max() < 0.01


def test_a_ply_with_a_picture(tmp_path: Path) -> None:
    corners = [(0, 0, 0, 0, 0), (1, 0, 0, 1, 0), (1, 1, 0, 1, 1), (0, 1, 0, 0, 1)]
    header = "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 4\n"
    header += "".join(f"property float {name}\n" for name in ("x", "y", "z", "s", "t"))
    header += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    rows = "".join(" ".join(map(str, row)) + "\n" for row in corners)
    (tmp_path / "a.ply").write_text(header + rows + "3 0 1 2\n3 0 2 3\n")
    (tmp_path / "skin.png").write_bytes(picture(".png", 60))
    user_mesh = open_user_mesh(tmp_path / "a.ply")
    assert user_mesh.document.image_bytes(0) == (tmp_path / "skin.png").read_bytes()
    assert user_mesh.mesh.texture is not None and user_mesh.mesh.uvs is not None
    assert torch.allclose(user_mesh.mesh.uvs[:, 1], 1 - user_mesh.mesh.vertices[:, 1])


@pytest.mark.parametrize("suffix", [".stl", ".off"])
def test_stl_and_off_are_welded(tmp_path: Path, suffix: str) -> None:
    trimesh.creation.icosphere(2).export(tmp_path / f"a{suffix}")
    user_mesh = open_user_mesh(tmp_path / f"a{suffix}")
    assert len(user_mesh.mesh.vertices) == 162 and user_mesh.mesh.colors is not None
    pose, path = poses_of(user_mesh, 1)[0], tmp_path / "out.glb"
    user_mesh.write_static(path, pose)
    seen = read_glb(path).vertices.numpy()
    assert np.abs(seen - pose[np.concatenate(user_mesh.vertex_maps)]).max() < 1e-6


@pytest.mark.parametrize("suffix", [".stl", ".off", ".ply", ".glb", ".gltf", ".obj"])
def test_malformed_files_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for data in (b"", b"rubbish \xff\x00" * 40):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"a\\{suffix}") as error:
            open_user_mesh(path)
        assert "\n" not in str(error.value)


def test_a_gltf_cut_off_is_refused(tmp_path: Path) -> None:
    whole = two_parts(tmp_path / "a.glb").read_bytes()
    for length in range(0, len(whole), len(whole) // 17):
        (tmp_path / "cut.glb").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.glb"):
            open_user_mesh(tmp_path / "cut.glb")


@pytest.mark.parametrize("kind", ["{0}", "{0}/{1}", "{0}//{2}", "{0}/{1}/{2}"])
def test_many_faces_at_once_are_the_same_as_one_by_one(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(50):
        words = [kind.format(*rng.integers(1, 90, 3)) for _ in range(rng.integers(3, 5))]
        lines.append((number, " ".join(words), (90, 90, 90)))
    faces = FaceGroup("a", "", lines)
    quick = faces._parse_uniform()
    assert quick is not None
    for one, other in zip(quick, faces._parse_any(tmp_path), strict=True):
        assert np.array_equal(one, other)
    for other in ("-1 -2 -3", "1/1 2 3", "", "1 2 x"):
        assert FaceGroup("a", "", [*lines, (50, other, (90, 90, 90))])._parse_uniform() is None
