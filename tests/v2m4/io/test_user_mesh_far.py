"""User meshes far from the origin of their file keep their shape, their place and their camera."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tests.v2m4.io.user_mesh_documents import GltfScene
from v2m4.camera import Camera, Orbit
from v2m4.export import CAMERAS, read_cameras
from v2m4.export_user_mesh import export_user_mesh
from v2m4.io._far_origin import far_origin
from v2m4.io._gltf_container import GltfError, load_document
from v2m4.io.gltf_animation import read_animation
from v2m4.io.user_mesh import UserMesh, open_user_mesh
from v2m4.mesh import MeshSequence
from v2m4.workspace import Workspace

FAR = np.array([450122.5, 6700456.25, 31.75])  # metres of a UTM zone


def shape() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=2, radius=0.6)


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Path:
    lines = ["v {:.9f} {:.9f} {:.9f}".format(*vertex) for vertex in vertices]
    path.write_text("\n".join([*lines, *("f {} {} {}".format(*(face + 1)) for face in faces)]))
    return path


def place_and_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The node's translation in a written file, and its stored positions."""
    document = load_document(path)
    node = next(node for node in document.items("nodes") if "mesh" in node)
    positions = document.accessor(document.items("meshes")[node["mesh"]]["primitives"][0]["attributes"]["POSITION"])
    return np.array(node.get("translation", (0, 0, 0))), positions


@pytest.fixture(params=["obj", "ply"])
def far_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    ball = shape()
    path = tmp_path / f"far.{request.param}"
    if request.param == "obj":
        return write_obj(path, ball.vertices + FAR, ball.faces)
    rows = [" ".join(f"{number:.9f}" for number in vertex) for vertex in ball.vertices + FAR]
    head = (
        f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\nproperty double x\nproperty double y\nproperty double z\n"
    )
    head += f"element face {len(ball.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_text(head + "\n".join([*rows, *("3 {} {} {}".format(*face) for face in ball.faces)]) + "\n")
    return path


def check_shape(user_mesh: UserMesh) -> None:
    ball = shape()
    assert np.allclose(user_mesh.origin, FAR, atol=1e-6)
    found = np.sort(user_mesh.mesh.vertices.double().numpy() + user_mesh.origin - FAR, axis=0)
    assert np.abs(found - np.sort(ball.vertices, axis=0)).max() < 1e-6


def test_the_shape_is_not_rounded(far_file: Path) -> None:
    check_shape(open_user_mesh(far_file))


def test_a_mesh_near_the_origin_stays_about_it(tmp_path: Path) -> None:
    ball = shape()
    user_mesh = open_user_mesh(write_obj(tmp_path / "near.obj", ball.vertices + np.array([60, 0, 0]), ball.faces))
    assert not user_mesh.origin.any()
    assert user_mesh.document.json["nodes"] == [{"name": "near", "mesh": 0}]


def test_a_vertex_of_no_face_does_not_count(tmp_path: Path) -> None:
    ball = shape()
    path = write_obj(tmp_path / "far.obj", np.concatenate([ball.vertices + FAR, [[0, 0, 0]]]), ball.faces)
    check_shape(open_user_mesh(path))


def test_mesh_and_camera_of_the_result_lie_in_the_files_world(far_file: Path, tmp_path: Path) -> None:
    user_mesh = open_user_mesh(far_file)
    extrinsics = Orbit.of(yaw=0.4, pitch=0.2, radius=3.0).camera().extrinsics[0]
    moved = torch.tensor([0.125, 0.0, 0.0])
    poses = torch.stack([user_mesh.mesh.vertices, user_mesh.mesh.vertices + moved])
    seen = poses @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    workspace = Workspace(tmp_path / "out")
    sequence = MeshSequence(seen, user_mesh.mesh, np.arange(2.0))
    path = export_user_mesh(workspace, user_mesh, sequence, ["0", "1"], extrinsics, fov=0.7, aspect=1.0, fps=10.0)

    place, positions = place_and_mesh(path)
    assert np.allclose(place, FAR, atol=1e-6)
    assert np.abs(positions).max() < 1
    static_place, static_positions = place_and_mesh(tmp_path / "out" / "output_mesh.glb")
    assert np.array_equal(static_place, place)
    assert np.abs(static_positions).max() < 1
    camera = next(node for node in load_document(path).items("nodes") if "camera" in node)
    expected = Camera(extrinsics[None]).positions()[0].double().numpy() + FAR
    assert np.allclose(camera["translation"], expected, atol=1e-5)

    offsets = np.load(tmp_path / "out" / "output_vertex_offsets.npy")
    assert np.allclose(offsets[1], [0.125, 0, 0], atol=1e-5)
    recorded = read_cameras(tmp_path / "out" / CAMERAS)
    found = read_animation(path, times=np.arange(2) / 10, origin=recorded.origin)
    in_camera = found.vertices @ recorded.cameras.extrinsics[0, :3, :3].T + recorded.cameras.extrinsics[0, :3, 3]
    assert torch.allclose(in_camera.amin(1), seen.amin(1), atol=2e-5)
    assert torch.allclose(in_camera.amax(1), seen.amax(1), atol=2e-5)
    stored = json.loads((tmp_path / "out" / CAMERAS).read_text())
    matrix = np.array(stored["frames"][0]["extrinsics"])
    assert np.allclose(matrix[:3, :3] @ FAR + matrix[:3, 3], extrinsics[:3, 3], atol=1e-5)


