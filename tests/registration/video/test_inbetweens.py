"""Frames between key frames, and these: found where the video shows them, not on straight lines."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.video.inbetweens import fit_frames
from registration.video.stage import FOLDER, fill
from tests.registration.moving_shapes import AWAY, speckled
from v2m4.camera import Camera
from v2m4.config import FAST, VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import MeshSequence
from v2m4.render import render_mesh
from v2m4.workspace import Workspace

SIDE = 160
CONFIG = VideoTrackingConfig(nodes=40, size=160, points=400, rounds=3)
HOPS = [0.0, 0.06, 0.08, 0.05, 0.0]  # up and down again between two key frames that are alike


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    """The truth (5, V, 3): a body that hops and leans, in front of the camera."""
    rest = speckled(3).vertices
    found = []
    for hop in HOPS:
        lean = torch.tensor([[1.0, 2 * hop, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        found.append(rest @ lean.T + AWAY + torch.tensor([0.0, -hop, 0.0]))
    return torch.stack(found)


@pytest.fixture(scope="module")
def frames(poses) -> list[Frame]:
    pictures = []
    for index, pose in enumerate(poses):
        seen = render_mesh(speckled(3).with_vertices(pose), Camera.identity(), SIDE, channels=("color", "mask"))
        mask = seen.mask[0].clamp(0, 1)
        rgba = torch.cat([seen.color[0] / mask.clamp_min(1e-6), mask], -1).clamp(0, 1)
        pictures.append(Frame(str(index), index, (255 * rgba).round().to(torch.uint8).numpy()))
    return pictures


@pytest.fixture(scope="module")
def keys(poses) -> MeshSequence:
    return MeshSequence(poses[[0, 4]], speckled(3).with_vertices(poses[0]), np.array([0.0, 4.0]))


@pytest.fixture(scope="module")
def fit_vertices(frames, keys) -> MeshSequence:
    return fit_frames(frames, keys, CONFIG)


def test_frames_between_are_where_the_video_shows_them(poses, keys, fitted):

    front = poses[0][:, 2] < AWAY[2]
    for index in (1, 2, 3):
        off = (fitted.vertices[index] - poses[index])[front, :2].norm(dim=1).mean()
        straight = (keys.sampled([index]).vertices[0] - poses[index])[front, :2].norm(dim=1).mean()
        assert straight > 0.04
        assert off < 0.1 * straight, f"frame {index}: {off:.4f}, on a straight line {straight:.4f}"


def test_key_frames_that_are_right_stay_and_the_first_is_the_rest_pose(keys, fitted):
    assert (fitted.vertices[[0, 4]] - keys.vertices).norm(dim=2).mean() < 0.005
    assert torch.equal(fitted.mesh.vertices, fitted.vertices[0])
    assert fitted.times.tolist() == [0, 1, 2, 3, 4]


def test_key_frames_that_are_a_little_wrong_are_brought_nearer(frames, keys, poses):
    slid = torch.tensor([0.03, -0.02, 0.0])
    wrong = MeshSequence(keys.vertices + slid, keys.mesh, keys.times)
    found = fit_frames(frames, wrong, CONFIG).vertices
    front = poses[0][:, 2] < AWAY[2]
    for index in (0, 4):  # the outline alone tells
        assert (found[index] - poses[index])[front, :2].norm(dim=1).mean() < 0.75 * slid.norm()


def test_the_same_frames_give_the_same_bytes(frames, keys, fitted):
    assert torch.equal(fit_frames(frames, keys, CONFIG).vertices, fitted.vertices)


def test_a_frame_that_shows_nothing_stays_near_its_neighbours(frames, keys, fitted):
    empty = Frame("2", 2, np.zeros_like(frames[2].rgba))
    found = fit_frames([*frames[:2], empty, *frames[3:]], keys, CONFIG)
    assert torch.isfinite(found.vertices).all()
    assert (found.vertices[2] - fitted.vertices[2]).norm(dim=1).max() < 0.1


def test_progress_counts_every_frame(frames, keys):
    counted: list[int] = []
    fit_frames(frames, keys, VideoTrackingConfig(nodes=10, size=64, points=50, rounds=1), counted.append)
    assert counted == [4, 5]


def test_fill_keeps_its_work_and_does_as_it_is_told(frames, keys, fitted, tmp_path):
    config = replace(FAST, drive=CONFIG)
    assert fill(frames, keys, Workspace(tmp_path), replace(config, inbetween="linear")) is keys
    every = keys.sampled(range(5))
    assert fill(frames, every, Workspace(tmp_path), config) is every
    found = fill(frames, keys, Workspace(tmp_path), config)
    assert torch.equal(found.vertices, fitted.vertices)
    stored = tmp_path / FOLDER / "between.npz"
    before = stored.stat().st_mtime_ns
    fill(frames, keys, Workspace(tmp_path), config)
    assert stored.stat().st_mtime_ns == before
    fill(frames, keys, Workspace(tmp_path), replace(config, drive=replace(CONFIG, rounds=1)))
    assert stored.stat().st_mtime_ns != before
