"""Poses of frames between key frames, and of the key frames, fitted to the video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.video.inbetweens import fit_frames
from registration.video.stage import FOLDER, fit_inbetweens
from tests.registration.moving_shapes import AWAY, speckled
from v2m4.camera import Camera
from v2m4.config import FAST, VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import MeshSequence
from v2m4.render import render_mesh
from v2m4.workspace import Workspace

SIDE = 160
CONFIG = VideoTrackingConfig(nodes=40, size=160, points=400, rounds=3)
HOPS = [0.0, 0.06, 0.08, 0.05, 0.0]  # heights, up and down again between two equal key frames


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    """True poses (5, V, 3): a body that hops and shears, in front of the camera."""
    rest = speckled(3).vertices
    vertices = []
    for hop in HOPS:
        shear = torch.tensor([[1.0, 2 * hop, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        vertices.append(rest @ shear.T + AWAY + torch.tensor([0.0, -hop, 0.0]))
    return torch.stack(vertices)


@pytest.fixture(scope="module")
def frames(poses) -> list[Frame]:
    images = []
    for index, pose in enumerate(poses):
        rendering = render_mesh(speckled(3).with_vertices(pose), Camera.identity(), SIDE, channels=("color", "mask"))
        mask = rendering.mask[0].clamp(0, 1)
        rgba = torch.cat([rendering.color[0] / mask.clamp_min(1e-6), mask], -1).clamp(0, 1)
        images.append(Frame(str(index), index, (255 * rgba).round().to(torch.uint8).numpy()))
    return images


@pytest.fixture(scope="module")
def keys(poses) -> MeshSequence:
    return MeshSequence(poses[[0, 4]], speckled(3).with_vertices(poses[0]), np.array([0.0, 4.0]))


@pytest.fixture(scope="module")
def fitted(frames, keys) -> MeshSequence:
    return fit_frames(frames, keys, CONFIG)


def test_frames_between_follow_the_video_not_the_interpolation(poses, keys, fitted):
    front = poses[0][:, 2] < AWAY[2]
    for index in (1, 2, 3):
        error = (fitted.vertices[index] - poses[index])[front, :2].norm(dim=1).mean()
        interpolated = (keys.sampled([index]).vertices[0] - poses[index])[front, :2].norm(dim=1).mean()
        assert interpolated > 0.04
        assert error < 0.1 * interpolated, f"frame {index}: {error:.4f}, interpolated {interpolated:.4f}"


def test_correct_key_frames_stay_near_and_the_first_is_the_rest_pose(keys, fitted):
    change = fitted.vertices[[0, 4]] - keys.vertices
    assert change.norm(dim=2).mean() < 0.007
    assert change[..., :2].norm(dim=2).mean() < 0.004
    assert torch.equal(fitted.mesh.vertices, fitted.vertices[0])
    assert fitted.times.tolist() == [0, 1, 2, 3, 4]


def test_slightly_wrong_key_frames_are_corrected(frames, keys, poses):
    error = torch.tensor([0.03, -0.02, 0.0])
    wrong = MeshSequence(keys.vertices + error, keys.mesh, keys.times)
    vertices = fit_frames(frames, wrong, CONFIG).vertices
    front = poses[0][:, 2] < AWAY[2]
    for index in (0, 4):  # only the outline shows it: the appearance model is fitted to the wrong pose
        assert (vertices[index] - poses[index])[front, :2].norm(dim=1).mean() < 0.75 * error.norm()


def test_the_same_frames_give_the_same_bytes(frames, keys, fitted):
    assert torch.equal(fit_frames(frames, keys, CONFIG).vertices, fitted.vertices)


def test_an_empty_frame_stays_near_its_neighbours(frames, keys, fitted):
    empty = Frame("2", 2, np.zeros_like(frames[2].rgba))
    result = fit_frames([*frames[:2], empty, *frames[3:]], keys, CONFIG)
    assert torch.isfinite(result.vertices).all()
    assert (result.vertices[2] - fitted.vertices[2]).norm(dim=1).max() < 0.1


def test_progress_counts_every_frame(frames, keys):
    counts: list[int] = []
    fit_frames(frames, keys, VideoTrackingConfig(nodes=10, size=64, points=50, rounds=1), counts.append)
    assert counts == [4, 5]


def test_fit_inbetweens_stores_its_result_and_obeys_the_options(frames, keys, fitted, tmp_path):
    config = replace(FAST, drive=CONFIG)
    assert fit_inbetweens(frames, keys, Workspace(tmp_path), replace(config, inbetween="linear")) is keys
    every = keys.sampled(range(5))
    assert fit_inbetweens(frames, every, Workspace(tmp_path), config) is every
    result = fit_inbetweens(frames, keys, Workspace(tmp_path), config)
    assert torch.equal(result.vertices, fitted.vertices)
    stored = tmp_path / FOLDER / "between.npz"
    before = stored.stat().st_mtime_ns
    fit_inbetweens(frames, keys, Workspace(tmp_path), config)
    assert stored.stat().st_mtime_ns == before
    fit_inbetweens(frames, keys, Workspace(tmp_path), replace(config, drive=replace(CONFIG, rounds=1)))
    assert stored.stat().st_mtime_ns != before