def write_gltf(path: Path, node: dict[str, object], vertices: np.ndarray, faces: np.ndarray) -> Path:
    """A glTF of one mesh under a parent node."""
    position, index = vertices.astype("<f4").tobytes(), faces.astype("<u2").tobytes()
    (path.parent / "data.bin").write_bytes(position + index)
    lower, upper = (vertices.astype(np.float32).min(0).tolist(), vertices.astype(np.float32).max(0).tolist())
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "site", "children": [1], **node}, {"name": "house", "mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"uri": "data.bin", "byteLength": len(position) + len(index)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(position)},
            {"buffer": 0, "byteOffset": len(position), "byteLength": len(index)},
        ],
        "accessors": [
            {
                **{"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3"},
                **{"min": lower, "max": upper},
            },
            {"bufferView": 1, "componentType": 5123, "count": faces.size, "type": "SCALAR"},
        ],
    }
    path.write_text(json.dumps(document))
    return path


def test_a_far_node_of_a_gltf_keeps_its_hierarchy(tmp_path: Path) -> None:
    ball = shape()
    path = write_gltf(tmp_path / "far.gltf", {"translation": FAR.tolist()}, ball.vertices, ball.faces)
    user_mesh = open_user_mesh(path)
    check_shape(user_mesh)
    lifted = user_mesh.mesh.vertices + torch.tensor([0.0, 0.25, 0.0])
    user_mesh.write_animation(tmp_path / "out.glb", [user_mesh.mesh.vertices, lifted], [0.0, 1.0])
    nodes = load_document(tmp_path / "out.glb").items("nodes")
    assert nodes[0] == {"name": "site", "children": [1], "translation": FAR.tolist()}
    found = read_animation(tmp_path / "out.glb", origin=FAR).vertices
    assert torch.allclose(found[1] - found[0], torch.tensor([0.0, 0.25, 0.0]), atol=1e-4)
    assert float(found[0].abs().max()) < 0.61


def test_far_vertices_that_the_file_has_rounded_already_are_computed_about_their_middle(tmp_path: Path) -> None:
    ball = shape()
    path = write_gltf(tmp_path / "far.gltf", {}, ball.vertices * 400 + FAR, ball.faces)
    user_mesh = open_user_mesh(path)
    assert np.abs(user_mesh.origin - FAR).max() < 1
    assert float(user_mesh.mesh.vertices.abs().max()) < 241
    user_mesh.write_animation(tmp_path / "out.glb", [user_mesh.mesh.vertices], [0.0])
    place, positions = place_and_mesh(tmp_path / "out.glb")
    assert not place.any()
    assert np.array_equal(positions, (ball.vertices * 400 + FAR).astype(np.float32))


def test_the_middle_is_taken_only_where_float32_would_lose_the_shape() -> None:
    corners = np.array([[0.0, 0, 0], [1, 1, 1]])
    assert not far_origin(corners + 100).any()
    assert np.array_equal(far_origin(corners + 1000), [1000.5] * 3)
    assert not far_origin(corners * 1e9).any()
    assert not far_origin(np.zeros((0, 3))).any()


@pytest.mark.parametrize("text", ["v 0 0 0\nv 1 1 1\nv 2.1 2.1 2.1\nf 1 2 3\n", "v 1 2 3\nv 1 2 3\nv 1 2 3\nf 1 2 3\n"])
def test_a_mesh_without_any_area_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "line.obj").write_text(text)
    with pytest.raises(GltfError, match="no triangle has an area, all vertices lie on a line or in a point"):
        open_user_mesh(tmp_path / "line.obj")


def test_two_small_pieces_far_apart_have_an_area(tmp_path: Path) -> None:
    ball = shape()
    vertices = np.concatenate([ball.vertices, ball.vertices + np.array([90000, 0, 0])])
    user_mesh = open_user_mesh(
        write_obj(tmp_path / "two.obj", vertices, np.concatenate([ball.faces, ball.faces + 162]))
    )
    assert len(user_mesh.mesh.faces) == 2 * len(ball.faces)


def test_a_far_skinned_mesh_is_placed_by_its_own_node(tmp_path: Path) -> None:
    ball, scene = shape(), GltfScene()
    count = len(ball.vertices)
    attributes = {
        "POSITION": scene.attribute(np.asarray(ball.vertices, np.float32), bounds=True),
        "JOINTS_0": scene.attribute(np.zeros((count, 4), np.uint8)),
        "WEIGHTS_0": scene.attribute(np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))),
    }
    primitive = {"attributes": attributes, "indices": scene.indices(np.asarray(ball.faces))}
    mesh = scene.builder.add("meshes", {"primitives": [primitive]})
    joint = scene.node(name="joint", translation=FAR.tolist())
    skin = scene.builder.add("skins", {"joints": [joint]})
    scene.node(name="ball", mesh=mesh, skin=skin)
    user_mesh = open_user_mesh(scene.write(tmp_path / "skinned.glb"))
    check_shape(user_mesh)
    poses = torch.stack([user_mesh.mesh.vertices, user_mesh.mesh.vertices + torch.tensor([0.0, 0.25, 0.0])])
    user_mesh.write_animation(tmp_path / "out.glb", poses, [0.0, 1.0])
    assert np.allclose(place_and_mesh(tmp_path / "out.glb")[0], FAR, atol=1e-6)
    found = read_animation(tmp_path / "out.glb", origin=tuple(user_mesh.origin)).vertices
    assert torch.allclose(found.amin(1), poses.amin(1), atol=1e-4)
    assert torch.allclose(found.amax(1), poses.amax(1), atol=1e-4)
