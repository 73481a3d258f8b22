"""Animated glTF files read as one mesh that moves: laws on small files made here, and our own exporter's files."""

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from v2m4.camera import Orbit
from v2m4.export import export_animation
from v2m4.io._gltf_container import ARRAY_BUFFER, GltfBuilder, GltfError, load_document
from v2m4.io.gltf import read_glb, write_animation_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import Workspace

BOX = trimesh.creation.box()
VERTICES, FACES = np.asarray(BOX.vertices, np.float32), np.asarray(BOX.faces, np.uint16)
TIMES = np.array([0.0, 0.5, 2.0], np.float32)


def _turn(*degrees: float) -> list[float]:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_quat().tolist()


TURNS = np.array([_turn(0, 0, 0), _turn(0, 60, 10), _turn(30, 90, 0)], np.float32)
MOVES = np.array([[0, 0, 0], [1, 2, 3], [0, -1, 4]], np.float32)


def _matrix(translation: Any = (0, 0, 0), rotation: Any = (0, 0, 0, 1), scale: Any = (1, 1, 1)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(rotation).as_matrix() * np.asarray(scale)
    matrix[:3, 3] = translation
    return matrix


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _box(builder: GltfBuilder, **more: Any) -> dict[str, Any]:
    """A primitive: the box, and further attributes as arrays."""
    attributes = {"POSITION": builder.accessor(VERTICES, ARRAY_BUFFER, bounds=True)}
    attributes |= {name: builder.accessor(values, ARRAY_BUFFER) for name, values in more.items()}
    return {"attributes": attributes, "indices": builder.accessor(FACES.reshape(-1))}


def _clip(
    builder: GltfBuilder, moves: list[tuple[int, str, np.ndarray]], times: np.ndarray = TIMES, **sampler: Any
) -> int:
    """A clip of (node, path, keys)."""
    animation: dict[str, Any] = {"samplers": [], "channels": []}
    for node, path, keys in moves:
        output = builder.accessor(keys.reshape(-1) if path == "weights" else keys)
        animation["samplers"].append({"input": builder.accessor(times, bounds=True), "output": output} | sampler)
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})
    return builder.add("animations", animation)


def _file(folder: Path, builder: GltfBuilder, nodes: list[dict[str, Any]], roots: tuple[int, ...] = (0,)) -> Path:
    for node in nodes:
        builder.add("nodes", node)
    builder.add("scenes", {"nodes": list(roots)})
    path = folder / "a.glb"
    path.write_bytes(builder.tobytes())
    return path


def _simple(folder: Path, **node: Any) -> Path:
    """A box that turns and moves."""
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    _clip(builder, [(0, "rotation", TURNS), (0, "translation", MOVES)])
    return _file(folder, builder, [{"mesh": 0} | node])


def _close(first: Any, second: Any, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(first), np.asarray(second), atol=atol)


def test_a_node_moves_its_mesh(tmp_path: Path) -> None:
    sequence = read_animation(_simple(tmp_path, scale=[1, 2, 3], translation=[9, 9, 9]))
    np.testing.assert_array_equal(sequence.times, TIMES)
    assert sequence.vertices.dtype == torch.float32
    assert sequence.mesh.faces.dtype == torch.int64
    for pose, move, turn in zip(sequence.vertices, MOVES, TURNS, strict=True):
        _close(pose, _moved(_matrix(move, turn, (1, 2, 3)), VERTICES))
    # The rest pose is the file's, which no key is.
    _close(sequence.mesh.vertices, _moved(_matrix((9, 9, 9), (0, 0, 0, 1), (1, 2, 3)), VERTICES))


def test_times_are_as_asked_and_the_ends_stay(tmp_path: Path) -> None:
    path = _simple(tmp_path)
    keys = read_animation(path).vertices
    asked = read_animation(path, times=[-1.0, 0.25, 2.0, 7.0])
    np.testing.assert_array_equal(asked.times, [-1, 0.25, 2, 7])
    _close(asked.vertices[[0, 2, 3]], keys[[0, 2, 2]])
    halfway = Rotation.from_quat(TURNS[1]).as_rotvec() / 2
    _close(asked.vertices[1], _moved(_matrix((0.5, 1, 1.5), Rotation.from_rotvec(halfway).as_quat()), VERTICES))


