"""Users' glTF files: opened as one surface, written back moving, and everything else as it was."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.v2m4.io.user_mesh_documents import (
    GltfScene,
    cube_corners,
    external,
    fingerprints,
    instances,
    poses_of,
    rewritten,
    two_parts,
)
from v2m4.camera import Orbit
from v2m4.decimate import sample_texture
from v2m4.io._gltf_container import load_document
from v2m4.io._gltf_deform import read_deformer
from v2m4.io._gltf_nodes import local_matrix, scene_nodes, world_matrices
from v2m4.io.gltf import read_glb, write_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.user_mesh import UserMesh, open_user_mesh

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
TIMES = np.array([0.0, 0.25, 0.5, 1.0])
ROUNDING = 2.2e-5  # of the size, with 16-bit positions


def shared(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no test data at {path}")
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "parts": lambda folder: two_parts(folder / "a.glb"),
    "instances": lambda folder: instances(folder / "a.glb"),
    "external": external,
    "fox": lambda _: shared("animated/Fox.glb"),
    "robot": lambda _: shared("animated/RobotExpressive.glb"),
}


@pytest.fixture(params=sorted(MAKERS))
def user_mesh(request: pytest.FixtureRequest, tmp_path: Path) -> UserMesh:
    return open_user_mesh(MAKERS[request.param](tmp_path))


def expected_rows(user_mesh: UserMesh, pose: np.ndarray) -> np.ndarray:
    """Where all vertices that the file stores and faces use have to be, in the reader's order."""
    found = []
    for mesh_node in user_mesh.mesh_nodes:
        numbers = {number: buffer for buffer in mesh_node.buffers for number in buffer.primitives}
        for number in sorted(numbers):
            found.append(np.append(mesh_node.working_vertex, -1)[numbers[number].node_vertex])
    source = np.concatenate(found)
    return np.where((source >= 0)[:, None], pose[source], np.nan)


def size_of(user_mesh: UserMesh) -> float:
    return float(np.ptp(user_mesh.mesh.vertices.numpy(), axis=0).max())


@pytest.mark.parametrize("quantize", [True, False])
def test_a_viewer_shows_the_poses(user_mesh: UserMesh, tmp_path: Path, quantize: bool) -> None:
    poses, path = poses_of(user_mesh, 4), tmp_path / "out.glb"
    user_mesh.write_animation(path, poses, TIMES, quantize=quantize)
    read = read_animation(path, times=np.append(TIMES, 0.75))
    limit = (ROUNDING if quantize else 2e-6) * size_of(user_mesh)
    for index, pose in enumerate([*poses, (poses[2] + poses[3]) / 2]):
        expected = expected_rows(user_mesh, pose)
        seen = read.vertices[index].numpy()
        assert seen.shape == expected.shape
        assert np.nanmax(np.abs(seen - expected)) < limit


def test_all_other_content_of_the_file_is_kept(user_mesh: UserMesh, tmp_path: Path) -> None:
    poses, path = poses_of(user_mesh, 4), tmp_path / "out.glb"
    user_mesh.write_animation(path, poses, TIMES)
    before, after = dict(fingerprints(user_mesh.document)), dict(fingerprints(load_document(path)))
    assert {name: after.get(name) for name in before} == before
    assert [clip.name for clip in list_animations(path)] == ["animation"]
    assert not load_document(path).items("skins")


def test_a_static_pose_is_written_and_read_back(user_mesh: UserMesh, tmp_path: Path) -> None:
    pose, path = poses_of(user_mesh, 1)[0], tmp_path / "out.glb"
    user_mesh.write_static(path, pose)
    before, after = dict(fingerprints(user_mesh.document, True)), dict(fingerprints(load_document(path), True))
    assert {name: after.get(name) for name in before} == before
    again = open_user_mesh(path)
    assert np.nanmax(np.abs(read_glb(path).vertices.numpy() - expected_rows(user_mesh, pose))) < 2e-6 * size_of(
        user_mesh
    )
    assert np.array_equal(again.mesh.faces, user_mesh.mesh.faces)


