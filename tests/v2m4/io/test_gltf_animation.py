"""Animated GLB files, played by a few lines of our own as the glTF specification says (sections 3.7.2.2 and 3.11)."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.camera import Camera, Orbit
from v2m4.io._gltf_container import Document, load_document
from v2m4.io._gltf_nodes import local_matrix
from v2m4.io._gltf_quantize import normal_deltas
from v2m4.io.gltf import read_glb, split_at_seams, write_animation_glb
from v2m4.mesh import Mesh, MeshSequence


def _sequence(seed: int = 0, count: int = 5, first_is_rest: bool = False, size: float = 1.0) -> MeshSequence:
    """A textured ball at ``count`` random poses and uneven times."""
    rng = torch.Generator().manual_seed(seed)
    ball = trimesh.creation.icosphere(1)
    rest = torch.tensor(ball.vertices, dtype=torch.float32) * size + torch.randn(3, generator=rng) * size
    faces = torch.tensor(ball.faces)
    uv_faces = torch.randint(0, 60, faces.shape, generator=rng)
    mesh = Mesh(rest, faces, torch.rand(60, 2, generator=rng), uv_faces, torch.rand(4, 4, 3, generator=rng))
    poses = rest + torch.randn(count, *rest.shape, generator=rng) * 0.4 * size
    if first_is_rest:
        poses[0] = rest
    times = np.cumsum(np.concatenate([[0.0], 0.1 + np.random.default_rng(seed).random(count - 1)]))
    return MeshSequence(poses, mesh, times)


class Player:
    """The animated mesh of a file at any time."""

    def __init__(self, path: Path) -> None:
        self.document: Document = load_document(path)
        document = self.document.json
        (self.mesh,) = document["meshes"]
        (primitive,) = self.mesh["primitives"]
        self.primitive = primitive
        (self.animation,) = document["animations"]
        (channel,) = self.animation["channels"]
        sampler = self.animation["samplers"][channel["sampler"]]
        assert (channel["target"]["path"], sampler["interpolation"]) == ("weights", "LINEAR")
        node = document["nodes"][channel["target"]["node"]]
        self.matrix = local_matrix(node)
        read = self.document.accessor
        self.times = read(sampler["input"])[:, 0].astype(np.float64)
        self.keys = read(sampler["output"])[:, 0].reshape(len(self.times), -1).astype(np.float64)
        self.base = {name: read(primitive["attributes"][name]).astype(np.float64) for name in ("POSITION", "NORMAL")}
        self.targets = {
            name: np.stack([read(target[name]) for target in primitive["targets"]]).astype(np.float64)
            for name in ("POSITION", "NORMAL")
        }

    def weights(self, time: float) -> np.ndarray:
        return np.array([np.interp(time, self.times, column) for column in self.keys.T])

    def vertices(self, time: float) -> np.ndarray:
        local = self.base["POSITION"] + np.tensordot(self.weights(time), self.targets["POSITION"], 1)
        return local @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def normals(self, time: float) -> np.ndarray:
        normals = self.base["NORMAL"] + np.tensordot(self.weights(time), self.targets["NORMAL"], 1)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 7),
    first_is_rest=st.booleans(),
    quantize=st.booleans(),
    size=st.floats(0.01, 100),
    fraction=st.floats(-0.1, 1.1),
)
def test_playing_the_file_is_sampling_the_sequence(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    first_is_rest: bool,
    quantize: bool,
    size: float,
    fraction: float,
) -> None:
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    sequence = _sequence(seed, count, first_is_rest, size)
    write_animation_glb(path, sequence, quantize=quantize)
    player = Player(path)
    time = fraction * float(sequence.times[-1])
    assert np.count_nonzero(player.weights(time)) <= 2
    assert player.weights(time).sum() == pytest.approx(1)
    source = split_at_seams(sequence.mesh).source
    truth = sequence.sampled([time]).vertices[0].numpy()[source]
    poses = sequence.vertices
    extent = float((poses.amax((0, 1)) - poses.amin((0, 1))).max())
    # Times are stored as float32, so a moving vertex may be a rounding of time away.
    tolerance = 1e-4 * extent if quantize else 5e-6 * extent
    assert np.abs(player.vertices(time) - truth).max() < tolerance


def test_targets_are_relative_to_the_rest_pose_and_weights_return_to_zero(tmp_path: Path) -> None:
    sequence = _sequence(count=6)
    write_animation_glb(tmp_path / "a.glb", sequence, quantize=False)
    player = Player(tmp_path / "a.glb")
    source = split_at_seams(sequence.mesh).source
    rest = sequence.mesh.vertices.numpy()
    np.testing.assert_allclose(player.base["POSITION"], rest[source])
    for pose, target in zip(sequence.vertices.numpy(), player.targets["POSITION"], strict=True):
        np.testing.assert_allclose(target, (pose - rest)[source], atol=1e-6)
    np.testing.assert_array_equal(player.keys, np.eye(6))
    assert torch.equal(read_glb(tmp_path / "a.glb").vertices, sequence.mesh.vertices[source])


def test_times_names_and_first_weights(tmp_path: Path) -> None:
    sequence = _sequence(count=4)
    write_animation_glb(tmp_path / "a.glb", sequence, target_names=["0", "5", "10", "12"])
    player = Player(tmp_path / "a.glb")
    np.testing.assert_allclose(player.times, sequence.times, atol=1e-6)
    assert player.mesh["extras"]["targetNames"] == ["0", "5", "10", "12"]
    assert player.mesh["weights"] == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("quantize", [False, True])
def test_bounds_of_every_accessor_are_those_of_its_data(tmp_path: Path, quantize: bool) -> None:
    write_animation_glb(tmp_path / "a.glb", _sequence(), quantize=quantize)
    player = Player(tmp_path / "a.glb")
    accessors = player.document.json["accessors"]
    positions = [player.primitive["attributes"]["POSITION"], *(t["POSITION"] for t in player.primitive["targets"])]
    times = player.animation["samplers"][0]["input"]
    assert {index for index, accessor in enumerate(accessors) if "min" in accessor} == {*positions, times}
    for index in (*positions, times):
        accessor = accessors[index]
        stored = player.document.accessor(index).astype(np.float64)
        unit = 32767 if accessor.get("normalized") else 1
        np.testing.assert_allclose(stored.min(0) * unit, accessor["min"], rtol=1e-6)
        np.testing.assert_allclose(stored.max(0) * unit, accessor["max"], rtol=1e-6)


@pytest.mark.parametrize("turn", [0.2, 1.0, 2.0, 3.1, np.pi])
@pytest.mark.parametrize("quantize", [False, True])
def test_normals_follow_a_turning_body(tmp_path: Path, turn: float, quantize: bool) -> None:
    ball = trimesh.creation.icosphere(3)
    rest = torch.tensor(ball.vertices, dtype=torch.float32)
    spin = torch.tensor(trimesh.transformations.rotation_matrix(turn, [0.1, 1, 0.2])[:3, :3], dtype=torch.float32)
    sequence = MeshSequence(
        torch.stack([rest, rest @ spin.T]), Mesh(rest, torch.tensor(ball.faces)), np.array([0.0, 1.0])
    )
    write_animation_glb(tmp_path / "a.glb", sequence, quantize=quantize)
    player = Player(tmp_path / "a.glb")
    for time, pose in ((0.0, sequence[0]), (1.0, sequence[1])):
        cosine = (player.normals(time) * pose.normals().numpy()).sum(1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1).min())) < 1.5


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31), turn=st.floats(0, np.pi), bits=st.sampled_from([8, 16, 32]))
def test_normal_deltas_keep_the_direction_in_the_smallest_type(seed: int, turn: float, bits: int) -> None:
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(2, 40, 3))
    rest = axes[0] / np.linalg.norm(axes[0], axis=1, keepdims=True)
    side = np.cross(rest, axes[1])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    normals = np.cos(turn) * rest + np.sin(turn) * side
    # The longest multiple of each normal whose delta stays within [-1, 1].
    room = np.min((1 + np.sign(normals) * rest) / np.abs(normals), axis=1)
    fits = {8: room >= 0.5, 16: room >= 0.02, 32: room >= 0}[bits]
    rest, normals = rest[fits].astype(np.float32), normals[fits].astype(np.float32)
    if len(rest) == 0:
        return
    deltas = normal_deltas(rest, normals)
    assert deltas.dtype.itemsize * 8 <= bits
    unit = np.iinfo(deltas.dtype).max if deltas.dtype.kind == "i" else 1
    found = rest + deltas / unit
    cosine = (found * normals).sum(1) / np.linalg.norm(found, axis=1)
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 1.0


@settings(max_examples=30, deadline=None)
@given(
    yaw=st.floats(-3, 3), pitch=st.floats(-1.2, 1.2), radius=st.floats(1.5, 4), fov=st.floats(0.3, 1.5),
    aspect=st.floats(0.5, 2),
)  # fmt: skip
def test_the_camera_node_overlays_the_video(
    tmp_path_factory: pytest.TempPathFactory, yaw: float, pitch: float, radius: float, fov: float, aspect: float
) -> None:
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    camera = Orbit.of(yaw, pitch, radius, (0.1, -0.05, 0.1)).camera(fov, aspect)
    sequence = _sequence(size=0.3)
    write_animation_glb(path, sequence, camera)
    document = load_document(path).json
    (node,) = (node for node in document["nodes"] if "camera" in node)
    lens = document["cameras"][node["camera"]]["perspective"]
    # glTF 2.0, 3.10: the projection matrix of a camera that looks along -z, y up.
    points = sequence.mesh.vertices.numpy().astype(np.float64)
    view = np.linalg.inv(local_matrix(node))
    seen = points @ view[:3, :3].T + view[:3, 3]
    in_front = seen[:, 2] < -0.1
    tangent = np.tan(lens["yfov"] / 2)
    x = seen[:, 0] / (lens["aspectRatio"] * tangent * -seen[:, 2])
    y = seen[:, 1] / (tangent * -seen[:, 2])
    pixels = np.stack([(x + 1) / 2 * 640, (1 - y) / 2 * 480], 1)
    expected, depth = camera.project(sequence.mesh.vertices, (480, 640))
    np.testing.assert_allclose(-seen[:, 2], depth[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(pixels[in_front], expected[0].numpy()[in_front], atol=0.05)


def test_the_identity_camera_looks_at_what_lies_before_it(tmp_path: Path) -> None:
    write_animation_glb(tmp_path / "a.glb", _sequence(), Camera.identity())
    (node,) = (node for node in load_document(tmp_path / "a.glb").json["nodes"] if "camera" in node)
    np.testing.assert_allclose(local_matrix(node), np.diag([1.0, -1.0, -1.0, 1.0]), atol=1e-9)


def test_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_animation_glb(tmp_path / f"{name}.glb", _sequence(), Orbit.of(yaw=0.4).camera())
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    sequence = _sequence(count=2)
    path = tmp_path / "a.glb"
    with pytest.raises(ValueError, match="must ascend"):
        write_animation_glb(path, MeshSequence(sequence.vertices, sequence.mesh, np.array([1.0, 1.0])))
    with pytest.raises(ValueError, match="0 poses"):
        write_animation_glb(path, MeshSequence(sequence.vertices[:0], sequence.mesh, np.zeros(0)))
    with pytest.raises(ValueError, match="1 target names for 2 poses"):
        write_animation_glb(path, sequence, target_names=["0"])
    with pytest.raises(ValueError, match="no finite"):
        write_animation_glb(path, MeshSequence(sequence.vertices * torch.nan, sequence.mesh, sequence.times))
    assert not path.exists()
