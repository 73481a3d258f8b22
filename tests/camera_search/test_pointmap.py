import math

import numpy as np
import torch

from camera_search.comparison import RenderComparison
from camera_search.pointmap import FlowPnpProposer, FrameAndRenders, flow_matches, solve_camera
from camera_search.similarity import ImageAgreement
from v2m4.camera import Orbit
from v2m4.rotation import angles_between

SIZE = 160
TRUTH = Orbit.of(0.6, 0.25, 2.4, (0.05, -0.04, 0.02))


def _scene(creature, camera_of, *offsets):
    comparison = RenderComparison(creature, camera_of(creature, TRUTH, 320), ImageAgreement())
    truth = comparison.view_parameters.views(TRUTH)
    views = torch.cat([truth + torch.tensor([[yaw, pitch, 0, 0, 0]]) for yaw, pitch in offsets])
    return FrameAndRenders.of_views(comparison, views, SIZE)


def _error(extrinsics):
    truth = TRUTH.camera().extrinsics[0]
    return math.degrees(float(angles_between(torch.as_tensor(extrinsics)[:3, :3], truth[:3, :3])))


def test_camera_from_correspondences_with_noise_and_outliers(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    rows, columns = np.nonzero(scene.visible[0])
    pixels = np.stack([columns, rows], 1) + 0.5
    rng = np.random.default_rng(0)
    noisy = pixels + rng.normal(0, 0.5, pixels.shape)
    outlier = rng.random(len(pixels)) < 0.3
    noisy[outlier] = rng.uniform(0, SIZE, (outlier.sum(), 2))
    extrinsics = solve_camera(
        scene.positions[0][rows, columns], noisy, scene.intrinsics, FlowPnpProposer(), torch.Generator().manual_seed(0)
    )
    assert _error(extrinsics) < 1.0
    np.testing.assert_allclose(extrinsics, TRUTH.camera().extrinsics[0].numpy(), atol=0.05)


def test_flow_from_a_nearby_render_gives_a_closer_camera(creature, camera_of):
    scene = _scene(creature, camera_of, (0.12, -0.08))
    proposals = FlowPnpProposer().propose(scene, torch.Generator().manual_seed(0))
    assert len(proposals) == 1
    assert _error(proposals[0]) < 3.0  # it began 8 degrees away


def test_flow_from_an_image_to_itself_is_zero(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    pixels, frame_pixels = flow_matches(scene.frame, scene.frame, scene.visible[0], 1.0)
    assert len(pixels) > 500
    np.testing.assert_allclose(frame_pixels, pixels + 0.5, atol=0.2)


def test_an_empty_frame_gives_no_proposal(creature, camera_of):
    scene = _scene(creature, camera_of, (0.0, 0.0))
    nothing = FrameAndRenders(
        np.zeros_like(scene.frame), scene.renders, scene.positions, scene.visible, scene.intrinsics
    )
    assert FlowPnpProposer().propose(nothing, torch.Generator().manual_seed(0)).shape == (0, 4, 4)


def test_too_few_points_give_no_camera():
    assert (
        solve_camera(np.zeros((3, 3)), np.zeros((3, 2)), np.eye(3), FlowPnpProposer(), torch.Generator().manual_seed(0))
        is None
    )
