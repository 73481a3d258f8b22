import math
from dataclasses import replace

import pytest
import torch

from camera_search.views import ViewParameters, rotations, view_angles
from v2m4.camera import Orbit
from v2m4.rotation import angles_between


@pytest.fixture
def view_parameters():
    return ViewParameters(torch.tensor([0.05, -0.1, 0.02]), aspect=1.5)


def _views(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.tensor([2.5, 1.2, 0.3, 0.3, 0.4])
    return (2 * torch.rand(count, 5, generator=draw) - 1) * scale + torch.tensor([0, 0, 0, 0, 0.9])


def test_views_and_orbits_are_inverse(view_parameters):
    views = _views(50)
    torch.testing.assert_close(view_parameters.views(view_parameters.orbit(views)), views, atol=2e-5, rtol=0)


def test_steps_have_the_same_effect_at_any_field_of_view(view_parameters):
    narrow = replace(view_parameters, fov=math.radians(10))
    sizes = (0.1, 0.2, 0.01, 0.03, 0.05, 0.02)
    assert view_parameters.steps(sizes).tolist() == pytest.approx(sizes)
    parts = narrow.steps(sizes) / torch.tensor(sizes)
    assert parts[[0, 1, 4, 5]].tolist() == [1, 1, 1, 1]
    assert parts[2:4].tolist() == pytest.approx([narrow.half_height / view_parameters.half_height] * 2)
    assert len(narrow.steps(sizes[:5])) == 5


def test_orbits_keep_their_extrinsics_over_views(view_parameters):
    orbit = Orbit.of(1.0, -0.4, 2.5, (0.2, -0.3, 0.1))
    again = view_parameters.orbit(view_parameters.views(orbit))
    torch.testing.assert_close(again.camera().extrinsics, orbit.camera().extrinsics, atol=1e-5, rtol=0)


def test_centre_projects_to_its_tangents(view_parameters):
    views = _views(20)
    pixels, depth = view_parameters.camera(views).project(view_parameters.center[None].expand(20, 1, 3), (100, 150))
    tangents = (pixels[:, 0] / torch.tensor([150.0, 100.0]) * 2 - 1) * torch.tensor(
        [view_parameters.half_width, view_parameters.half_height]
    )
    torch.testing.assert_close(tangents, views[:, 2:4], atol=1e-5, rtol=0)
    torch.testing.assert_close(depth[:, 0], views[:, 4].exp(), atol=1e-5, rtol=1e-5)


def test_rotation_keeps_the_position_in_the_image(view_parameters):
    views = _views(2)
    views[1, 2:] = views[0, 2:]
    pixels, _ = view_parameters.camera(views).project(view_parameters.center[None].expand(2, 1, 3), (64, 64))
    torch.testing.assert_close(pixels[0], pixels[1], atol=1e-3, rtol=0)


def test_angles_between_views_are_geodesic():
    yaw = torch.tensor([0.0, 0.3, math.pi])
    rotated = rotations(yaw, torch.zeros(3))
    torch.testing.assert_close(
        angles_between(rotated[0], rotated), torch.tensor([0.0, 0.3, math.pi]), atol=1e-3, rtol=0
    )
    views = torch.zeros(2, 5)
    views[1, 1] = 0.02
    assert float(view_angles(views, views)[0, 1]) == pytest.approx(0.02, abs=1e-5)


def test_a_centre_behind_the_camera_is_an_error(view_parameters):
    with pytest.raises(ValueError, match="in front of the camera"):
        view_parameters.views(Orbit.of(0.0, 0.0, 0.5, (0.0, 0.0, -3.0)))


def test_roll_rotates_about_the_object(view_parameters):
    views = torch.tensor([[0.4, 0.3, 0.1, -0.05, 0.8]])
    without_roll = view_parameters.camera(torch.cat([views, torch.zeros(1, 1)], 1)).extrinsics
    torch.testing.assert_close(without_roll, view_parameters.camera(views).extrinsics, atol=1e-5, rtol=0)
    with_roll = view_parameters.camera(torch.cat([views, torch.full((1, 1), 0.5)], 1)).extrinsics
    centers = [matrix[0, :3, :3] @ view_parameters.center + matrix[0, :3, 3] for matrix in (without_roll, with_roll)]
    torch.testing.assert_close(centers[0], centers[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(with_roll[0, 2, :3], without_roll[0, 2, :3], atol=1e-6, rtol=0)
    assert float(angles_between(without_roll[0, :3, :3], with_roll[0, :3, :3])) == pytest.approx(0.5, abs=1e-4)
