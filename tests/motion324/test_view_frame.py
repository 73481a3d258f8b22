import math

import pytest
import torch

from motion324.view_frame import CUBE, view_frame
from v2m4.camera import Camera, Orbit

POINTS = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5]) + 0.3


@pytest.mark.parametrize("camera_axes", [True, False])
def test_the_normalised_space_is_the_unit_cube_and_can_be_left(camera_axes: bool) -> None:
    camera = Orbit.of(0.7, 0.2, 5.0, (0.8, 1.3, 0.5)).camera(math.radians(30))
    frame = view_frame(POINTS, camera, camera_axes)
    inside = frame.normalised(POINTS)
    extent = inside.amax(0) - inside.amin(0)
    assert float(extent.max()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(inside.amax(0) + inside.amin(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(frame.world(inside), POINTS, atol=1e-5, rtol=0)


def test_places_in_the_window_are_those_of_the_normalised_space_from_afar() -> None:
    camera = Orbit.of(-1.1, 0.3, 500.0, (0.8, 1.3, 0.5)).camera(math.radians(1))
    frame = view_frame(POINTS, camera, True)
    inside = frame.normalised(POINTS)
    pixels, depth = frame.camera.project(POINTS, (1, 1))
    expected = torch.stack([0.5 + CUBE * inside[:, 0], 0.5 - CUBE * inside[:, 1]], 1)
    torch.testing.assert_close(pixels[0], expected, atol=3e-3, rtol=0)
    assert torch.corrcoef(torch.stack([inside[:, 2], -depth[0]]))[0, 1] > 0.99  # z towards the camera


def test_the_front_view_keeps_the_objects_axes() -> None:
    frame = view_frame(POINTS, Orbit.of(0.0, 0.0, 4.0).camera(), True)
    torch.testing.assert_close(frame.rotation, torch.eye(3), atol=1e-6, rtol=0)


def test_a_wide_picture_has_a_square_window() -> None:
    camera = Orbit.of(0.0, 0.0, 5.0, (0.8, 1.3, 0.5)).camera(aspect=2.0)
    x0, y0, x1, y1 = view_frame(POINTS, camera, True).camera.window
    assert (x1 - x0) * 2.0 == pytest.approx(y1 - y0, rel=1e-5)


def test_what_has_no_extent_or_is_behind_the_camera_is_an_error() -> None:
    with pytest.raises(ValueError, match="no extent"):
        view_frame(torch.ones(4, 3), Orbit.of().camera(), True)
    with pytest.raises(ValueError, match="behind"):
        view_frame(POINTS - torch.tensor([0.0, 0.0, 9.0]), Camera.identity(), True)
