"""Curves keep what they stand for within the tolerance, with fewer keys."""

import numpy as np
import pytest

from tests.v2m4.skinning import chain
from v2m4.skinning.curves import curves_of, poses_at, thinned


def _points() -> np.ndarray:
    return chain.tube().vertices.double().numpy()[::5]


def test_all_keys_give_back_the_poses() -> None:
    poses, times = chain.poses(9), np.arange(9) / 24
    found = poses_at(chain.skeleton(), curves_of(chain.skeleton(), poses, times), times)
    np.testing.assert_allclose(found.rotations, poses.rotations, atol=1e-7)
    np.testing.assert_allclose(found.translations, poses.translations, atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-3, 1e-2])
def test_no_point_leaves_the_tolerance(tolerance: float) -> None:
    skeleton, binding = chain.skeleton(), chain.binding(_points())
    poses, times = chain.poses(40), np.arange(40) / 24
    curves = thinned(skeleton, binding, poses, times, tolerance)
    wanted = binding.skinned(*skeleton.world(poses))
    found = binding.skinned(*skeleton.world(poses_at(skeleton, curves, times)))
    assert np.linalg.norm(found - wanted, axis=2).max() <= tolerance
    assert sum(len(curve.times) for curve in curves) < 160
    for curve in curves:
        assert curve.times[0] == 0
        assert len(curve.times) == 1 or curve.times[-1] == times[-1]


def test_a_larger_tolerance_needs_no_more_keys() -> None:
    skeleton, binding = chain.skeleton(), chain.binding(_points())
    poses, times = chain.poses(40), np.arange(40) / 24
    counts = [
        sum(len(curve.times) for curve in thinned(skeleton, binding, poses, times, tolerance))
        for tolerance in (1e-4, 1e-3, 1e-2)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_a_uniform_rotation_needs_two_keys() -> None:
    skeleton, binding = chain.skeleton(), chain.binding(_points())
    poses = skeleton.rest(20)
    angle = np.linspace(0, 1.5, 20)
    poses.rotations[:, 1, 0, 0], poses.rotations[:, 1, 0, 1] = np.cos(angle), -np.sin(angle)
    poses.rotations[:, 1, 1, 0], poses.rotations[:, 1, 1, 1] = np.sin(angle), np.cos(angle)
    curves = thinned(skeleton, binding, poses, np.arange(20) / 24, 1e-4)
    assert [(curve.node, curve.path, len(curve.times)) for curve in curves] == [(1, "rotation", 2)]


def test_a_tolerance_of_zero_keeps_the_motion_exactly() -> None:
    skeleton, binding = chain.skeleton(), chain.binding(_points())
    poses, times = chain.poses(10), np.arange(10) / 24
    found = poses_at(skeleton, thinned(skeleton, binding, poses, times, 0.0), times)
    np.testing.assert_allclose(found.rotations, poses.rotations, atol=1e-7)