def test_the_rest_pose_is_that_of_a_viewer(user_mesh: UserMesh) -> None:
    """The reader of animations knows skins and morph weights; there the clip's first moment is not at rest."""
    document = user_mesh.document
    nodes, parents = document.items("nodes"), scene_nodes(document)
    world = world_matrices(parents, {index: local_matrix(nodes[index]) for index in parents})
    seen = []
    for index in parents:
        if "mesh" not in nodes[index]:
            continue
        mesh = document.items("meshes")[nodes[index]["mesh"]]
        for primitive in mesh["primitives"]:
            base = document.accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
            weights = nodes[index].get("weights", mesh.get("weights", []))
            seen.append(read_deformer(document, index, primitive, base, world).poses(world, np.array([weights]))[0])
    expected = expected_rows(user_mesh, user_mesh.mesh.vertices.numpy())
    assert np.nanmax(np.abs(np.concatenate(seen) - expected)) < 1e-6 * size_of(user_mesh)


def test_the_rest_pose_is_written_as_itself(user_mesh: UserMesh, tmp_path: Path) -> None:
    rest, path = user_mesh.mesh.vertices.numpy(), tmp_path / "out.glb"
    user_mesh.write_animation(path, rest[None], [0.0])
    document = load_document(path)
    for mesh_node in user_mesh.mesh_nodes:
        if mesh_node.placement is not None or mesh_node.rest is not mesh_node.base:
            continue
        mesh = document.items("meshes")[document.items("nodes")[mesh_node.node_index]["mesh"]]
        for index in {index for primitive in mesh["primitives"] for index in primitive["targets"][0].values()}:
            assert np.abs(document.accessor(index)).max() < 1e-6


def test_normals_and_tangents_turn_with_the_surface(tmp_path: Path) -> None:
    """A rigid turn of everything turns every stored normal and tangent, hard edges too."""
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    pose = (user_mesh.mesh.vertices.numpy() @ turn.T).astype(np.float32)
    moving, still = tmp_path / "moving.glb", tmp_path / "still.glb"
    user_mesh.write_animation(moving, pose[None], [0.0])
    user_mesh.write_static(still, pose)
    document, fixed = load_document(moving), load_document(still)
    nodes = document.items("nodes")
    for index, node in enumerate(nodes):
        to_world = local_matrix(node)[:3, :3]
        primitives = document.items("meshes")[node["mesh"]]["primitives"]
        others = fixed.items("meshes")[fixed.items("nodes")[index]["mesh"]]["primitives"]
        for primitive, other in zip(primitives, others, strict=True):
            names = {"NORMAL", "TANGENT"} & primitive["attributes"].keys()
            assert names <= primitive["targets"][0].keys()
            for name in names:
                base = document.accessor(primitive["attributes"][name])[:, :3]
                moved = base + document.accessor(primitive["targets"][0][name])
                moved /= np.linalg.norm(moved, axis=1, keepdims=True)
                expected = base @ (turn @ to_world).T
                used = np.unique(document.accessor(primitive["indices"]))
                assert np.abs(moved @ to_world.T - expected)[used].max() < 0.02
                stored = fixed.accessor(other["attributes"][name])[:, :3]
                assert np.abs(stored @ to_world.T - expected)[used].max() < 1e-5


