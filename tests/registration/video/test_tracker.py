"""Tracking of a coloured limb that bends in front of the camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import Poses
from registration.video.observer import translated_to_mask
from registration.video.tracker import _linear_prediction, track_mesh
from tests.registration.shapes import bent, painted, photographed
from v2m4.camera import Camera
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh

CONFIG = VideoTrackingConfig(nodes=30, size=128, points=400, rounds=2, passes=1, window=48)
COUNT = 7


def pose(capsule: tuple[Tensor, Tensor], time: int) -> Tensor:
    """The limb in a frame: it bends to the side and moves to the right."""
    return bent(capsule[0], 0.08 * time) + torch.tensor([0.02 * time, 0.0, 2.5])


@pytest.fixture(scope="module")
def limb(capsule: tuple[Tensor, Tensor]) -> tuple[Mesh, list[Frame], Tensor]:
    """The mesh in its first pose, the frames, and the true poses (T, V, 3)."""
    poses = torch.stack([pose(capsule, time) for time in range(COUNT)])
    mesh = painted(capsule[0], capsule[1])
    frames = [photographed(mesh.with_vertices(each), time) for time, each in enumerate(poses)]
    return mesh.with_vertices(poses[0]), frames, poses


def test_bending_is_tracked(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    counts: list[int] = []
    result = track_mesh(frames, mesh, CONFIG, progress=counts.append)
    assert torch.equal(result.vertices[0], mesh.vertices)
    assert counts == list(range(2, COUNT + 1))
    error, motion = (result.vertices - poses).norm(dim=2).mean(1), (poses - poses[0]).norm(dim=2).mean(1)
    assert float(error[-1]) < 0.1 * float(motion[-1])
    assert min(frame.iou for frame in result.quality.frames) > 0.95
    assert not any(frame.lost for frame in result.quality.frames)


def test_same_input_same_bytes(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, _ = limb
    first, second = (track_mesh(frames[:4], mesh, CONFIG).vertices for _ in range(2))
    assert first.numpy().tobytes() == second.numpy().tobytes()


def test_windows_join_without_a_seam(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    result = track_mesh(frames, mesh, replace(CONFIG, window=3)).vertices
    assert torch.isfinite(result).all()
    step, true = (each[1:] - each[:-1] for each in (result, poses))
    assert float((step - true).norm(dim=2).mean(1).max()) < 0.4 * float(true.norm(dim=2).mean(1).mean())


def test_frames_without_the_object_are_lost_and_interpolated(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    empty = replace(frames[3], picture=np.zeros_like(frames[3].rgba))
    result = track_mesh([*frames[:3], empty, *frames[4:]], mesh, CONFIG)
    assert [bool(frame.lost) for frame in result.quality.frames] == [time == 3 for time in range(COUNT)]
    error = (result.vertices - poses).norm(dim=2).mean(1)
    assert float(error.max()) < 0.25 * float((poses[-1] - poses[0]).norm(dim=1).mean())


def test_object_is_relocated_after_loss_of_track(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, poses = limb
    jump = torch.tensor([0.5, 0.1, 0.0])
    later = [photographed(mesh.with_vertices(each + jump), time) for time, each in enumerate(poses) if time >= 3]
    empty = replace(frames[2], picture=np.zeros_like(frames[2].rgba))
    result = track_mesh([*frames[:2], empty, *later], mesh, CONFIG)
    assert [bool(frame.lost) for frame in result.quality.frames] == [time == 2 for time in range(COUNT)]
    assert float((result.vertices[3:] - poses[3:] - jump).norm(dim=2).mean()) < 0.1


def test_one_frame_is_the_mesh(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, frames, _ = limb
    result = track_mesh(frames[:1], mesh, CONFIG)
    assert torch.equal(result.vertices, mesh.vertices[None]) and len(result.quality.frames) == 1


def test_translation_to_a_mask_recovers_position_and_depth(limb: tuple[Mesh, list[Frame], Tensor]) -> None:
    mesh, _, poses = limb
    target = poses[0] + torch.tensor([0.2, -0.1, 0.4])
    view = ImageWindow.of(photographed(mesh.with_vertices(target), 0), Camera.identity(), 256, [poses[0]])
    pose_mask = AppearanceModel(mesh).render(poses[0], view).mask
    assert float((translated_to_mask(poses[0], view.mask, pose_mask, view) - target).norm(dim=1).max()) < 0.03
    assert torch.equal(translated_to_mask(poses[0], np.zeros_like(view.mask), pose_mask, view), poses[0])


def test_motion_of_constant_velocity_is_predicted_exactly() -> None:
    rotation = trimesh.transformations.rotation_matrix(0.2, (0.3, 1.0, 0.1))[:3, :3]
    rotations = np.stack([np.linalg.matrix_power(rotation, time) for time in range(3)])[:, None]
    positions = np.arange(3.0)[:, None, None] * np.array([0.1, -0.2, 0.3])
    predicted = _linear_prediction(Poses(rotations[:2], positions[:2]))
    assert np.allclose(predicted.rotations, rotations[2:]) and np.allclose(predicted.positions, positions[2:])
    single = Poses(rotations[:1], positions[:1])
    assert np.array_equal(_linear_prediction(single).positions, single.positions)


def test_repeated_predictions_remain_rotations() -> None:
    rotation = torch.linalg.matrix_exp(
        torch.tensor([[0.0, -0.1, 0.05], [0.1, 0.0, -0.02], [-0.05, 0.02, 0.0]])
    ).double()
    rotations = torch.stack([torch.eye(3).double(), rotation])[:, None].numpy() * (1 + 1e-7)  # as rounding leaves them
    poses = Poses(rotations, np.zeros((2, 1, 3)))
    for _ in range(60):
        poses = Poses.joined([poses, _linear_prediction(poses)])
    deviation = poses.rotations @ poses.rotations.swapaxes(2, 3) - np.eye(3)
    assert np.abs(deviation).max() < 1e-5
    expected = torch.linalg.matrix_power(rotation, 61).numpy()
    assert np.abs(poses.rotations[-1, 0] - expected).max() < 1e-4


def test_predicted_poses_are_starts_of_the_fit(capsule: tuple[Tensor, Tensor]) -> None:
    poses = torch.stack([pose(capsule, time) for time in (0, 16, 32)])
    mesh = painted(capsule[0], capsule[1]).with_vertices(poses[0])
    frames = [photographed(mesh.with_vertices(each), time) for time, each in enumerate(poses)]
    config = replace(CONFIG, rounds=1, passes=0)
    alone, told = (track_mesh(frames, mesh, config, predicted=given).vertices for given in (None, poses))
    errors = [float((result - poses)[1:].norm(dim=2).mean()) for result in (alone, told)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1 * float((poses - poses[0])[1:].norm(dim=2).mean())
