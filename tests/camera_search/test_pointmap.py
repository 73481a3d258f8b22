import math

import numpy as np
import torch

from camera_search.comparison import Comparison
from camera_search.pointmap import MatchedPoints, Scene, flow_matches, solve_camera
from camera_search.similarity import PictureAgreement
from v2m4.camera import Orbit
from v2m4.rotation import angles_between

SIZE = 160
TRUTH = Orbit.of(0.6, 0.25, 2.4, (0.05, -0.04, 0.02))


def _scene(creature, camera_of, *offsets):
    comparison = Comparison(creature, camera_of(creature, TRUTH, 320), PictureAgreement())
    truth = comparison.space.views(TRUTH)
    views = torch.cat([truth + torch.tensor([[yaw, pitch, 0, 0, 0]]) for yaw, pitch in offsets])
    return Scene.of_views(comparison, views, SIZE)


def _error(extrinsics):
    truth = TRUTH.camera().extrinsics[0]
    return math.degrees(float(angles_between(torch.as_tensor(extrinsics)[:3, :3], truth[:3, :3])))


def test_true_positions_with_noise_and_outliers_give_the_true_camera(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    rows, columns = np.nonzero(scene.seen[0])
    pixels = np.stack([columns, rows], 1) + 0.5
    rng = np.random.default_rng(0)
    noisy = pixels + rng.normal(0, 0.5, pixels.shape)
    wrong = rng.random(len(pixels)) < 0.3
    noisy[wrong] = rng.uniform(0, SIZE, (wrong.sum(), 2))
    found = solve_camera(scene.positions[0][rows, columns], noisy, scene.intrinsics, MatchedPoints())
    assert _error(found) < 1.0
    np.testing.assert_allclose(found, TRUTH.camera().extrinsics[0].numpy(), atol=0.05)


def test_matches_from_a_render_nearby_bring_the_camera_closer(creature, camera_of):
    scene = _scene(creature, camera_of, (0.12, -0.08))
    guesses = MatchedPoints().guess(scene)
    assert len(guesses) == 1
    assert _error(guesses[0]) < 3.0  # it began 8 degrees away


def test_matches_of_a_picture_with_itself_stay_in_place(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    pixels, at = flow_matches(scene.frame, scene.frame, scene.seen[0], 1.0)
    assert len(pixels) > 500
    np.testing.assert_allclose(at, pixels + 0.5, atol=0.2)


def test_a_picture_of_something_else_gives_no_guess(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    nothing = Scene(np.zeros_like(scene.frame), scene.renders, scene.positions, scene.seen, scene.intrinsics)
    assert MatchedPoints().guess(nothing).shape == (0, 4, 4)


def test_too_few_points_give_no_camera():
    assert solve_camera(np.zeros((3, 3)), np.zeros((3, 2)), np.eye(3), MatchedPoints()) is None
