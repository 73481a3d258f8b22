"""Registration: known maps are found again, and the published script's steps are followed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from evaluation.alignment import (
    affine,
    apply,
    motion80_code_icp,
    register_similarity,
    yaw_starts,
)
from v2m4.rotation import cube_rotations


def blob(count: int, seed: int = 0) -> np.ndarray:
    """Points on an ellipsoid with a horn: no symmetry."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    horn = np.clip(points @ np.array([0.6, 0.0, 0.8]), 0, None) ** 8
    return points * np.array([1.0, 0.7, 0.5]) * (1 + 0.8 * horn[:, None])


def test_starts_are_rotations_with_the_identity_first() -> None:
    for starts, count in ((yaw_starts(), 8), (cube_rotations(), 24)):
        assert len(starts) == count
        assert np.array_equal(starts[0], np.eye(3))
        assert np.allclose(starts @ starts.transpose(0, 2, 1), np.eye(3), atol=1e-12)
        assert np.allclose(np.linalg.det(starts), 1)
        distances = np.abs(starts[:, None] - starts[None]).max((2, 3)) + np.eye(count)
        assert distances.min() > 0.1  # each once


@pytest.mark.parametrize("yaw", [0, 40, 130, 200, 290])
def test_similarity_icp_recovers_yaw_scale_and_shift(yaw: float) -> None:
    source = blob(3000)
    truth = affine(1.2 * Rotation.from_euler("yx", [yaw, 10], degrees=True).as_matrix(), np.array([0.1, -0.1, 0.2]))
    found = register_similarity(source, apply(truth, source), yaw_starts())
    assert np.allclose(found.matrix, truth, atol=1e-6)
    assert found.distance < 1e-6


def test_similarity_icp_from_the_cube_finds_what_lies_on_its_side() -> None:
    source = blob(3000)
    truth = affine(Rotation.from_euler("xyz", [90, 20, 185], degrees=True).as_matrix(), np.zeros(3))
    found = register_similarity(source, apply(truth, source), cube_rotations())
    assert np.allclose(found.matrix, truth, atol=1e-6)


def test_similarity_icp_does_not_shrink_into_a_part() -> None:
    """Other samples of one surface: one-way correspondences would drift in scale."""
    found = register_similarity(blob(4000, 1), blob(4000, 2), yaw_starts())
    assert np.allclose(found.matrix, np.eye(4), atol=0.02)


def test_motion80_code_icp_aligns_what_starts_near() -> None:
    source = blob(2000)
    truth = affine(Rotation.from_euler("y", 4, degrees=True).as_matrix(), np.array([0.02, 0.0, -0.01]))
    found = motion80_code_icp(source, apply(truth, source))
    assert np.abs(apply(found, source) - apply(truth, source)).max() < 0.03


def test_motion80_code_icp_scale_comes_from_x_and_y_sides_and_is_clipped() -> None:
    source = blob(500)
    for stretch, scale in (([1.02, 1.02, 3.0], 1.02), ([2.0, 2.0, 1.0], 1.05), ([0.5, 0.5, 1.0], 0.95)):
        linear = motion80_code_icp(source, source * stretch, steps=3)[:3, :3]
        assert np.cbrt(np.linalg.det(linear)) == pytest.approx(scale, rel=1e-9)
