import math
from dataclasses import replace

import pytest
import torch

from camera_search.views import ViewSpace, rotations, view_angles
from v2m4.camera import Orbit
from v2m4.rotation import angles_between


@pytest.fixture
def space():
    return ViewSpace(torch.tensor([0.05, -0.1, 0.02]), aspect=1.5)


def _views(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.tensor([2.5, 1.2, 0.3, 0.3, 0.4])
    return (2 * torch.rand(count, 5, generator=draw) - 1) * scale + torch.tensor([0, 0, 0, 0, 0.9])


def test_views_and_orbits_are_inverse(space):
    views = _views(50)
    torch.testing.assert_close(space.views(space.orbit(views)), views, atol=2e-5, rtol=0)


def test_steps_have_the_same_effect_in_pictures_of_any_lens(space):
    narrow = replace(space, fov=math.radians(10))
    sizes = (0.1, 0.2, 0.01, 0.03, 0.05, 0.02)
    assert space.steps(sizes).tolist() == pytest.approx(sizes)
    parts = narrow.steps(sizes) / torch.tensor(sizes)
    assert parts[[0, 1, 4, 5]].tolist() == [1, 1, 1, 1]
    assert parts[2:4].tolist() == pytest.approx([narrow.half_height / space.half_height] * 2)
    assert len(narrow.steps(sizes[:5])) == 5


def test_orbits_keep_their_extrinsics_through_views(space):
    orbit = Orbit.of(1.0, -0.4, 2.5, (0.2, -0.3, 0.1))
    again = space.orbit(space.views(orbit))
    torch.testing.assert_close(again.camera().extrinsics, orbit.camera().extrinsics, atol=1e-5, rtol=0)


def test_the_centre_projects_where_the_view_says(space):
    views = _views(20)
    pixels, depth = space.camera(views).project(space.center[None].expand(20, 1, 3), (100, 150))
    tangents = (pixels[:, 0] / torch.tensor([150.0, 100.0]) * 2 - 1) * torch.tensor(
        [space.half_width, space.half_height]
    )
    torch.testing.assert_close(tangents, views[:, 2:4], atol=1e-5, rtol=0)
    torch.testing.assert_close(depth[:, 0], views[:, 4].exp(), atol=1e-5, rtol=1e-5)


def test_turning_leaves_the_object_in_its_place(space):
    views = _views(2)
    views[1, 2:] = views[0, 2:]
    pixels, _ = space.camera(views).project(space.center[None].expand(2, 1, 3), (64, 64))
    torch.testing.assert_close(pixels[0], pixels[1], atol=1e-3, rtol=0)


def test_angles():
    yaw = torch.tensor([0.0, 0.3, math.pi])
    turned = rotations(yaw, torch.zeros(3))
    torch.testing.assert_close(angles_between(turned[0], turned), torch.tensor([0.0, 0.3, math.pi]), atol=1e-3, rtol=0)
    views = torch.zeros(2, 5)
    views[1, 1] = 0.02
    assert float(view_angles(views, views)[0, 1]) == pytest.approx(0.02, abs=1e-5)


def test_a_camera_that_looks_away_is_an_error(space):
    with pytest.raises(ValueError, match="in front of the camera"):
        space.views(Orbit.of(0.0, 0.0, 0.5, (0.0, 0.0, -3.0)))


def test_roll_turns_the_picture_about_the_objects_place(space):
    views = torch.tensor([[0.4, 0.3, 0.1, -0.05, 0.8]])
    level = space.camera(torch.cat([views, torch.zeros(1, 1)], 1)).extrinsics
    torch.testing.assert_close(level, space.camera(views).extrinsics, atol=1e-5, rtol=0)
    leaning = space.camera(torch.cat([views, torch.full((1, 1), 0.5)], 1)).extrinsics
    places = [matrix[0, :3, :3] @ space.center + matrix[0, :3, 3] for matrix in (level, leaning)]
    torch.testing.assert_close(places[0], places[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(leaning[0, 2, :3], level[0, 2, :3], atol=1e-6, rtol=0)
    assert float(angles_between(level[0, :3, :3], leaning[0, :3, :3])) == pytest.approx(0.5, abs=1e-4)
