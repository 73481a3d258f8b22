import weakref
from dataclasses import replace

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

import registration
from registration.keyframes import pairwise, stage
from registration.keyframes.joint_refinement import interpolation_weights
from registration.keyframes.stage import longest_outline
from tests.registration.shapes import bent, painted, photographed
from v2m4 import optical_flow
from v2m4.camera import Camera
from v2m4.config import FAST, PAPER, Config
from v2m4.frame import Frame
from v2m4.mesh import Mesh, PosedAsset
from v2m4.on_demand import OnDemand
from v2m4.render import render
from v2m4.workspace import Workspace

AWAY = torch.tensor([0.0, 0.0, 3.0])
KEYS = [0, 2, 4]


@pytest.fixture(scope="module")
def clip(capsule):
    """A body that bends to one side; the truth at every frame, and each key frame's own mesh of another topology."""
    vertices, faces = capsule
    rest = painted(vertices + AWAY, faces)
    truth = [rest.with_vertices(bent(vertices, 0.25 * index) + AWAY) for index in range(5)]
    frames = [photographed(mesh, index) for index, mesh in enumerate(truth)]
    shuffle = torch.randperm(len(vertices), generator=torch.Generator().manual_seed(0))
    back = torch.argsort(shuffle)
    posed = []
    for index in KEYS:
        mesh = truth[index]
        other = replace(mesh, vertices=mesh.vertices[shuffle], faces=back[faces], colors=mesh.colors[shuffle])
        posed.append(PosedAsset(other, torch.eye(4)))
    return frames, posed, truth, shuffle


@pytest.fixture(scope="module", params=["fits", "no"])
def config(request) -> Config:
    small = replace(
        FAST.registration,
        reference="first",
        coarse_steps=10,
        half_turn_steps=4,
        fine_steps=40,
        joint_steps=20,
        video_size=96,
        size=48,
        points=500,
        trust=request.param,
        settle_rounds=12,
    )
    return replace(FAST, registration=small)


@pytest.fixture(scope="module")
def result(clip, config, tmp_path_factory):
    frames, posed, _, _ = clip
    workspace = Workspace(tmp_path_factory.mktemp("clip"))
    return registration.run(frames, KEYS, posed, workspace, config), workspace


def mask_iou(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.minimum(first, second).sum() / torch.maximum(first, second).sum())


def test_every_vertex_is_near_the_truth(clip, result) -> None:
    _, _, truth, shuffle = clip
    sequence, _ = result
    for position, index in enumerate(KEYS):
        error = (sequence.vertices[position] - truth[index].vertices[shuffle]).norm(dim=1)
        assert error.mean() < 0.02  # the body is 1 long


def test_frames_between_the_key_frames_overlay_the_video(clip, result) -> None:
    frames, _, _, _ = clip
    sequence = result[0].sampled(range(5))
    for index, frame in enumerate(frames):
        _, mask = frame.tensors(160)
        mesh = sequence[index]
        seen = render(mesh.vertices, mesh.faces, Camera.identity(), 160, channels=()).mask[0]
        assert mask_iou(seen, mask) > 0.94


def test_sequence_has_the_reference_topology_and_the_first_pose_as_rest(clip, result) -> None:
    sequence, _ = result
    assert torch.equal(sequence.mesh.faces, clip[1][0].mesh.faces)
    assert torch.equal(sequence.mesh.vertices, sequence.vertices[0])
    assert sequence.times.tolist() == [0.0, 2.0, 4.0]


def test_meshes_images_and_curves_are_written(config, result) -> None:
    _, workspace = result
    for index in KEYS:
        assert workspace.path(f"{index}_consistency_sample.glb").is_file()
        assert workspace.path(f"3_registration/{index}_check.png").is_file()
    for name in ("2", "4", "joint"):
        assert workspace.path(f"3_registration/{name}_loss.png").is_file()
        with np.load(workspace.path(f"3_registration/{name}.npz")) as stored:
            if name == "joint":
                assert len(stored["curve_silhouette"]) == 20
                assert ("curve_stay" in stored) == (config.registration.trust == "fits")
            else:
                assert bool(stored["trusted"]) == (config.registration.trust == "fits")
                curve = "curve_residual" if stored["trusted"] else "curve_silhouette"
                assert len(stored[curve]) == (12 if stored["trusted"] else 40)