@pytest.mark.parametrize("mode", ["STEP", "CUBICSPLINE"])
def test_other_interpolations(tmp_path: Path, mode: str) -> None:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    keys = (
        np.repeat(MOVES[:, None], 3, 1) * np.array([0, 1, 0], np.float32)[:, None] if mode == "CUBICSPLINE" else MOVES
    )
    _clip(builder, [(0, "translation", keys.reshape(-1, 3))], interpolation=mode)
    sequence = read_animation(_file(tmp_path, builder, [{"mesh": 0}]), times=[0.5, 1.25, 2.0])
    between = MOVES[1] if mode == "STEP" else (MOVES[1] + MOVES[2]) / 2
    _close(sequence.vertices, VERTICES + np.stack([MOVES[1], between, MOVES[2]])[:, None])


def test_children_follow_their_parents(tmp_path: Path) -> None:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    sizes = np.array([[1, 1, 1], [2, 1, 1], [1, 3, 2]], np.float32)
    _clip(builder, [(0, "rotation", TURNS), (1, "scale", sizes), (2, "translation", MOVES)])
    nodes: list[dict[str, Any]] = [
        {"children": [1], "translation": [5, 0, 0]},
        {"children": [2], "rotation": _turn(0, 0, 90)},
        {"mesh": 0, "rotation": _turn(45, 0, 0), "children": [3]},
        {"mesh": 0, "matrix": _matrix((0, 7, 0), scale=(0.5, 0.5, 0.5)).T.reshape(-1).tolist()},
    ]
    sequence = read_animation(_file(tmp_path, builder, nodes))
    for index in range(3):
        world = _matrix((5, 0, 0), TURNS[index]) @ _matrix(rotation=_turn(0, 0, 90), scale=sizes[index])
        world = world @ _matrix(MOVES[index], _turn(45, 0, 0))
        _close(sequence.vertices[index, :8], _moved(world, VERTICES))
        _close(sequence.vertices[index, 8:], _moved(world @ _matrix((0, 7, 0), scale=(0.5, 0.5, 0.5)), VERTICES))


JOINTS = [_matrix((1, 0, 0), _turn(0, 0, 30)), _matrix((0, 2, 0), _turn(50, 0, 0), (1, 2, 1))]  # at rest, in the world


def _skinned(
    folder: Path,
    moves: list[tuple[int, str, np.ndarray]],
    attributes: dict[str, np.ndarray],
    inverse_binds: bool = True,
) -> Path:
    """A skinned box shown by node 0, moved by the joints, nodes 2 and 3 under node 1."""
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder, **attributes)]})
    skin: dict[str, Any] = {"joints": [3, 2], "skeleton": 2}  # the skeleton's root means nothing for the vertices
    if inverse_binds:
        binds = [np.linalg.inv(JOINTS[0] @ JOINTS[1]).T, np.linalg.inv(JOINTS[0]).T]
        skin["inverseBindMatrices"] = builder.accessor(np.array(binds, np.float32).reshape(-1, 16))
    builder.add("skins", skin)
    _clip(builder, moves)
    nodes: list[dict[str, Any]] = [
        {"mesh": 0, "skin": 0, "translation": [100, 200, 300], "scale": [9, 9, 9]},
        {"children": [2]},
        {"children": [3], "translation": [1, 0, 0], "rotation": _turn(0, 0, 30)},
        {"translation": [0, 2, 0], "rotation": _turn(50, 0, 0), "scale": [1, 2, 1]},
    ]
    return _file(folder, builder, nodes, (0, 1))


