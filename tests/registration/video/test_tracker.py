"""A painted limb that bends in front of the camera, followed by its pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import Poses
from registration.video.observer import moved_to_mask
from registration.video.tracker import _predicted, track_mesh
from tests.registration.shapes import bent, painted, photographed
from v2m4.camera import Camera
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh

CONFIG = VideoTrackingConfig(nodes=30, size=128, points=400, rounds=2, passes=1, window=48)
COUNT = 7


def pose(capsule: tuple[Tensor, Tensor], time: int) -> Tensor:
    """Bends to the side, and goes to the right."""
    return bent(capsule[0], 0.08 * time) + torch.tensor([0.02 * time, 0.0, 2.5])


@pytest.fixture(scope="module")
def limb(capsule: tuple[Tensor, Tensor]) -> tuple[Mesh, list[Frame], Tensor]:
    """The mesh, its pictures, its true poses."""
    poses = torch.stack([pose(capsule, time) for time in range(COUNT)])
    mesh = painted(capsule[0], capsule[1])
    frames = [photographed(mesh.with_vertices(each), time) for time, each in enumerate(poses)]
    return mesh.with_vertices(poses[0]), frames, poses


def test_follows_the_bend(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    counts: list[int] = []
    found = track_mesh(frames, mesh, CONFIG, progress=counts.append)
    assert torch.equal(found.vertices[0], mesh.vertices)
    assert counts == list(range(2, COUNT + 1))
    away, moved = (found.vertices - poses).norm(dim=2).mean(1), (poses - poses[0]).norm(dim=2).mean(1)
    assert float(away[-1]) < 0.1 * float(moved[-1])
    assert min(frame.iou for frame in found.quality.frames) > 0.95
    assert not any(frame.lost for frame in found.quality.frames)


def test_same_input_same_bytes(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, _ = limb
    first, second = (track_mesh(frames[:4], mesh, CONFIG).vertices for _ in range(2))
    assert first.numpy().tobytes() == second.numpy().tobytes()


def test_windows_join_without_a_seam(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    found = track_mesh(frames, mesh, replace(CONFIG, window=3)).vertices
    assert torch.isfinite(found).all()
    step, true = (each[1:] - each[:-1] for each in (found, poses))
    assert float((step - true).norm(dim=2).mean(1).max()) < 0.4 * float(true.norm(dim=2).mean(1).mean())


def test_frames_without_the_object_say_nothing(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    empty = replace(frames[3], rgba=np.zeros_like(frames[3].rgba))
    found = track_mesh([*frames[:3], empty, *frames[4:]], mesh, CONFIG)
    assert [bool(frame.lost) for frame in found.quality.frames] == [time == 3 for time in range(COUNT)]
    away = (found.vertices - poses).norm(dim=2).mean(1)
    assert float(away.max()) < 0.25 * float((poses[-1] - poses[0]).norm(dim=1).mean())


def test_finds_the_object_again_elsewhere(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    jump = torch.tensor([0.5, 0.1, 0.0])
    later = [photographed(mesh.with_vertices(each + jump), time) for time, each in enumerate(poses) if time >= 3]
    gone = replace(frames[2], rgba=np.zeros_like(frames[2].rgba))
    found = track_mesh([*frames[:2], gone, *later], mesh, CONFIG)
    assert [bool(frame.lost) for frame in found.quality.frames] == [time == 2 for time in range(COUNT)]
    assert float((found.vertices[3:] - poses[3:] - jump).norm(dim=2).mean()) < 0.1


def test_one_frame_is_the_mesh(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, _ = limb
    found = track_mesh(frames[:1], mesh, CONFIG)
    assert torch.equal(found.vertices, mesh.vertices[None]) and len(found.quality.frames) == 1


def test_placed_where_the_object_is_and_as_near(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, _, poses = limb
    there = poses[0] + torch.tensor([0.2, -0.1, 0.4])
    view = ImageWindow.of(photographed(mesh.with_vertices(there), 0), Camera.identity(), 256, [poses[0]])
    shown = AppearanceModel(mesh).render(poses[0], view).mask
    assert float((moved_to_mask(poses[0], view.mask, shown, view) - there).norm(dim=1).max()) < 0.03
    assert torch.equal(moved_to_mask(poses[0], np.zeros_like(view.mask), shown, view), poses[0])


def test_prediction_goes_on_as_before() -> None:
    """A body that turns and moves evenly is predicted exactly."""
    turn = trimesh.transformations.rotation_matrix(0.2, (0.3, 1.0, 0.1))[:3, :3]
    rotations = np.stack([np.linalg.matrix_power(turn, time) for time in range(3)])[:, None]
    positions = np.arange(3.0)[:, None, None] * np.array([0.1, -0.2, 0.3])
    predicted = _predicted(Poses(rotations[:2], positions[:2]))
    assert np.allclose(predicted.rotations, rotations[2:]) and np.allclose(predicted.positions, positions[2:])
    still = Poses(rotations[:1], positions[:1])
    assert np.array_equal(_predicted(still).positions, still.positions)


def test_predictions_of_predictions_stay_rotations() -> None:
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.1, 0.05], [0.1, 0.0, -0.02], [-0.05, 0.02, 0.0]])).double()
    rotations = torch.stack([torch.eye(3).double(), turn])[:, None].numpy() * (1 + 1e-7)  # as rounding leaves them
    poses = Poses(rotations, np.zeros((2, 1, 3)))
    for _ in range(60):
        poses = Poses.joined([poses, _predicted(poses)])
    off = poses.rotations @ poses.rotations.swapaxes(2, 3) - np.eye(3)
    assert np.abs(off).max() < 1e-5
    wanted = torch.linalg.matrix_power(turn, 61).numpy()
    assert np.abs(poses.rotations[-1, 0] - wanted).max() < 1e-4