def test_an_interrupted_run_resumes_to_the_same_bytes(clip, config, result, tmp_path, monkeypatch) -> None:
    frames, posed, _, _ = clip
    stopped = registration.keyframes.stage._Stage.refine

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(registration.keyframes.stage._Stage, "refine", killed)
    with pytest.raises(KeyboardInterrupt):
        registration.run(frames, KEYS, posed, Workspace(tmp_path), config)
    monkeypatch.setattr(registration.keyframes.stage._Stage, "refine", stopped)
    monkeypatch.setattr(registration.keyframes.stage._Stage, "register_pair", killed)  # the pairwise poses are on disk
    again = registration.run(frames, KEYS, posed, Workspace(tmp_path), config)
    assert again.vertices.numpy().tobytes() == result[0].vertices.numpy().tobytes()


def test_tracks_are_used_and_written(clip, config, tmp_path_factory) -> None:
    frames, posed, truth, shuffle = clip
    small = replace(config.registration, tracker="flow", tracked_views=4, tracked_size=96, tracked_points=100)
    tracked = replace(config, use_tracking=True, registration=small)
    folders = [Workspace(tmp_path_factory.mktemp("tracked")) for _ in range(2)]
    sequences = [registration.run(frames, KEYS, posed, folder, tracked) for folder in folders]
    assert sequences[0].vertices.numpy().tobytes() == sequences[1].vertices.numpy().tobytes()
    for position, index in enumerate(KEYS):
        error = (sequences[0].vertices[position] - truth[index].vertices[shuffle]).norm(dim=1)
        assert error.mean() < 0.02
    for view in range(4):
        assert read_video(folders[0].path(f"3_registration/track_video{view}.mp4")) == 3
        assert read_video(folders[0].path(f"3_registration/track_result{view}.mp4")) == 3
    with np.load(folders[0].path("3_registration/tracks.npz")) as stored:
        assert stored["positions"].shape[0] == 3
        assert (stored["confidence"] >= 0.5).mean() > 0.6
    with np.load(folders[0].path("3_registration/joint.npz")) as stored:
        assert len(stored["curve_tracking"]) == 20


def read_video(path) -> int:
    """How many frames."""
    return len(iio.imread(path, plugin="pyav"))


def test_without_tracking_nothing_is_tracked(result) -> None:
    folder = result[1].path("3_registration")
    assert not [file.name for file in folder.iterdir() if file.name.startswith("track")]


def test_other_options_invalidate_stored_results(clip, config, result, monkeypatch) -> None:
    frames, posed, _, _ = clip
    calls = []

    def register_pair(self, previous, template, start, stop, parts):
        calls.append(stop)
        raise KeyboardInterrupt

    monkeypatch.setattr(registration.keyframes.stage._Stage, "register_pair", register_pair)
    other = replace(config, registration=replace(config.registration, fine_steps=41))
    with pytest.raises(KeyboardInterrupt):
        registration.run(frames, KEYS, posed, Workspace(result[1].root), other)
    assert calls == [1]


def test_the_shape_of_another_body_is_taken_only_if_trust_is_yes(clip, config, tmp_path, monkeypatch) -> None:
    frames, posed, _, _ = clip
    mesh = posed[1].mesh
    middle = mesh.vertices.mean(0)
    fat = mesh.with_vertices((mesh.vertices - middle) * torch.tensor([2.2, 1.0, 2.2]) + middle)
    pair, calls, icp = [posed[0], PosedAsset(fat, torch.eye(4))], [], pairwise.nonrigid_icp
    monkeypatch.setattr(pairwise, "nonrigid_icp", lambda *given, **more: (calls.append(1), icp(*given, **more))[1])

    def stored(trust: str) -> dict:
        workspace = Workspace(tmp_path / trust)
        registration.run(
            frames[:3], [0, 2], pair, workspace, replace(config, registration=replace(config.registration, trust=trust))
        )
        return dict(np.load(workspace.path("3_registration/2.npz")))

    own = config.registration.trust
    guided = stored(own)
    assert not guided["trusted"]
    assert len(guided["curve_silhouette"]) == 40  # the descent ran
    assert len(calls) == (own == "fits")  # with trust "no", non-rigid ICP does not run
    blind = stored("yes")
    assert blind["trusted"]
    width = [float(np.ptp(arrays["vertices"][:, 0])) for arrays in (guided, blind)]
    assert width[0] < 0.75 * width[1]


def test_a_missing_mesh_is_an_error(clip, config, tmp_path) -> None:
    with pytest.raises(ValueError, match="2 meshes for 3 key frames"):
        registration.run(clip[0], KEYS, clip[1][:2], Workspace(tmp_path), config)