def test_only_two_targets_act_at_any_time(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    path = tmp_path / "out.glb"
    user_mesh.write_animation(path, poses_of(user_mesh, 4), TIMES, target_names=["a", "b", "c", "d"])
    document = load_document(path)
    (animation,) = document.items("animations")
    (sampler,) = animation["samplers"]
    weights = document.accessor(sampler["output"]).reshape(4, 4)
    assert np.array_equal(weights, np.eye(4))
    assert np.array_equal(document.accessor(sampler["input"])[:, 0], TIMES.astype(np.float32))
    assert {channel["target"]["node"] for channel in animation["channels"]} == {0, 1}
    for mesh in document.items("meshes"):
        assert mesh["extras"]["targetNames"] == ["a", "b", "c", "d"]
        assert mesh["weights"] == [1, 0, 0, 0]


def test_seams_are_closed_and_parts_are_not_joined(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    assert [len(mesh_node.base) for mesh_node in user_mesh.mesh_nodes] == [8, 162]
    assert len(user_mesh.mesh.vertices) == 170
    assert not set(user_mesh.mesh_nodes[0].working_vertex) & set(user_mesh.mesh_nodes[1].working_vertex)
    assert user_mesh.mesh.texture is not None and user_mesh.mesh.uv_faces is not None
    three = open_user_mesh(instances(tmp_path / "b.glb"))
    assert len(three.mesh.vertices) == 24
    assert three.mesh.colors is not None and three.mesh.texture is None


def split_box(path: Path, apart: float = 0.0, colors: bool = False) -> Path:
    """A box whose lid is a node of its own, and a second box on top of it, all of its sides there."""
    scene = GltfScene()
    positions, normals, _, faces = cube_corners()
    red, blue = scene.plain((1, 0, 0)), scene.plain((0, 0, 1))
    for name, part, lift, material in (
        ("lid", faces[6:8], 0.0, red),
        ("case", np.delete(faces, [6, 7], 0), 0.0, blue if colors else red),
        ("other", faces, 1.0 + apart, red),
    ):
        primitive = {
            "attributes": {"POSITION": scene.attribute(positions + np.array([0, lift, 0]), True)},
            "indices": scene.indices(part),
            "material": material,
        }
        mesh = scene.builder.add("meshes", {"primitives": [primitive]})
        scene.node(name=name, mesh=mesh)
    assert np.all(normals[faces[6]] == [0, 1, 0])
    return scene.write(path)


def test_a_surface_cut_into_nodes_hangs_together_and_boxes_that_touch_do_not(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(split_box(tmp_path / "a.glb"))
    lid, case, other = (set(mesh_node.working_vertex) for mesh_node in user_mesh.mesh_nodes)
    assert len(user_mesh.mesh.vertices) == 16
    assert lid < case and not case & other
    used = np.concatenate([np.unique(mesh_node.working_vertex) for mesh_node in user_mesh.mesh_nodes])
    assert len(used) == 4 + 8 + 8


def test_the_border_of_two_plain_colours_stays_sharp(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(split_box(tmp_path / "a.glb", colors=True))
    mesh = user_mesh.mesh
    assert mesh.texture is not None and mesh.uvs is not None and mesh.uv_faces is not None
    columns = (mesh.uvs[mesh.uv_faces][..., 0] * mesh.texture.shape[1]).long()
    shown = mesh.texture[2, columns]
    red = torch.tensor([1.0, 0, 0])
    is_red = (shown == red).all(-1)
    assert torch.equal(is_red.all(1), is_red.any(1))
    assert int(is_red.all(1).sum()) == 2 + 12
    assert int((shown == red.flip(0)).all(-1).all(1).sum()) == 10


def test_large_pictures_are_shown_smaller_and_kept_as_they_are(tmp_path: Path) -> None:
    """Five pictures, of which two alone fill the largest atlas that a reader would make; one is tiled."""
    scene, sources = GltfScene(), []
    positions, _, uvs, faces = cube_corners()
    for number in range(5):
        pixels = np.full((8, 8000 if number < 2 else 64, 3), 40 * number + 20, np.uint8)
        sources.append(cv2.imencode(".png", pixels)[1].tobytes())
        image = scene.builder.add("images", {"bufferView": scene.builder.view(sources[-1]), "mimeType": "image/png"})
        texture = {"index": scene.builder.add("textures", {"source": image})}
        material = scene.builder.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": texture}})
        attributes = {"POSITION": scene.attribute(positions + 3.0 * number, True)}
        attributes["TEXCOORD_0"] = scene.attribute(uvs * (9 if number == 1 else 1))
        primitive = {"attributes": attributes, "indices": scene.indices(faces), "material": material}
        scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    user_mesh = open_user_mesh(scene.write(tmp_path / "a.glb"))
    mesh = user_mesh.mesh
    assert mesh.texture is not None and mesh.uvs is not None and max(mesh.texture.shape) <= 4096
    found = sample_texture(mesh.texture, mesh.uvs if mesh.uv_faces is None else mesh.uvs[mesh.uv_faces].mean(1))
    assert sorted(set((found[:, 0] * 255).round().int().tolist())) == [20, 60, 100, 140, 180]
    user_mesh.write_animation(tmp_path / "out.glb", mesh.vertices[None], [0.0])
    document = load_document(tmp_path / "out.glb")
    assert [document.image_bytes(number) for number in range(5)] == sources


def test_a_mesh_without_a_material_is_white(tmp_path: Path) -> None:
    scene = GltfScene()
    positions, _, _, faces = cube_corners()
    primitive = {"attributes": {"POSITION": scene.attribute(positions, True)}, "indices": scene.indices(faces)}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    mesh = open_user_mesh(scene.write(tmp_path / "a.glb")).mesh
    assert mesh.colors is not None and bool((mesh.colors == 1).all())


def test_the_camera_stands_in_the_scene(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    path = tmp_path / "out.glb"
    user_mesh.write_animation(
        path, poses_of(user_mesh, 1), [0.0], camera=Orbit.of(yaw=0.5, radius=3.0).camera(aspect=1.5)
    )
    document = load_document(path)
    (camera,) = document.items("cameras")
    assert camera["perspective"]["aspectRatio"] == 1.5
    (node,) = [index for index, node in enumerate(document.items("nodes")) if "camera" in node]
    assert node in document.items("scenes")[0]["nodes"]


def test_points_and_scaled_away_nodes_stay(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        box = document["meshes"][0]
        box["primitives"].append({"attributes": {"POSITION": 0}, "mode": 0})
        document["nodes"].append({"mesh": 1, "scale": [0, 0, 0], "name": "hidden"})
        document["scenes"][0]["nodes"].append(2)

    user_mesh = open_user_mesh(rewritten(two_parts(tmp_path / "a.glb"), tmp_path / "b.glb", change))
    path = tmp_path / "out.glb"
    user_mesh.write_animation(path, poses_of(user_mesh, 2), [0.0, 1.0])
    document = load_document(path)
    assert [len(primitive["targets"]) for primitive in document.items("meshes")[0]["primitives"]] == [2, 2, 2]
    hidden = document.items("nodes")[2]
    assert "targets" not in document.items("meshes")[hidden["mesh"]]["primitives"][0]
    assert len(read_animation(path)) == 2


def test_a_child_of_a_skinned_node_stays_where_it_is(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        document["nodes"].append({"name": "hat", "translation": [0, 90, 0], "mesh": 1})
        document["nodes"][1]["children"] = [len(document["nodes"]) - 1]
        document["nodes"][1]["translation"] = [0, 0, 50]
        document["meshes"].append({"primitives": [{"attributes": {"POSITION": 0}}]})

    user_mesh = open_user_mesh(rewritten(shared("animated/Fox.glb"), tmp_path / "a.glb", change))
    assert len(user_mesh.mesh_nodes) == 2
    path = tmp_path / "out.glb"
    user_mesh.write_animation(path, poses_of(user_mesh, 2), [0.0, 1.0])
    document = load_document(path)
    assert [node["name"] for node in document.items("nodes") if "mesh" in node] == ["hat", "fox"]
    assert "mesh" not in document.items("nodes")[1]
    seen = np.sort(read_animation(path).vertices[1].numpy(), axis=0)
    assert np.abs(seen - np.sort(expected_rows(user_mesh, poses_of(user_mesh, 2)[1]), axis=0)).max() < 1e-3


def test_quantised_files_and_our_own_move_too(tmp_path: Path) -> None:
    """Positions in 16 bits under a scaled node; then the moving result, opened again at its first pose."""
    source = read_glb(two_parts(tmp_path / "a.glb"), weld=True)
    write_glb(tmp_path / "b.glb", source, quantize=True)
    user_mesh = open_user_mesh(tmp_path / "b.glb")
    assert len(user_mesh.mesh.vertices) == len(source.vertices)
    poses, path = poses_of(user_mesh, 3), tmp_path / "out.glb"
    user_mesh.write_animation(path, poses, [0, 1, 2])
    seen, rows = read_animation(path).vertices.numpy(), np.concatenate(user_mesh.vertex_maps)
    assert np.abs(seen[:, rows >= 0] - poses[:, rows[rows >= 0]]).max() < ROUNDING * size_of(user_mesh)
    again = open_user_mesh(path)
    assert torch.equal(again.mesh.faces, user_mesh.mesh.faces)
    assert np.abs(again.mesh.vertices.numpy() - poses[0]).max() < ROUNDING * size_of(user_mesh)
    again.write_static(tmp_path / "still.glb", poses[2])
    assert np.abs(open_user_mesh(tmp_path / "still.glb").mesh.vertices.numpy() - poses[2]).max() < 1e-6 * 5


def test_accessors_keep_their_numbers_where_an_extension_may_name_them(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        document["extensionsUsed"] = ["ACME_notes"]
        document["extensions"] = {"ACME_notes": {"accessor": 3}}

    path = tmp_path / "out.glb"
    user_mesh = open_user_mesh(rewritten(two_parts(tmp_path / "a.glb"), tmp_path / "b.glb", change))
    user_mesh.write_animation(path, poses_of(user_mesh, 1), [0.0])
    before, after = user_mesh.document, load_document(path)
    for number in range(len(before.items("accessors"))):
        assert np.array_equal(before.accessor(number), after.accessor(number))
    plain = open_user_mesh(two_parts(tmp_path / "a.glb"))
    plain.write_animation(path, poses_of(plain, 1), [0.0])
    assert len(load_document(path).items("accessors")) < len(after.items("accessors"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda document: document["accessors"][0].update(count=10**6), "past the end"),
        (lambda document: document["nodes"][0].update(mesh=7), "broken glTF"),
        (lambda document: document["nodes"][0].update(extensions={"EXT_mesh_gpu_instancing": {}}), "instanc"),
        (lambda document: document["scenes"][0].update(nodes=[]), "no triangles"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, change: Callable, says: str) -> None:
    path = rewritten(two_parts(tmp_path / "a.glb"), tmp_path / "broken.glb", change)
    with pytest.raises(ValueError, match=says) as error:
        open_user_mesh(path)
    assert "broken.glb" in str(error.value) and "\n" not in str(error.value)


def test_poses_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    poses, path = poses_of(user_mesh, 2), tmp_path / "out.glb"
    for wrong, times, says in (
        (poses[:, :-1], [0.0, 1.0], "pose 0 has shape"),
        (poses, [0.0, 1.0, 2.0], "2 poses, 3 times"),
        (poses, [1.0, 0.0], "ascend"),
        (poses[:0], [], "ascend"),
        (np.where(np.arange(2)[:, None, None] == 1, np.nan, poses), [0.0, 1.0], "pose 1 has numbers"),
    ):
        with pytest.raises(ValueError, match=says):
            user_mesh.write_animation(path, wrong, times)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.glb"]


def test_unknown_formats_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX Binary")
    with pytest.raises(ValueError, match=r"a\.fbx.*--blender_path"):
        open_user_mesh(tmp_path / "a.fbx")
    with pytest.raises(ValueError, match=r"a\.blend: a Blender project"):
        open_user_mesh(tmp_path / "a.blend")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_user_mesh(tmp_path / "a.glb")
