"""Laws of similarity transforms, of Umeyama's fit and of ICP; trimesh's Procrustes analysis as the oracle."""

import math

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from v2m4.similarity_transform import SimilarityIcp, SimilarityTransform, umeyama


def _random(seed):
    draw = np.random.default_rng(seed)
    return SimilarityTransform(
        draw.uniform(0.2, 4), Rotation.random(random_state=seed).as_matrix(), draw.normal(size=3)
    )


def _blob(count, seed=0):
    """Points on an ellipsoid with a horn: no symmetry."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    horn = np.clip(points @ np.array([0.6, 0.0, 0.8]), 0, None) ** 8
    return points * np.array([1.0, 0.7, 0.5]) * (1 + 0.8 * horn[:, None])


def _assert_equal(first, second, atol=1e-9):
    assert first.scale == pytest.approx(second.scale, abs=atol)
    np.testing.assert_allclose(first.rotation, second.rotation, atol=atol)
    np.testing.assert_allclose(first.translation, second.translation, atol=atol)


def test_transforms_are_a_group():
    first, second, points = _random(0), _random(1), np.random.default_rng(2).normal(size=(5, 4, 3))
    np.testing.assert_allclose(second.after(first)(points), second(first(points)), atol=1e-12)
    np.testing.assert_allclose(first.inverse()(first(points)), points, atol=1e-12)
    np.testing.assert_allclose(second.after(first).matrix, second.matrix @ first.matrix, atol=1e-12)
    third = _random(3)
    _assert_equal(third.after(second).after(first), third.after(second.after(first)))
    _assert_equal(first.after(first.inverse()), SimilarityTransform(1.0, np.eye(3), np.zeros(3)))
    assert first.angle(first) == pytest.approx(0, abs=1e-6)
    turned = SimilarityTransform(1.0, Rotation.from_euler("y", 0.3).as_matrix() @ first.rotation, np.zeros(3))
    assert first.angle(turned) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(4))
def test_matched_points_give_their_transform(seed):
    true, points = _random(seed), np.random.default_rng(seed).normal(size=(4, 3))
    _assert_equal(umeyama(points, true(points)), true)
    weights = np.array([1.0, 1, 1, 1, 0])
    spoilt = np.vstack([true(points), [[9.0, 9, 9]]])
    _assert_equal(umeyama(np.vstack([points, [[0.0, 0, 0]]]), spoilt, weights), true)
    kept = umeyama(points, true(points), scale=7.0)
    assert kept.scale == 7.0
    np.testing.assert_allclose(kept.rotation, true.rotation, atol=1e-9)


def test_a_reflection_is_never_the_answer():
    points = np.random.default_rng(0).normal(size=(30, 3))
    found = umeyama(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert found.scale > 0


def test_umeyama_weights_count_points_as_often() -> None:
    rng = np.random.default_rng(0)
    source, target, counts = rng.normal(size=(8, 3)), rng.normal(size=(8, 3)), np.arange(1, 9)
    repeated = umeyama(np.repeat(source, counts, 0), np.repeat(target, counts, 0))
    _assert_equal(umeyama(source, target, counts.astype(float)), repeated, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_umeyama_is_trimeshs_procrustes_analysis(seed):
    draw = np.random.default_rng(seed)
    source, target = draw.normal(size=(20, 3)), draw.normal(size=(20, 3))  # no similarity fits: the optimum counts
    found = umeyama(source, target)
    matrix, _, cost = trimesh.registration.procrustes(source, target, reflection=False)
    # trimesh scales by the ratio of the sizes, which is no least-squares scale: its rotation is the same.
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    np.testing.assert_allclose(found.rotation, matrix[:3, :3] / scale, atol=1e-9)
    assert np.square(found(source) - target).sum(1).mean() <= cost + 1e-12
    rigid, _, _ = trimesh.registration.procrustes(source, target, reflection=False, scale=False)
    np.testing.assert_allclose(umeyama(source, target, scale=1.0).matrix, rigid, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_nearby_similarity_fits_better_than_umeyama(seed):
    draw = np.random.default_rng(seed)
    source, target, weights = draw.normal(size=(20, 3)), draw.normal(size=(20, 3)), draw.uniform(size=20)
    found = umeyama(source, target, weights)

    def cost(transform):
        return weights @ np.square(transform(source) - target).sum(1)

    for _ in range(50):
        turn = Rotation.from_rotvec(draw.normal(0, 0.02, 3)).as_matrix()
        nudge = SimilarityTransform(math.exp(draw.normal(0, 0.02)), turn, draw.normal(0, 0.02, 3))
        assert cost(nudge.after(found)) > cost(found)


def test_too_little_to_fit_is_an_error():
    with pytest.raises(ValueError, match="all source points coincide"):
        umeyama(np.zeros((4, 3)), np.eye(4, 3))
    with pytest.raises(ValueError, match="no correspondence has a positive weight"):
        umeyama(np.eye(3), np.eye(3), np.zeros(3))
    alone = umeyama(np.zeros((4, 3)), np.eye(4, 3), scale=2.0)
    assert alone.scale == 2.0
    np.testing.assert_allclose(alone.translation, np.eye(4, 3).mean(0))


@pytest.mark.parametrize("kept", [1.0, 0.8])
def test_icp_recovers_a_similarity_from_nearby(kept):
    points = _blob(2000)
    turn = Rotation.from_rotvec([0.1, -0.2, 0.1]).as_matrix()
    true = SimilarityTransform(1.2, turn, np.array([0.05, -0.05, 0.1]))
    start = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    found, distance = SimilarityIcp(points, true(points), kept=kept).run(start, 200)
    _assert_equal(found, true, atol=1e-6)
    assert distance < 1e-6


def test_trimmed_icp_is_not_moved_by_outliers():
    points, draw = _blob(2000), np.random.default_rng(0)
    true = SimilarityTransform(1.1, Rotation.from_rotvec([0.1, 0.1, 0]).as_matrix(), np.array([0.02, 0, 0]))
    target = true(points)
    target[:200] += draw.uniform(0.2, 1.0, (200, 3))  # all to one side
    start = SimilarityTransform(1.0, np.eye(3), np.zeros(3))

    def off(kept):
        found, _ = SimilarityIcp(points, target, kept=kept).run(start, 200)
        return np.abs(found(points) - true(points)).max()

    assert off(0.8) < 0.01 < off(1.0) / 3


def test_icp_of_a_part_keeps_the_scale():
    points = _blob(2000)
    part = points[points[:, 2] > 0]
    start = SimilarityTransform(1.0, Rotation.from_rotvec([0, 0.05, 0]).as_matrix(), np.array([0.02, 0, 0]))
    found, distance = SimilarityIcp(part, points, both_ways=False).run(start, 200)
    assert found.scale == 1.0
    np.testing.assert_allclose(found(part), part, atol=1e-6)
    assert distance < 1e-6
