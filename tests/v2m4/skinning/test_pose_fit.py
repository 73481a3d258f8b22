"""Poses of a known skeleton are recovered from the points that they move."""

import numpy as np
import pytest

from tests.v2m4.skinning import chain
from v2m4.skinning import pose_fit
from v2m4.skinning.skeleton import SkeletonPoses


def _moved(frames: int, bend: float = 1.0) -> tuple[np.ndarray, SkeletonPoses]:
    points = chain.tube().vertices.double().numpy()[::3]
    poses = chain.poses(frames, bend)
    return chain.binding(points).skinned(*chain.skeleton().world(poses)), poses


@pytest.mark.parametrize("bend", [0.3, 1.0, 2.0])
def test_exact_points_give_back_the_poses(bend: float) -> None:
    targets, truth = _moved(8, bend)
    binding = chain.binding(chain.tube().vertices.double().numpy()[::3])
    found = pose_fit.fit_poses(chain.skeleton(), binding, targets, 1.0)
    moved = binding.skinned(*chain.skeleton().world(found))
    assert np.linalg.norm(moved - targets, axis=2).max() < 2e-3
    np.testing.assert_allclose(found.rotations, truth.rotations, atol=0.02)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_work_too(frames: int) -> None:
    targets, _ = _moved(frames)
    binding = chain.binding(chain.tube().vertices.double().numpy()[::3])
    found = pose_fit.fit_poses(chain.skeleton(), binding, targets, 1.0)
    assert np.linalg.norm(binding.skinned(*chain.skeleton().world(found)) - targets, axis=2).max() < 2e-3


def test_noise_of_single_frames_is_smoothed() -> None:
    targets, _ = _moved(24)
    noisy = targets + np.random.default_rng(0).normal(size=targets.shape) * 0.02
    binding = chain.binding(chain.tube().vertices.double().numpy()[::3])
    found = pose_fit.fit_poses(chain.skeleton(), binding, noisy, 1.0)
    moved = binding.skinned(*chain.skeleton().world(found))
    assert np.sqrt(((moved - targets) ** 2).sum(2).mean()) < 0.2 * 0.02 * np.sqrt(3)


def test_the_gradient_is_that_of_the_cost() -> None:
    targets, _ = _moved(5)
    skeleton = chain.skeleton()
    binding = chain.binding(chain.tube().vertices.double().numpy()[::9])
    targets = targets[:, ::3]
    start = chain.poses(5, 0.8)
    unknowns = pose_fit._unknowns(skeleton, binding)
    _, gradient = pose_fit._normal_equations(skeleton, binding, targets, 1.0, start, unknowns)

    def cost(step: np.ndarray) -> float:
        moved = pose_fit._applied(skeleton, start, unknowns, step, 1.0)
        residual = (binding.skinned(*skeleton.world(moved)) - targets) ** 2
        return float(residual.sum()) / targets.shape[1] / 2

    whole = pose_fit._cost(skeleton, binding, targets, 1.0, start, unknowns)
    assert whole >= cost(np.zeros_like(gradient))
    rng = np.random.default_rng(1)
    for _ in range(5):
        direction = rng.normal(size=gradient.shape)
        step = 1e-5
        slope = (
            pose_fit._cost(
                skeleton,
                binding,
                targets,
                1.0,
                pose_fit._applied(skeleton, start, unknowns, step * direction, 1.0),
                unknowns,
            )
            - pose_fit._cost(
                skeleton,
                binding,
                targets,
                1.0,
                pose_fit._applied(skeleton, start, unknowns, -step * direction, 1.0),
                unknowns,
            )
        ) / (2 * step)
        assert abs(slope + (gradient * direction).sum()) < 1e-4 * max(abs(slope), 1e-3)


def test_nodes_that_no_point_follows_keep_the_rest_pose() -> None:
    targets, _ = _moved(4)
    points = chain.tube().vertices.double().numpy()[::3]
    whole = chain.binding(points)
    low = points[:, 1] < chain.JOINTS[2, 1] - 0.1
    found = pose_fit.fit_poses(chain.skeleton(), whole[low], targets[:, low], 1.0)
    np.testing.assert_allclose(found.rotations[:, 2], np.tile(np.eye(3), (4, 1, 1)), atol=1e-12)
