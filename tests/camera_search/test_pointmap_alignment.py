"""Proposals from synthetic point maps: true positions with noise and outliers, in a space of their own."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from camera_search.comparison import RenderComparison
from camera_search.pointmap import FrameAndRenders, PointMaps
from camera_search.pointmap_alignment import PointMapProposer, resect
from camera_search.search import find_camera
from camera_search.similarity import ImageAgreement
from v2m4.camera import Orbit
from v2m4.config import SearchConfig
from v2m4.render import render_mesh
from v2m4.rotation import angles_between
from v2m4.similarity_transform import SimilarityTransform

SIZE = 112
HALF_TURN = np.diag([-1.0, 1.0, -1.0])


class FakeNetwork:
    """Network whose prediction is fixed."""

    size = SIZE

    def __init__(self, maps):
        self.maps = maps

    def predict(self, images):
        assert images.shape == (*self.maps.confidence.shape[:1], 3, SIZE, SIZE)
        assert float(images.min()) >= 0 and float(images.max()) <= 1
        return self.maps


def _case(mesh, camera_of, seed, noise=0.01, outliers=0.2, reversed_frame=False, reversed_renders=0):
    """True camera, comparison, a frame with seven renders from random cameras, and their point maps."""
    draw = np.random.default_rng(seed)
    place = tuple(draw.uniform(-0.1, 0.1, 3))
    truth = Orbit.of(draw.uniform(-math.pi, math.pi), draw.uniform(-0.5, 0.6), draw.uniform(1.8, 3.5), place)
    comparison = RenderComparison(mesh, camera_of(mesh, truth, 256), ImageAgreement())
    at_truth = comparison.view_parameters.views(truth)
    views = at_truth.repeat(7, 1)
    views[:, 0] = torch.from_numpy(draw.uniform(-math.pi, math.pi, 7))
    views[:, 1] = torch.from_numpy(draw.uniform(-0.6, 0.6, 7))
    scene = FrameAndRenders.of_views(comparison, views, SIZE)
    cameras = comparison.camera(torch.cat([at_truth, views]))
    points = render_mesh(comparison.mesh, cameras, SIZE, channels=("position",)).position.double().numpy()
    rays = points - cameras.positions().double().numpy()[:, None, None]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points += rays * draw.normal(0, noise, points.shape[:-1])[..., None] + draw.normal(0, noise / 3, points.shape)
    outlier = draw.random(points.shape[:-1]) < outliers
    points[outlier] = draw.uniform(-0.8, 0.8, (outlier.sum(), 3))
    for index in ([0] if reversed_frame else []) + list(range(1, 1 + reversed_renders)):
        points[index] = points[index] @ HALF_TURN
    to_network_space = SimilarityTransform(
        draw.uniform(0.2, 4), Rotation.random(random_state=seed).as_matrix(), draw.normal(size=3)
    )
    maps = PointMaps(
        torch.from_numpy(to_network_space(points)).float(), torch.from_numpy(draw.random(points.shape[:-1]))
    )
    return truth, comparison, scene, maps


def _error(truth, extrinsics):
    return math.degrees(float(angles_between(extrinsics[:3, :3], truth.camera().extrinsics[0, :3, :3])))


@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_first_proposal_is_the_true_camera(creature, camera_of, seed, noise):
    truth, _, scene, maps = _case(creature, camera_of, seed, noise)
    first = PointMapProposer(FakeNetwork(maps)).propose(scene, torch.Generator().manual_seed(0))[0]
    assert _error(truth, first) < 3
    position = -first[:3, :3].T @ first[:3, 3]
    assert float((position - truth.camera().positions()[0]).norm()) < 0.1


@pytest.mark.parametrize("rotated", [{"reversed_frame": True}, {"reversed_renders": 3}])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_proposal_is_right_where_the_network_mistakes_front_for_back(creature, camera_of, seed, rotated):
    truth, comparison, scene, maps = _case(creature, camera_of, seed, **rotated)
    proposals = PointMapProposer(FakeNetwork(maps)).propose(scene, torch.Generator().manual_seed(0))
    scores = comparison.score(comparison.view_parameters.views_of(proposals), 96)
    assert _error(truth, proposals[int(scores.argmax())]) < 3.5
    assert len(proposals) <= 11


def test_icp_gives_the_camera_where_correspondences_are_inconsistent(creature, camera_of):
    truth, _, scene, maps = _case(creature, camera_of, 3)
    draw = torch.Generator().manual_seed(0)
    points = maps.points.clone()
    for index in range(1, 8):  # right points at the wrong pixels
        visible = torch.from_numpy(scene.visible[index - 1])
        of_one = points[index][visible]
        points[index][visible] = of_one[torch.randperm(len(of_one), generator=draw)]
    proposals = PointMapProposer(FakeNetwork(PointMaps(points, maps.confidence))).propose(
        scene, torch.Generator().manual_seed(0)
    )
    assert min(_error(truth, proposal) for proposal in proposals) < 3


def test_points_of_low_confidence_are_not_used(creature, camera_of):
    truth, _, scene, maps = _case(creature, camera_of, 1, outliers=0.0)
    spoilt = maps.points.clone()
    spoilt[:, ::5] = 9.0  # a fifth of the rows, of low confidence
    maps.confidence[:, ::5] = -1.0
    proposer = PointMapProposer(FakeNetwork(PointMaps(spoilt, maps.confidence)))
    assert _error(truth, proposer.propose(scene, torch.Generator().manual_seed(0))[0]) < 1


def test_search_uses_the_proposal(creature, camera_of):
    truth = Orbit.of(2.3, 0.3, 2.6, (0.1, 0.0, -0.1))
    frame = camera_of(creature, truth, 256)

    class TrueCameraProposer:
        size = SIZE

        def propose(self, scene, generator):
            assert scene.frame.shape == (SIZE, SIZE, 4)
            return truth.camera().extrinsics

    poor = SearchConfig(samples=16, islands=1, particles=3, swarm_steps=0, refined=1, refine_steps=10, size=48)
    orbit = find_camera(creature, frame, poor, torch.Generator().manual_seed(0), proposers=[TrueCameraProposer()])
    assert _error(truth, orbit.orbit.camera().extrinsics[0]) < 1


def test_the_same_maps_give_the_same_cameras(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 2)
    first, second = (
        PointMapProposer(FakeNetwork(maps)).propose(scene, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_resect_recovers_an_upright_camera_only():
    draw = np.random.default_rng(0)
    truth = Orbit.of(-2.0, 0.4, 2.2, (0.1, 0.05, -0.1))
    points = torch.from_numpy(draw.uniform(-0.4, 0.4, (200, 3))).float()
    camera = truth.camera().cropped((0.2, 0.1, 0.9, 0.8))
    pixels = camera.project(points, (100, 100))[0][0].double().numpy()
    intrinsics = camera.intrinsics((100, 100)).double().numpy()
    orbit = resect(points.double().numpy(), pixels, intrinsics, torch.Generator().manual_seed(0))
    torch.testing.assert_close(orbit.camera().extrinsics, truth.camera().extrinsics, atol=1e-3, rtol=0)
    on_its_head = 2 * intrinsics[:2, 2] - pixels
    assert resect(points.double().numpy(), on_its_head, intrinsics, torch.Generator().manual_seed(0)) is None


def test_too_few_visible_pixels_give_no_proposal(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 0)
    empty = FrameAndRenders(np.zeros_like(scene.frame), scene.renders, scene.positions, scene.visible, scene.intrinsics)
    assert PointMapProposer(FakeNetwork(maps)).propose(empty, torch.Generator().manual_seed(0)).shape == (0, 4, 4)
    unseen = FrameAndRenders(
        scene.frame, scene.renders, scene.positions, np.zeros_like(scene.visible), scene.intrinsics
    )
    assert PointMapProposer(FakeNetwork(maps)).propose(unseen, torch.Generator().manual_seed(0)).shape == (0, 4, 4)
    nowhere = PointMaps(torch.full_like(maps.points, math.nan), maps.confidence)
    assert PointMapProposer(FakeNetwork(nowhere)).propose(scene, torch.Generator().manual_seed(0)).shape == (0, 4, 4)


def test_maps_of_another_shape_are_an_error(creature, camera_of):
    _, _, scene, maps = _case(creature, camera_of, 0)
    with pytest.raises(ValueError, match=r"expected \(8, 112, 112, 3\), got \(7, 112, 112, 3\)"):
        PointMapProposer(FakeNetwork(maps)).cameras(
            PointMaps(maps.points[1:], maps.confidence[1:]), scene, torch.Generator()
        )
