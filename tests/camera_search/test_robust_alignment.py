import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from camera_search.robust_alignment import (
    align_to_surface,
    fit_robustly,
    half_turns,
    restarts,
    thinned,
)
from v2m4.geometry import sample_surface
from v2m4.similarity_transform import SimilarityTransform


def _random(seed):
    draw = np.random.default_rng(seed)
    return SimilarityTransform(
        draw.uniform(0.2, 4), Rotation.random(random_state=seed).as_matrix(), draw.normal(size=3)
    )


def _surface(mesh, seed, count=1500):
    draw = torch.Generator().manual_seed(seed)
    return sample_surface(mesh.vertices, mesh.faces, count, draw)[0].double().numpy()


def _assert_equal(first, second, atol=1e-9):
    assert first.scale == pytest.approx(second.scale, abs=atol)
    np.testing.assert_allclose(first.rotation, second.rotation, atol=atol)
    np.testing.assert_allclose(first.translation, second.translation, atol=atol)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45])
def test_fit_is_robust_to_outliers(share):
    draw = np.random.default_rng(3)
    true, target = _random(3), draw.uniform(-0.5, 0.5, (2000, 3))
    source = true.inverse()(target + draw.normal(0, 0.005, target.shape))
    outlier = draw.random(2000) < share
    source[outlier] = true.inverse()(target[outlier] * [-1, 1, -1])  # consistent outliers: a half-turn
    fit = fit_robustly(source, target, np.ones(2000), np.random.default_rng(0))
    assert math.degrees(fit.angle(true)) < 0.3
    assert fit.scale == pytest.approx(true.scale, rel=0.01)
    _assert_equal(fit, fit_robustly(source, target, np.ones(2000), np.random.default_rng(0)), atol=0)


def test_half_turns_keep_their_centre_and_lead_back_when_made_twice():
    center, start = np.array([0.3, -0.2, 0.1]), _random(5)
    for turned in half_turns(start, center):
        np.testing.assert_allclose(turned(start.inverse()(center)), center, atol=1e-12)
        twice = turned.after(start.inverse()).after(turned)
        _assert_equal(twice, start)


@pytest.mark.parametrize("seed", range(3))
def test_points_align_with_their_surface_from_unknown_poses(creature, seed):
    draw, true = np.random.default_rng(seed), _random(seed)
    points = _surface(creature, seed)
    points += draw.normal(0, 0.01, points.shape)
    outlier = draw.random(len(points)) < 0.2
    points[outlier] = draw.uniform(-0.7, 0.7, (outlier.sum(), 3))
    points = draw.permutation(true.inverse()(points))
    surface = _surface(creature, 100 + seed)
    fit, distance = align_to_surface(points, surface, restarts(points, surface))
    assert math.degrees(fit.angle(true)) < 3
    assert fit.scale == pytest.approx(true.scale, rel=0.03)
    assert distance < 0.03


def test_half_turns_escape_the_local_minimum_of_a_reversed_front(creature):
    points, surface = _surface(creature, 0), _surface(creature, 1)
    right = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    behind = half_turns(right, np.zeros(3))[1]
    stuck, far = align_to_surface(points, surface, [behind])
    fit, near = align_to_surface(points, surface, half_turns(behind, np.zeros(3)))
    assert math.degrees(stuck.angle(right)) > 90
    assert math.degrees(fit.angle(right)) < 2
    assert near < 0.8 * far


def test_points_of_a_part_keep_their_scale(creature):
    surface, true = _surface(creature, 0), _random(4)
    front = surface[surface[:, 2] > 0.05]
    nudged = SimilarityTransform(
        1.0, Rotation.from_euler("xyz", [0.1, -0.1, 0.05]).as_matrix(), np.array([0.03, 0, -0.02])
    )
    fit, _ = align_to_surface(true.inverse()(front), surface, [nudged.after(true)], both_ways=False)
    assert fit.scale == pytest.approx(true.scale)
    assert math.degrees(fit.angle(true)) < 1


def test_thinned_rows_are_spread_evenly():
    assert thinned(np.arange(10), 20).tolist() == list(range(10))
    assert thinned(np.arange(101), 5).tolist() == [0, 25, 50, 75, 100]


def test_too_few_points_are_an_error():
    with pytest.raises(ValueError, match="three matches are needed, got 2"):
        fit_robustly(np.zeros((2, 3)), np.zeros((2, 3)), np.ones(2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="0 points"):
        align_to_surface(np.zeros((0, 3)), np.eye(3), [_random(0)])
    with pytest.raises(ValueError, match="no start"):
        align_to_surface(np.eye(3), np.eye(3), [])