def test_one_key_frame_gives_a_sequence_of_its_own_pose(clip, config, tmp_path) -> None:
    frames, posed, _, _ = clip
    sequence = registration.run(frames[:1], [0], posed[:1], Workspace(tmp_path), config)
    assert torch.equal(sequence.vertices[0], posed[0].mesh.vertices)


def test_the_work_is_done_on_the_device_and_comes_back(clip, config, tmp_path, monkeypatch) -> None:
    frames, posed, _, _ = clip
    devices, worked = [], []
    to = Mesh.to

    def noted(self: Mesh, device: torch.device | str) -> Mesh:
        devices.append(str(device))
        return to(self, "cpu")

    register_pair = stage.register_pair
    monkeypatch.setattr(Mesh, "to", noted)
    monkeypatch.setattr(stage, "device_of", lambda config: torch.device("cuda"))
    monkeypatch.setattr(torch.Tensor, "to", kept)
    monkeypatch.setattr(
        stage, "register_pair", lambda *given: (worked.append(given[0].device), register_pair(*given))[1]
    )
    sequence = registration.run(frames, KEYS, posed, Workspace(tmp_path), config)
    assert devices[:3] == ["cuda"] * 3 and devices[-1] == "cpu" and len(worked) == 2
    assert sequence.vertices.device.type == sequence.mesh.vertices.device.type == "cpu"


_to = torch.Tensor.to


def kept(tensor: torch.Tensor, *to, **more) -> torch.Tensor:
    """``Tensor.to`` on a machine whose GPU is its main memory."""
    given = [torch.device("cpu") if isinstance(part, torch.device) and part.type == "cuda" else part for part in to]
    return _to(tensor, *given, **more)


def test_separate_limbs_have_the_longest_outline() -> None:
    def figure(angle: float) -> Frame:
        picture = np.zeros((200, 200, 4), np.uint8)
        for side in (-1, 1):
            foot = (round(100 + side * 80 * np.sin(angle)), round(60 + 100 * np.cos(angle)))
            cv2.line(picture, (100, 60), foot, (255, 255, 255, 255), 14)
        return Frame("0", 0, picture)

    assert longest_outline([figure(0.0), figure(0.5), figure(0.04)]) == 1


def test_blend_is_linear_between_key_frames() -> None:
    assert interpolation_weights([0, 5, 8], 5) == (1, 1, 0.0)
    first, second, weight = interpolation_weights([0, 5, 8], 7)
    assert (first, second) == (1, 2)
    assert weight == pytest.approx(2 / 3)
    assert interpolation_weights([0, 5, 8], 11) == (2, 2, 0.0)


def test_paper_preset_has_the_published_weights() -> None:
    weights = PAPER.registration.weights
    assert (weights.normals, weights.arap, weights.chamfer) == (1.0, 1.0, 10.0)
    assert (weights.edge_length, weights.face_area, weights.tracking) == (1e2, 1e6, 1e-3)


def test_paper_preset_minimises_the_published_terms_alone(clip, tmp_path, monkeypatch) -> None:
    frames, posed, _, _ = clip
    small = replace(
        PAPER.registration,
        coarse_steps=4,
        half_turn_steps=2,
        fine_steps=6,
        fine_rate=0.01,
        coarse_views=2,
        views=2,
        size=32,
        points=300,
    )
    monkeypatch.setattr(optical_flow, "flow_between", lambda *_: pytest.fail("optical flow is not part of the paper"))
    workspace = Workspace(tmp_path)
    sequence = registration.run(frames, KEYS, posed, workspace, replace(PAPER, registration=small))
    assert sequence.vertices.isfinite().all()
    stored = np.load(workspace.path(f"3_registration/{frames[2].name}.npz"))
    curves = {name.removeprefix("curve_") for name in stored.files if name.startswith("curve_")}
    assert curves == {"arap", "edge_length", "face_area", "chamfer", "normals"}
    assert not workspace.path("3_registration/joint.npz").exists()


def test_few_meshes_of_key_frames_are_in_memory_at_once(clip, config, result, tmp_path) -> None:
    frames, posed, _, _ = clip
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def made(index: int) -> PosedAsset:
        nonlocal most
        vertices = posed[index].mesh.vertices.clone()
        alive.add(vertices)
        most = max(most, len(alive))
        return replace(posed[index], mesh=posed[index].mesh.with_vertices(vertices))

    again = registration.run(frames, KEYS, OnDemand(len(posed), made), Workspace(tmp_path), config)
    assert torch.equal(again.vertices, result[0].vertices)
    assert most <= 3  # the first, the template and a target