def _bound(weights: np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
    """Joints 0 and 1 (in places 2 and 0 of four) with weights (V, 2)."""
    joints = np.tile(np.array([[1, 77, 0, 77]], np.uint8), (len(VERTICES), 1))  # 77: unused, so it may be anything
    shares = np.zeros((len(VERTICES), 4), np.float32)
    shares[:, 2], shares[:, 0] = weights[:, 0], weights[:, 1]
    return {f"JOINTS_{first}": joints, f"WEIGHTS_{first}": shares}


RANDOM = np.random.default_rng(0).random((8, 1))
MIXED = np.concatenate([RANDOM, 1 - RANDOM], 1)
STILL = [(1, "translation", np.zeros((3, 3), np.float32))]


def test_joints_at_rest_leave_the_mesh_as_modelled(tmp_path: Path) -> None:
    sequence = read_animation(_skinned(tmp_path, STILL, _bound(MIXED)))
    _close(sequence.mesh.vertices, VERTICES)
    _close(sequence.vertices, np.tile(VERTICES, (3, 1, 1)))


def test_joints_that_move_as_one_move_the_mesh_rigidly(tmp_path: Path) -> None:
    path = _skinned(tmp_path, [(1, "rotation", TURNS), (1, "translation", MOVES)], _bound(MIXED))
    for pose, turn, move in zip(read_animation(path).vertices, TURNS, MOVES, strict=True):
        _close(pose, _moved(_matrix(move, turn), VERTICES))


def test_skinning_is_the_weighted_mean_of_the_joints_motions(tmp_path: Path) -> None:
    path = _skinned(tmp_path, [(3, "rotation", TURNS), (2, "translation", MOVES)], _bound(MIXED))
    for pose, turn, move in zip(read_animation(path).vertices, TURNS, MOVES, strict=True):
        parent = _matrix(move, _turn(0, 0, 30))
        child = parent @ _matrix((0, 2, 0), turn, (1, 2, 1))
        moved = [child @ np.linalg.inv(JOINTS[0] @ JOINTS[1]), parent @ np.linalg.inv(JOINTS[0])]
        _close(pose, sum(MIXED[:, [place]] * _moved(moved[place], VERTICES) for place in (0, 1)))


def test_without_inverse_binds_vertices_are_in_the_joints_space(tmp_path: Path) -> None:
    path = _skinned(tmp_path, STILL, _bound(np.tile([1.0, 0.0], (8, 1))), inverse_binds=False)
    _close(read_animation(path).vertices[0], _moved(JOINTS[0] @ JOINTS[1], VERTICES))


def test_more_than_four_joints_and_weights_that_do_not_sum_to_one(tmp_path: Path) -> None:
    moves = [(3, "rotation", TURNS), (2, "translation", MOVES)]
    whole = read_animation(_skinned(tmp_path, moves, _bound(MIXED))).vertices
    split = _bound(0.3 * MIXED) | _bound(0.5 * MIXED, first=1)
    _close(read_animation(_skinned(tmp_path, moves, split)).vertices, whole)


def test_vertices_without_weights_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = MIXED.copy()
    weights[:3] = 0
    sequence = read_animation(_skinned(tmp_path, STILL, _bound(weights)))
    assert "3 vertices without weights" in caplog.text
    _close(sequence.vertices[0], VERTICES)


def test_quantised_keys_and_weights(tmp_path: Path) -> None:
    builder = GltfBuilder()
    primitive = _box(builder, JOINTS_0=np.tile(np.array([[0, 1, 0, 0]], np.uint16), (8, 1)))
    stored = np.tile(np.array([[51, 204, 0, 0]], np.uint8), (8, 1))
    primitive["attributes"]["WEIGHTS_0"] = builder.accessor(stored, ARRAY_BUFFER, normalized=True)
    builder.add("meshes", {"primitives": [primitive]})
    builder.add("skins", {"joints": [1, 2]})
    turns = np.round(TURNS * 32767).astype(np.int16)
    sampler = {"input": builder.accessor(TIMES), "output": builder.accessor(turns, normalized=True)}
    builder.add(
        "animations", {"samplers": [sampler], "channels": [{"sampler": 0, "target": {"node": 2, "path": "rotation"}}]}
    )
    path = _file(tmp_path, builder, [{"mesh": 0, "skin": 0}, {}, {}], (0, 1, 2))
    for pose, turn in zip(read_animation(path).vertices, TURNS, strict=True):
        _close(pose, 0.2 * VERTICES + 0.8 * _moved(_matrix(rotation=turn), VERTICES), 2e-4)


def _morphing(folder: Path, keys: np.ndarray | None, **node: Any) -> tuple[Path, np.ndarray]:
    """A box of two targets, the second sparse, and their offsets (2, 8, 3)."""
    builder = GltfBuilder()
    offsets = np.random.default_rng(1).normal(size=(2, 8, 3)).astype(np.float32)
    offsets[1, 2:] = 0
    sparse = {
        "count": 2,
        "indices": {"bufferView": builder.view(np.array([0, 1], np.uint16).tobytes()), "componentType": 5123},
        "values": {"bufferView": builder.view(offsets[1, :2].tobytes())},
    }
    entry = {"componentType": 5126, "count": 8, "type": "VEC3", "sparse": sparse}
    primitive = _box(builder)
    primitive["targets"] = [
        {"POSITION": builder.accessor(offsets[0], ARRAY_BUFFER)},
        {"POSITION": builder.add("accessors", entry)},
    ]
    builder.add("meshes", {"primitives": [primitive], "weights": [0.25, 0.5]})
    _clip(builder, [(0, "translation", MOVES)] + ([] if keys is None else [(0, "weights", keys)]))
    return _file(folder, builder, [{"mesh": 0} | node]), offsets


def test_morph_targets_add_up(tmp_path: Path) -> None:
    keys = np.array([[0, 0], [1, -0.5], [0.3, 2]], np.float32)
    path, offsets = _morphing(tmp_path, keys, scale=[2, 2, 2], weights=[7, 7])
    sequence = read_animation(path, times=[0, 0.25, 0.5, 2])
    weights = np.stack([keys[0], keys[1] / 2, keys[1], keys[2]])
    moves = np.stack([MOVES[0], MOVES[1] / 2, MOVES[1], MOVES[2]])
    _close(sequence.vertices, 2 * (VERTICES + np.tensordot(weights, offsets, 1)) + moves[:, None])
    _close(sequence.mesh.vertices, 2 * VERTICES)


@pytest.mark.parametrize(("node", "weights"), [({}, [0.25, 0.5]), ({"weights": [1, 0]}, [1, 0])])
def test_morph_targets_that_no_clip_moves_keep_their_weights(
    tmp_path: Path, node: dict[str, Any], weights: list[float]
) -> None:
    path, offsets = _morphing(tmp_path, None, **node)
    expected = VERTICES + np.tensordot(weights, offsets, 1)
    _close(read_animation(path).vertices, expected + MOVES[:, None])


def _colourful(folder: Path, textured: bool) -> Path:
    """Three boxes of different looks, one of them seen in a mirror, none of them moved by the clip."""
    builder = GltfBuilder()
    looks: list[dict[str, Any]] = [{"baseColorFactor": [0.2, 0.4, 0.6, 1]}, {}]
    if textured:
        picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        view = builder.view(cv2.imencode(".png", picture)[1].tobytes())
        builder.add("textures", {"source": builder.add("images", {"bufferView": view, "mimeType": "image/png"})})
        looks[1] = {"baseColorTexture": {"index": 0}}
    for look in looks:
        builder.add("materials", {"pbrMetallicRoughness": look})
    rng = np.random.default_rng(2)
    plain, painted = _box(builder), _box(builder, COLOR_0=rng.random((8, 3)).astype(np.float32))
    other = _box(builder, TEXCOORD_0=rng.random((8, 2)).astype(np.float32))
    plain["material"], other["material"] = 0, 1
    builder.add("meshes", {"primitives": [plain, other]})
    builder.add("meshes", {"primitives": [painted]})
    nodes: list[dict[str, Any]] = [
        {"children": [1, 2], "translation": [0, 3, 0]},
        {"mesh": 0, "rotation": _turn(10, 20, 30)},
        {"mesh": 1, "scale": [-1, 1, 2]},
    ]
    _clip(builder, [(0, "translation", np.tile(np.array([[0, 3, 0]], np.float32), (3, 1)))])
    return _file(folder, builder, nodes)


@pytest.mark.parametrize("weld", [False, True])
@pytest.mark.parametrize("textured", [False, True])
def test_the_look_and_the_rest_pose_are_those_of_the_still_reader(tmp_path: Path, textured: bool, weld: bool) -> None:
    path = _colourful(tmp_path, textured)
    still, sequence = read_glb(path, weld), read_animation(path, weld=weld)
    assert (still.texture is not None) == textured
    assert still.arrays().keys() == sequence.mesh.arrays().keys()
    for name, values in still.arrays().items():
        np.testing.assert_array_equal(sequence.mesh.arrays()[name], values, err_msg=name)
    _close(sequence.vertices, np.tile(still.vertices, (3, 1, 1)))
    whole = trimesh.Trimesh(still.vertices[still.faces].reshape(-1, 3), np.arange(len(still.faces) * 3).reshape(-1, 3))
    assert whole.volume == pytest.approx(4, abs=1e-5)  # boxes of 1, 1 and 2, none inside out


def test_a_skin_that_mirrors_keeps_the_outside(tmp_path: Path) -> None:
    builder = GltfBuilder()
    weights = np.tile(np.array([[1, 0, 0, 0]], np.float32), (8, 1))
    builder.add("meshes", {"primitives": [_box(builder, JOINTS_0=np.zeros((8, 4), np.uint8), WEIGHTS_0=weights)]})
    builder.add("skins", {"joints": [1]})
    _clip(builder, [(1, "translation", MOVES)])
    path = _file(tmp_path, builder, [{"mesh": 0, "skin": 0}, {"scale": [1, -1, 1]}], (0, 1))
    sequence = read_animation(path)
    assert trimesh.Trimesh(sequence[1].vertices.numpy(), sequence.mesh.faces.numpy()).volume == pytest.approx(1)


def test_only_the_default_scene_is_read(tmp_path: Path) -> None:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    builder.add("scenes", {"nodes": [0]})
    builder.json["scene"] = 1
    _clip(builder, [(0, "translation", MOVES), (1, "translation", 2 * MOVES)])
    sequence = read_animation(_file(tmp_path, builder, [{"mesh": 0}, {"mesh": 0}], (1,)))
    _close(sequence.vertices, VERTICES + 2 * MOVES[:, None])


def _two_clips(folder: Path, names: tuple[str | None, str | None]) -> Path:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    _clip(builder, [(0, "translation", MOVES)])
    _clip(builder, [(0, "translation", 3 * MOVES), (0, "rotation", TURNS)], TIMES + 1)
    builder.json["animations"][1]["samplers"][1]["input"] = builder.accessor(np.array([0.25, 1, 4], np.float32))
    for animation, name in zip(builder.json["animations"], names, strict=True):
        if name is not None:
            animation["name"] = name
    return _file(folder, builder, [{"mesh": 0}])


def test_clips_are_listed_and_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _two_clips(tmp_path, ("walk", None))
    first, second = list_animations(path)
    assert (first.name, first.start, first.stop) == ("walk", 0.0, 2.0)
    assert (second.name, second.start, second.stop) == ("1", 0.25, 4.0)
    np.testing.assert_array_equal(second.key_times, [0.25, 1, 1.5, 3, 4])
    _close(read_animation(path, "walk").vertices[1], VERTICES + MOVES[1])
    _close(read_animation(path, 1).vertices[0], read_animation(path, "1", [0.25]).vertices[0])
    assert not caplog.records
    with caplog.at_level(logging.INFO):
        _close(read_animation(path).vertices[2], VERTICES + MOVES[2])
    assert "reading clip 'walk', the first of walk, 1" in caplog.text


def test_a_clip_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    path = _two_clips(tmp_path, ("walk", "run"))
    for clip, says in (("fly", "no clip is called 'fly'"), (2, "no clip 2"), (-1, "no clip -1")):
        with pytest.raises(GltfError, match=says) as raised:
            read_animation(path, clip)
        assert "walk, run" in str(raised.value)
    with pytest.raises(GltfError, match="more than one clip is called 'walk'"):
        read_animation(_two_clips(tmp_path, ("walk", "walk")), "walk")


def test_a_still_file_has_no_clips(tmp_path: Path) -> None:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    path = _file(tmp_path, builder, [{"mesh": 0}])
    assert list_animations(path) == []
    with pytest.raises(GltfError, match="has no animations"):
        read_animation(path)


def test_animations_of_other_things_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    builder = GltfBuilder()
    builder.add("meshes", {"primitives": [_box(builder)]})
    _clip(builder, [(0, "translation", MOVES), (0, "pointer", MOVES), (0, "scale", MOVES)])
    del builder.json["animations"][0]["channels"][2]["target"]["node"]  # so the specification says: do nothing
    sequence = read_animation(_file(tmp_path, builder, [{"mesh": 0}]))
    assert "animation of 'pointer' is left out" in caplog.text
    _close(sequence.vertices, VERTICES + MOVES[:, None])


def test_welding_joins_what_stays_together_in_all_poses(tmp_path: Path) -> None:
    """Two boxes, each with every corner three times, stand face to face at rest; one of them moves away."""
    builder = GltfBuilder()
    corners, normals = VERTICES[FACES].reshape(-1, 3), np.repeat(BOX.face_normals, 3, 0).astype(np.float32)
    attributes = {
        "POSITION": builder.accessor(corners, ARRAY_BUFFER),
        "NORMAL": builder.accessor(normals, ARRAY_BUFFER),
    }
    builder.add("meshes", {"primitives": [{"attributes": attributes}]})
    _clip(builder, [(1, "rotation", TURNS), (1, "translation", MOVES + np.array([1, 0, 0], np.float32))])
    path = _file(tmp_path, builder, [{"mesh": 0}, {"mesh": 0, "translation": [1, 0, 0]}], (0, 1))
    split, welded = read_animation(path), read_animation(path, weld=True)
    assert len(split.mesh.vertices) == 72
    assert len(welded.mesh.vertices) == 16
    assert len(read_glb(path, weld=True).vertices) == 12
    _close(welded.vertices[:, welded.mesh.faces], split.vertices[:, split.mesh.faces])
    assert trimesh.Trimesh(welded[1].vertices, welded.mesh.faces, process=False).is_watertight
    assert len(read_animation(path, times=[0.0], weld=True).mesh.vertices) == 12  # at rest all the time


def test_welding_keeps_colours_apart(tmp_path: Path) -> None:
    path = _colourful(tmp_path, textured=False)
    welded = read_animation(path, weld=True).mesh
    assert len(welded.vertices) == 24  # the first two boxes are at the same place


def _sequence(quarter: bool) -> MeshSequence:
    """A textured, welded ball with seams that moves; colours as an 8-bit texture stores them."""
    rng = torch.Generator().manual_seed(3)
    ball = trimesh.creation.icosphere(2)
    rest, faces = torch.tensor(ball.vertices, dtype=torch.float32), torch.tensor(ball.faces)
    texture = torch.randint(0, 256, (8, 8, 3), generator=rng).float() / 255
    uv_faces = torch.randint(0, 60, faces.shape, generator=rng)
    mesh = Mesh(rest, faces, torch.rand(60, 2, generator=rng), uv_faces, texture)
    poses = rest + 0.3 * torch.randn(5, *rest.shape, generator=rng) + torch.linspace(0, 3, 5)[:, None, None]
    return MeshSequence(poses, mesh, np.array([0.0, 0.125, 0.5, 0.75, 2.0]) + 0.25 * quarter)


@pytest.mark.parametrize("quantize", [False, True])
def test_what_our_exporter_writes_comes_back(tmp_path: Path, quantize: bool) -> None:
    sequence, path = _sequence(quarter=True), tmp_path / "a.glb"
    write_animation_glb(path, sequence, Orbit.of(0.3).camera(), quantize=quantize)
    (clip,) = list_animations(path)
    np.testing.assert_array_equal(clip.key_times, sequence.times)
    back = read_animation(path, weld=True)
    tolerance = 1e-4 * float(np.ptp(sequence.vertices.numpy(), axis=(0, 1)).max()) if quantize else 1e-6
    mesh = sequence.mesh
    np.testing.assert_array_equal(back.times, sequence.times)
    np.testing.assert_array_equal(back.mesh.faces, mesh.faces)
    _close(back.vertices, sequence.vertices, tolerance)
    _close(back.mesh.vertices, mesh.vertices, tolerance)
    np.testing.assert_array_equal(back.mesh.uvs[back.mesh.uv_faces], mesh.uvs[mesh.uv_faces])
    np.testing.assert_array_equal(back.mesh.texture, mesh.texture)
    asked = [0.0, 0.3, 0.6, 1.5, 9.0]
    _close(read_animation(path, times=asked, weld=True).vertices, sequence.sampled(asked).vertices, tolerance)


def test_a_whole_export_comes_back(tmp_path: Path) -> None:
    world, camera = _sequence(quarter=False), Orbit.of(0.6, 0.2, 8.0).camera()
    seen = MeshSequence(
        torch.stack([camera.to_camera_space(pose)[0] for pose in world.vertices]),
        world.mesh.with_vertices(camera.to_camera_space(world.mesh.vertices)[0]),
        np.array([0.0, 1.0, 4.0, 6.0, 9.0]),
    )
    names, times = [str(index) for index in range(10)], np.arange(10)
    path = export_animation(
        Workspace(tmp_path), seen, names, times, camera.extrinsics[0], fov=0.7, aspect=1.0, fps=20.0
    )
    back = read_animation(path, times=times / 20, weld=True)
    expected = MeshSequence(world.vertices, world.mesh, seen.times).sampled(times).vertices
    _close(back.vertices, expected, 1e-4 * float(np.ptp(expected.numpy(), axis=(0, 1)).max()))


def _descending(json: dict[str, Any], builder: GltfBuilder) -> None:
    json["animations"][0]["samplers"][0]["input"] = builder.accessor(np.array([0, 2, 1], np.float32))


def _change(*place: Any, value: Any) -> Any:
    def change(json: dict[str, Any], builder: GltfBuilder) -> None:
        item: Any = json
        for key in place[:-1]:
            item = item[key]
        item[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_descending, "do not ascend"),
        (_change("animations", 0, "samplers", 0, "interpolation", value="BEZIER"), "interpolation 'BEZIER'"),
        (_change("animations", 0, "samplers", 0, "interpolation", value="CUBICSPLINE"), "expected 12 per key"),
        (_change("animations", 0, "channels", 0, "target", "path", value="scale"), "12 numbers for 3 keys"),
        (_change("animations", 0, "channels", 0, "sampler", value=9), "broken glTF"),
        (_change("animations", 0, "channels", 1, "target", "path", value="rotation"), "two channels of one clip"),
        (_change("skins", 0, "joints", value=[3, 2, 1]), "2 inverse bind matrices for 3 joints"),
        (_change("meshes", 0, "primitives", 0, "targets", value=[{"POSITION": 1}]), "a morph target has"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, change: Any, says: str) -> None:
    path = _skinned(tmp_path, [(2, "rotation", TURNS), (2, "translation", MOVES)], _bound(MIXED))
    builder = _builder_of(path)
    change(builder.json, builder)
    path.write_bytes(builder.tobytes())
    with pytest.raises(GltfError, match=says) as raised:
        read_animation(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_skinned_mesh_without_joints_is_said(tmp_path: Path) -> None:
    with pytest.raises(GltfError, match="without JOINTS_0"):
        read_animation(_skinned(tmp_path, STILL, {}))


def _builder_of(path: Path) -> GltfBuilder:
    """A builder that goes on with a file's document and buffer."""
    document = load_document(path)
    builder = GltfBuilder()
    builder.json = document.json
    data = document.buffers[0] or b""
    builder._parts, builder._length = [data], len(data)
    return builder


VALUES = [None, -1, 0, 10**9, 1.5, True, "x", [], {}, [1], {"a": 1}]


def _places(item: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside nested lists and dicts."""
    found = []
    for key in item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
        found += [(*place, key), *_places(item[key], (*place, key))]
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_is_read_or_said(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("glb")
    path = _skinned(folder, [(2, "rotation", TURNS), (3, "translation", MOVES)], _bound(MIXED))
    builder = _builder_of(path)
    place = data.draw(st.sampled_from(_places(builder.json)))
    _change(*place, value=data.draw(st.sampled_from(VALUES)))(builder.json, builder)
    path.write_bytes(builder.tobytes())
    try:
        assert len(read_animation(path)) > 0
    except GltfError as error:
        assert str(path) in str(error)
