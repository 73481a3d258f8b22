"""True positions with noise and outliers, in a space of their own, stand in for a network's point maps."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from camera_search.comparison import Comparison
from camera_search.pointmap import PointMaps, Scene
from camera_search.pointmap_alignment import AlignedPoints, resect
from camera_search.search import find_camera
from camera_search.similarity import PictureAgreement
from v2m4.camera import Orbit
from v2m4.config import SearchConfig
from v2m4.render import render_mesh
from v2m4.rotation import angles_between
from v2m4.similarity_transform import SimilarityTransform

SIZE = 112
HALF_TURN = np.diag([-1.0, 1.0, -1.0])


class Known:
    """A network that gives the maps it was made with."""

    size = SIZE

    def __init__(self, maps):
        self.maps = maps

    def predict(self, pictures):
        assert pictures.shape == (*self.maps.confidence.shape[:1], 3, SIZE, SIZE)
        assert float(pictures.min()) >= 0 and float(pictures.max()) <= 1
        return self.maps


def _case(mesh, camera_of, seed, noise=0.01, outliers=0.2, turned_frame=False, turned_renders=0):
    """A frame from an unknown camera, seven renders from anywhere, and their point maps."""
    draw = np.random.default_rng(seed)
    place = tuple(draw.uniform(-0.1, 0.1, 3))
    truth = Orbit.of(draw.uniform(-math.pi, math.pi), draw.uniform(-0.5, 0.6), draw.uniform(1.8, 3.5), place)
    comparison = Comparison(mesh, camera_of(mesh, truth, 256), PictureAgreement())
    at_truth = comparison.space.views(truth)
    views = at_truth.repeat(7, 1)
    views[:, 0] = torch.from_numpy(draw.uniform(-math.pi, math.pi, 7))
    views[:, 1] = torch.from_numpy(draw.uniform(-0.6, 0.6, 7))
    scene = Scene.of_views(comparison, views, SIZE)
    cameras = comparison.camera(torch.cat([at_truth, views]))
    points = render_mesh(comparison.mesh, cameras, SIZE, channels=("position",)).position.double().numpy()
    rays = points - cameras.positions().double().numpy()[:, None, None]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points += rays * draw.normal(0, noise, points.shape[:-1])[..., None] + draw.normal(0, noise / 3, points.shape)
    wrong = draw.random(points.shape[:-1]) < outliers
    points[wrong] = draw.uniform(-0.8, 0.8, (wrong.sum(), 3))
    for index in ([0] if turned_frame else []) + list(range(1, 1 + turned_renders)):
        points[index] = points[index] @ HALF_TURN
    own = SimilarityTransform(draw.uniform(0.2, 4), Rotation.random(random_state=seed).as_matrix(), draw.normal(size=3))
    maps = PointMaps(torch.from_numpy(own(points)).float(), torch.from_numpy(draw.random(points.shape[:-1])))
    return truth, comparison, scene, maps


def _error(truth, extrinsics):
    return math.degrees(float(angles_between(extrinsics[:3, :3], truth.camera().extrinsics[0, :3, :3])))


@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_maps_give_the_camera_back(creature, camera_of, seed, noise):
    truth, _, scene, maps = _case(creature, camera_of, seed, noise)
    first = AlignedPoints(Known(maps)).guess(scene)[0]
    assert _error(truth, first) < 3
    position = -first[:3, :3].T @ first[:3, 3]
    assert float((position - truth.camera().positions()[0]).norm()) < 0.1


@pytest.mark.parametrize("turned", [{"turned_frame": True}, {"turned_renders": 3}])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_front_taken_for_a_back_is_found_among_the_guesses(creature, camera_of, seed, turned):
    truth, comparison, scene, maps = _case(creature, camera_of, seed, **turned)
    guesses = AlignedPoints(Known(maps)).guess(scene)
    scores = comparison.score(comparison.space.views_of(guesses), 96)
    assert _error(truth, guesses[int(scores.argmax())]) < 3.5
    assert len(guesses) <= 11


def test_matches_that_tell_no_story_leave_it_to_the_surface(creature, camera_of):
    truth, _, scene, maps = _case(creature, camera_of, 3)
    draw = torch.Generator().manual_seed(0)
    points = maps.points.clone()
    for index in range(1, 8):  # right points at the wrong pixels
        seen = torch.from_numpy(scene.seen[index - 1])
        of_one = points[index][seen]
        points[index][seen] = of_one[torch.randperm(len(of_one), generator=draw)]
    guesses = AlignedPoints(Known(PointMaps(points, maps.confidence))).guess(scene)
    assert min(_error(truth, guess) for guess in guesses) < 3


def test_confidence_tells_which_points_count(creature, camera_of):
    truth, _, scene, maps = _case(creature, camera_of, 1, outliers=0.0)
    spoilt = maps.points.clone()
    spoilt[:, ::5] = 9.0  # a fifth of the rows, and their confidence says so
    maps.confidence[:, ::5] = -1.0
    assert _error(truth, AlignedPoints(Known(PointMaps(spoilt, maps.confidence))).guess(scene)[0]) < 1


def test_a_search_takes_the_guess_up(creature, camera_of):
    truth = Orbit.of(2.3, 0.3, 2.6, (0.1, 0.0, -0.1))
    frame = camera_of(creature, truth, 256)

    class Truthful:
        size = SIZE

        def guess(self, scene):
            assert scene.frame.shape == (SIZE, SIZE, 4)
            return truth.camera().extrinsics

    poor = SearchConfig(samples=16, islands=1, particles=3, swarm_steps=0, refined=1, refine_steps=10, size=48)
    found = find_camera(creature, frame, poor, torch.Generator().manual_seed(0), guesses=[Truthful()])
    assert _error(truth, found.orbit.camera().extrinsics[0]) < 1


def test_the_same_maps_give_the_same_cameras(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 2)
    first, second = (AlignedPoints(Known(maps)).guess(scene) for _ in range(2))
    assert torch.equal(first, second)


def test_points_in_front_of_one_camera_give_that_camera():
    draw = np.random.default_rng(0)
    truth = Orbit.of(-2.0, 0.4, 2.2, (0.1, 0.05, -0.1))
    points = torch.from_numpy(draw.uniform(-0.4, 0.4, (200, 3))).float()
    camera = truth.camera().cropped((0.2, 0.1, 0.9, 0.8))
    pixels = camera.project(points, (100, 100))[0][0].double().numpy()
    intrinsics = camera.intrinsics((100, 100)).double().numpy()
    found = resect(points.double().numpy(), pixels, intrinsics)
    torch.testing.assert_close(found.camera().extrinsics, truth.camera().extrinsics, atol=1e-3, rtol=0)
    on_its_head = 2 * intrinsics[:2, 2] - pixels
    assert resect(points.double().numpy(), on_its_head, intrinsics) is None


def test_what_shows_too_little_gives_no_guess(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 0)
    empty = Scene(np.zeros_like(scene.frame), scene.renders, scene.positions, scene.seen, scene.intrinsics)
    assert AlignedPoints(Known(maps)).guess(empty).shape == (0, 4, 4)
    unseen = Scene(scene.frame, scene.renders, scene.positions, np.zeros_like(scene.seen), scene.intrinsics)
    assert AlignedPoints(Known(maps)).guess(unseen).shape == (0, 4, 4)
    nowhere = PointMaps(torch.full_like(maps.points, math.nan), maps.confidence)
    assert AlignedPoints(Known(nowhere)).guess(scene).shape == (0, 4, 4)


def test_maps_of_another_shape_are_an_error(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 0)
    with pytest.raises(ValueError, match=r"expected \(8, 112, 112, 3\), got \(7, 112, 112, 3\)"):
        AlignedPoints(Known(maps)).cameras(PointMaps(maps.points[1:], maps.confidence[1:]), scene)
