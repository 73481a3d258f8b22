"""Reading glTF files of other makers: crafted ones for each feature, and real ones against trimesh."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.io._gltf_container import ARRAY_BUFFER, GltfBuilder
from v2m4.io._gltf_images import pack_atlas
from v2m4.io.any_mesh import read_any_mesh
from v2m4.io.gltf import read_glb, write_glb
from v2m4.io.srgb import linear_to_srgb
from v2m4.mesh import Mesh

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def _png(color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    return cv2.imencode(".png", np.full((*size, 3), color[::-1], np.uint8))[1].tobytes()


def _file(
    path: Path, primitives: list[dict[str, Any]], builder: GltfBuilder, nodes: list[dict[str, Any]] | None = None
) -> Path:
    builder.add("meshes", {"primitives": primitives})
    for node in nodes or [{"mesh": 0}]:
        builder.add("nodes", node)
    builder.add("scenes", {"nodes": [0]})
    path.write_bytes(builder.tobytes())
    return path


def _colors_at_corners(mesh: Mesh) -> np.ndarray:
    """The texture's colour (F, 3, 3) at the middle of each face, three times from its corners' side."""
    uvs = mesh.uvs[mesh.faces if mesh.uv_faces is None else mesh.uv_faces].numpy()
    inner = 0.8 * uvs + 0.2 * uvs.mean(1, keepdims=True)
    height, width = mesh.texture.shape[:2]
    x = np.clip((inner[..., 0] * width).astype(int), 0, width - 1)
    y = np.clip((inner[..., 1] * height).astype(int), 0, height - 1)
    return mesh.texture.numpy()[y, x]


def test_nodes_are_merged_in_world_space_and_mirrors_keep_the_outside(tmp_path: Path) -> None:
    builder = GltfBuilder()
    box = trimesh.creation.box()
    position = builder.accessor(box.vertices.astype(np.float32), ARRAY_BUFFER, bounds=True)
    indices = builder.accessor(box.faces.reshape(-1).astype(np.uint8))
    half = np.sqrt(0.5)
    mirror = np.diag([-2.0, 1.0, 1.0, 1.0])
    mirror[:3, 3] = (0, 7, 0)
    path = _file(
        tmp_path / "a.glb",
        [{"attributes": {"POSITION": position}, "indices": indices}],
        builder,
        [
            {"children": [1, 2], "translation": [10, 0, 0]},
            {"mesh": 0, "rotation": [0, 0, half, half], "scale": [1, 2, 3], "translation": [0, 5, 0]},
            {"mesh": 0, "matrix": mirror.T.reshape(-1).tolist()},
        ],
    )
    mesh = read_glb(path)
    assert len(mesh.vertices) == 16
    assert len(mesh.faces) == 24
    first, second = mesh.vertices[:8], mesh.vertices[8:]
    # Turned by 90 degrees about z, the side of length 2 lies along x.
    np.testing.assert_allclose(np.stack([first.amin(0), first.amax(0)]), [[9, 4.5, -1.5], [11, 5.5, 1.5]], atol=1e-6)
    np.testing.assert_allclose(np.stack([second.amin(0), second.amax(0)]), [[9, 6.5, -0.5], [11, 7.5, 0.5]], atol=1e-6)
    for part in (mesh.faces[:12], mesh.faces[12:]):
        whole = trimesh.Trimesh(mesh.vertices.numpy(), part.numpy(), process=True)
        assert whole.is_watertight
        assert whole.volume > 0


@pytest.mark.parametrize("mode", [4, 5, 6])
def test_lists_strips_and_fans(tmp_path: Path, mode: int) -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    order = {4: [0, 1, 2, 0, 2, 3], 5: [0, 1, 3, 2], 6: [0, 1, 2, 3]}[mode]
    builder = GltfBuilder()
    primitive = {
        "attributes": {"POSITION": builder.accessor(square, ARRAY_BUFFER, bounds=True)},
        "indices": builder.accessor(np.array(order, np.uint16)),
        "mode": mode,
    }
    mesh = read_glb(_file(tmp_path / "a.glb", [primitive], builder))
    corners = mesh.vertices[mesh.faces].numpy()
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    np.testing.assert_allclose(normals, [[0, 0, 1], [0, 0, 1]])


def test_interleaved_and_sparse_accessors(tmp_path: Path) -> None:
    builder = GltfBuilder()
    rows = np.zeros((3, 5), np.float32)
    rows[:, :3] = CORNERS
    view = builder.view(rows.tobytes(), ARRAY_BUFFER, stride=20)
    changed = np.array([[0, 9, 0]], np.float32)
    sparse = {
        "count": 1,
        "indices": {"bufferView": builder.view(np.array([2], np.uint16).tobytes()), "componentType": 5123},
        "values": {"bufferView": builder.view(changed.tobytes())},
    }
    entry = {"bufferView": view, "componentType": 5126, "count": 3, "type": "VEC3", "sparse": sparse}
    mesh = read_glb(_file(tmp_path / "a.glb", [{"attributes": {"POSITION": builder.add("accessors", entry)}}], builder))
    np.testing.assert_array_equal(mesh.vertices, [[0, 0, 0], [1, 0, 0], [0, 9, 0]])


@pytest.mark.parametrize(
    ("kind", "normalized", "unit"),
    [
        (np.int8, True, 127),
        (np.uint8, False, 1),
        (np.int16, True, 32767),
        (np.uint16, True, 65535),
        (np.int16, False, 1),
    ],
)
def test_quantised_positions(tmp_path: Path, kind: type, normalized: bool, unit: float) -> None:
    builder = GltfBuilder()
    builder.use_extension("KHR_mesh_quantization", required=True)
    stored = np.array([[0, 0, 0], [100, 0, 0], [0, 50, 0]], kind)
    position = builder.accessor(stored, ARRAY_BUFFER, True, normalized)
    nodes = [{"mesh": 0, "scale": [2, 2, 2], "translation": [1, 0, 0]}]
    mesh = read_glb(_file(tmp_path / "a.glb", [{"attributes": {"POSITION": position}}], builder, nodes))
    np.testing.assert_allclose(mesh.vertices, stored / unit * 2 + [1, 0, 0], rtol=1e-6)


def test_the_lowest_integer_stands_for_minus_one(tmp_path: Path) -> None:
    builder = GltfBuilder()
    stored = np.array([[-128, 0, 0], [-127, 0, 0], [0, 127, 0]], np.int8)
    position = builder.accessor(stored, ARRAY_BUFFER, True, normalized=True)
    mesh = read_glb(_file(tmp_path / "a.glb", [{"attributes": {"POSITION": position}}], builder))
    np.testing.assert_array_equal(mesh.vertices, [[-1, 0, 0], [-1, 0, 0], [0, 1, 0]])


def test_pictures_of_an_atlas_do_not_bleed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(5, 9), (16, 3), (1, 1), (7, 7), (12, 12)]
    pictures = [rng.random((*size, 3)).astype(np.float32) for size in sizes]
    sheet, maps = pack_atlas(pictures)
    height, width = sheet.shape[:2]
    for picture, (x, y, scale_x, scale_y) in zip(pictures, maps, strict=True):
        left, top = round(x * width), round(y * height)
        assert (round(scale_y * height), round(scale_x * width)) == picture.shape[:2]
        around = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
        found = sheet[top - 2 : top + picture.shape[0] + 2, left - 2 : left + picture.shape[1] + 2]
        np.testing.assert_array_equal(found, around)
    with pytest.raises(ValueError, match="reduce them first"):
        pack_atlas([np.zeros((2, 8200, 3), np.float32)])


def _textured(
    builder: GltfBuilder,
    uvs: np.ndarray,
    color: tuple[int, int, int] | np.ndarray,
    base: dict[str, Any],
    wrap: int = 10497,
) -> dict[str, Any]:
    """A primitive: one triangle with a texture of its own."""
    if isinstance(color, tuple):
        picture = _png(color)
    else:
        picture = cv2.imencode(".png", np.ascontiguousarray(color[..., ::-1]))[1].tobytes()
    image = builder.add("images", {"bufferView": builder.view(picture), "mimeType": "image/png"})
    sampler = builder.add("samplers", {"wrapS": wrap, "wrapT": wrap})
    texture = builder.add("textures", {"source": image, "sampler": sampler})
    reference = {"index": texture, **base.pop("reference", {})}
    material = builder.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference, **base}})
    attributes = {
        "POSITION": builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True),
        "TEXCOORD_0": builder.accessor(uvs.astype(np.float32), ARRAY_BUFFER),
    }
    return {"attributes": attributes, "material": material}


def test_several_materials_share_one_atlas(tmp_path: Path) -> None:
    builder = GltfBuilder()
    inside = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    plain = builder.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0.5, 1]}})
    primitives = [
        _textured(builder, inside, (255, 0, 0), {}),
        _textured(builder, inside, (0, 200, 0), {}),
        {"attributes": {"POSITION": builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True)}, "material": plain},
        _textured(builder, inside, (200, 100, 50), {"baseColorFactor": [0.5, 1, 0, 1]}),
    ]
    mesh = read_glb(_file(tmp_path / "a.glb", primitives, builder))
    half = float(linear_to_srgb(np.float32(0.5)))
    linear = ((200 / 255 + 0.055) / 1.055) ** 2.4
    dim = float(linear_to_srgb(np.float32(linear * 0.5)))
    expected = [[1, 0, 0], [0, 200 / 255, 0], [0, 0, half], [dim, 100 / 255, 0]]
    colors = _colors_at_corners(mesh)
    assert colors.shape == (4, 3, 3)
    np.testing.assert_allclose(colors, np.repeat(np.array(expected)[:, None], 3, 1), atol=0.01)


def test_a_factor_without_a_texture_is_a_vertex_colour(tmp_path: Path) -> None:
    builder = GltfBuilder()
    material = builder.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.5, 1, 1]}})
    colored = np.array([[65535, 0, 0, 65535]] * 3, np.uint16)
    primitives = [
        {"attributes": {"POSITION": builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True)}, "material": material},
        {
            "attributes": {
                "POSITION": builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True),
                "COLOR_0": builder.accessor(colored, ARRAY_BUFFER, normalized=True),
            },
            "material": material,
        },
    ]
    mesh = read_glb(_file(tmp_path / "a.glb", primitives, builder))
    expected = linear_to_srgb(np.array([[0.2, 0.5, 1], [0.2, 0, 0]]))
    np.testing.assert_allclose(mesh.colors[[0, 3]], expected, atol=1e-6)
    assert mesh.texture is None


@pytest.mark.parametrize(("wrap", "reads"), [(10497, 0), (33071, 1), (33648, 1)])
def test_coordinates_outside_follow_the_wrap_mode(tmp_path: Path, wrap: int, reads: int) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255  # dark left half, bright right half
    uvs = np.array([[1.05, 0.2], [1.4, 0.2], [1.05, 0.4]])  # repeat: left half; clamp and mirror: right half
    builder = GltfBuilder()
    mesh = read_glb(_file(tmp_path / "a.glb", [_textured(builder, uvs, picture, {}, wrap)], builder))
    assert float(mesh.uvs.min()) >= 0
    assert float(mesh.uvs.max()) <= 1
    np.testing.assert_allclose(_colors_at_corners(mesh), reads)


def test_a_face_over_several_tiles_gets_a_repeated_picture(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    uvs = np.array([[-1.75, 0.2], [1.25, 0.2], [0.75, 0.4]])
    builder = GltfBuilder()
    mesh = read_glb(_file(tmp_path / "a.glb", [_textured(builder, uvs, picture, {})], builder))
    for weights in np.random.default_rng(0).dirichlet([1, 1, 1], 50):
        u_file = weights @ uvs[:, 0]
        u_mesh = weights @ mesh.uvs[mesh.faces if mesh.uv_faces is None else mesh.uv_faces][0, :, 0].numpy()
        if abs(u_file * 2 - round(u_file * 2)) > 0.02:  # away from the edges of the halves
            column = int(u_mesh * mesh.texture.shape[1])
            assert float(mesh.texture[0, column, 0]) == float(u_file % 1 >= 0.5)


def test_texture_transforms_are_applied(tmp_path: Path) -> None:
    builder = GltfBuilder()
    builder.use_extension("KHR_texture_transform", required=True)
    uvs = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    # The extension's own example: the lower left quarter of the picture, turned clockwise by 90 degrees.
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    base = {"reference": {"extensions": {"KHR_texture_transform": transform}}}
    mesh = read_glb(_file(tmp_path / "a.glb", [_textured(builder, uvs, (9, 9, 9), base)], builder))
    np.testing.assert_allclose(mesh.uvs, [[0, 1], [0, 0.5], [0.5, 1]], atol=1e-6)


def test_welding_closes_what_seams_had_opened(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    rng = torch.Generator().manual_seed(0)
    mesh = Mesh(
        torch.tensor(box.vertices, dtype=torch.float32),
        torch.tensor(box.faces),
        torch.rand(36, 2, generator=rng),
        torch.arange(36).reshape(12, 3),
        torch.rand(4, 4, 3, generator=rng),
    )
    write_glb(tmp_path / "a.glb", mesh)
    split, welded = read_glb(tmp_path / "a.glb"), read_glb(tmp_path / "a.glb", weld=True)
    assert len(split.vertices) == 36
    assert split.uv_faces is None
    assert len(welded.vertices) == 8
    assert trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), process=False).is_watertight
    assert torch.equal(welded.vertices, mesh.vertices)
    assert torch.equal(welded.faces, mesh.faces)
    assert torch.equal(welded.uvs[welded.uv_faces], mesh.uvs[mesh.uv_faces])


def test_gltf_with_inline_and_with_external_buffers(tmp_path: Path) -> None:
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
    }
    inline = "data:application/octet-stream;base64," + base64.b64encode(CORNERS.tobytes()).decode()
    for uri in (inline, "my%20mesh.bin"):
        document["buffers"] = [{"byteLength": 36, "uri": uri}]
        (tmp_path / "my mesh.bin").write_bytes(CORNERS.tobytes())
        (tmp_path / "a.gltf").write_text(json.dumps(document))
        np.testing.assert_array_equal(read_any_mesh(tmp_path / "a.gltf").vertices, CORNERS)
    (tmp_path / "my mesh.bin").unlink()
    with pytest.raises(ValueError, match=r"refers to my mesh\.bin, which is not there"):
        read_glb(tmp_path / "a.gltf")
    document["buffers"][0]["uri"] = "https://example.org/a.bin"
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="remote files are not fetched"):
        read_glb(tmp_path / "a.gltf")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"extensionsRequired": ["KHR_gaussian_splatting"]}, "KHR_gaussian_splatting.*Gaussian splats"),
        ({"asset": {"version": "1.0"}}, "not a glTF 2.0 file"),
        ({"nodes": [{"mesh": 0, "children": [0]}]}, "no tree"),
        ({"nodes": [{"mesh": 3}]}, "broken glTF"),
        ({"nodes": []}, "node 0 of 0"),
        ({"nodes": [{}]}, "no triangles"),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}]}, "past the end"),
        ({"bufferViews": [{"buffer": 0, "byteLength": 9999}]}, "cut off"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    builder = GltfBuilder()
    position = builder.accessor(CORNERS, ARRAY_BUFFER, bounds=True)
    builder.add("meshes", {"primitives": [{"attributes": {"POSITION": position}}]})
    builder.add("nodes", {"mesh": 0})
    builder.add("scenes", {"nodes": [0]})
    builder.json.update(change)
    path = tmp_path / "a.glb"
    path.write_bytes(builder.tobytes())
    with pytest.raises(ValueError, match=says) as raised:
        read_glb(path)
    assert str(path) in str(raised.value)


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    write_glb(path, Mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]])))
    whole = path.read_bytes()
    for data in (b"", b"glTF", whole[:40], whole[:-10], b"not a mesh at all", b"[1, 2]", b"\xff\xfe\x00"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.glb"):
            read_glb(path)
    with pytest.raises(OSError, match="missing"):
        read_glb(tmp_path / "missing.glb")


VALUES = [None, -1, 0, 10**9, 1.5, True, "x", [], {}, [1], {"a": 1}, "data:,"]


def _places(item: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside nested lists and dicts."""
    for key in item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
        yield (*place, key)
        yield from _places(item[key], (*place, key))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_to_the_document_is_read_or_said(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    builder = GltfBuilder()
    uvs = np.array([[0.1, 0.1], [2.9, 0.1], [0.1, 0.9]])
    primitive = _textured(builder, uvs, (1, 2, 3), {"baseColorFactor": [0.5, 1, 1, 1]})
    primitive["indices"] = builder.accessor(np.array([0, 1, 2], np.uint16))
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    _file(path, [primitive], builder, [{"children": [1]}, {"mesh": 0, "scale": [1, 2, 3]}])
    place = data.draw(st.sampled_from(list(_places(builder.json))))
    item: Any = builder.json
    for key in place[:-1]:
        item = item[key]
    item[place[-1]] = data.draw(st.sampled_from(VALUES))
    path.write_bytes(builder.tobytes())
    try:
        assert len(read_glb(path).faces) > 0
    except ValueError as error:
        assert str(path) in str(error)


def test_a_picture_that_is_none_is_named_and_the_factor_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = GltfBuilder()
    primitive = _textured(builder, np.full((3, 2), 0.5), (1, 2, 3), {"baseColorFactor": [1, 0, 0, 1]})
    builder.json["images"][0]["bufferView"] = 1
    mesh = read_glb(_file(tmp_path / "a.glb", [primitive], builder))
    assert mesh.texture is None
    np.testing.assert_array_equal(mesh.colors, [[1, 0, 0]] * 3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a.glb: image 0" in caplog.text


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".off"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box()
    box.export(tmp_path / f"a{suffix}")
    mesh = read_any_mesh(tmp_path / f"a{suffix}", weld=True)
    assert len(mesh.faces) == 12
    assert len(mesh.vertices) == 8
    np.testing.assert_allclose(torch.stack(mesh.bounds()), box.bounds)
    with pytest.raises(ValueError, match=r"unknown mesh format '\.rock'"):
        read_any_mesh(tmp_path / "a.rock")
    with pytest.raises(OSError, match="no such file"):
        read_any_mesh(tmp_path / f"missing{suffix}")
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        read_any_mesh(tmp_path / f"empty{suffix}")


def test_obj_with_texture_has_v_downwards(tmp_path: Path) -> None:
    (tmp_path / "t.png").write_bytes(_png((255, 0, 0)))
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.25 0.9\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
    )
    mesh = read_any_mesh(tmp_path / "a.obj")
    np.testing.assert_allclose(mesh.uvs[mesh.faces][0], [[0.25, 0.1], [1, 1], [0, 0]], atol=1e-6)
    assert mesh.texture[0, 0].tolist() == [1, 0, 0]


def test_ply_with_colours(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile([255, 51, 0, 255], (8, 1))
    box.export(tmp_path / "a.ply")
    np.testing.assert_allclose(read_any_mesh(tmp_path / "a.ply").colors, np.tile([1, 0.2, 0], (8, 1)), atol=1e-6)


@needs_data
@pytest.mark.parametrize("name", ["existing/chili.glb", "animated/Fox.glb", "animated/RobotExpressive.glb"])
def test_real_files_against_trimesh(name: str) -> None:
    mesh, welded = read_glb(DATA / name), read_glb(DATA / name, weld=True)
    oracle = trimesh.load_scene(DATA / name).to_geometry()
    assert len(mesh.vertices) == len(oracle.vertices)
    assert len(mesh.faces) == len(welded.faces) == len(oracle.faces)
    size = float(oracle.extents.max())
    np.testing.assert_allclose(torch.stack(mesh.bounds()), oracle.bounds, atol=1e-5 * size)
    np.testing.assert_allclose(torch.stack(welded.bounds()), oracle.bounds, atol=1e-5 * size)
    area = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).area
    assert area == pytest.approx(oracle.area, rel=1e-4)
    assert torch.equal(mesh.vertices[mesh.faces], welded.vertices[welded.faces])
    assert len(welded.vertices) < len(mesh.vertices)
    assert (mesh.texture is None) == name.endswith("Expressive.glb")
    assert (mesh.colors is None) != name.endswith("Expressive.glb")
