"""Laws of cameras: round trips, axes, windows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.camera import Camera, Orbit, framing, hammersley_rig, orbit_from_extrinsics, picture_shape

angle = st.floats(-3.1, 3.1)
pitch = st.floats(-1.5, 1.5)
near = st.floats(-0.3, 0.3)


@given(angle, pitch, st.floats(1.0, 5.0), near, near, near)
@settings(max_examples=50, deadline=None)
def test_orbit_is_rigid_and_comes_back_from_its_extrinsics(yaw, pitch, radius, x, y, z) -> None:
    orbit = Orbit.of(yaw, pitch, radius, (x, y, z))
    camera = orbit.camera()
    rotation = camera.extrinsics[0, :3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
    assert torch.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)
    back = orbit_from_extrinsics(camera.extrinsics, radius).parameters()
    assert torch.allclose(back, orbit.parameters(), atol=5e-3)  # asin near the poles loses digits
    centre = camera.to_camera_space(orbit.look_at)[0, 0]
    assert torch.allclose(centre, torch.tensor([0.0, 0.0, radius]), atol=1e-5)


def test_front_camera_sees_up_at_the_top_and_plus_x_at_the_right() -> None:
    camera = Orbit.of(radius=2.0).camera()
    pixels, depth = camera.project(torch.tensor([[0.0, 0.3, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, 0.5]]), (100, 100))
    assert pixels[0, 0, 1] < 50 < pixels[0, 1, 0]
    assert depth[0].tolist() == pytest.approx([2.0, 2.0, 1.5], abs=1e-6)


def test_yaw_of_a_quarter_stands_on_plus_x_and_pitch_looks_from_above() -> None:
    assert torch.allclose(Orbit.of(math.pi / 2, 0, 3).camera().positions(), torch.tensor([[3.0, 0, 0]]), atol=1e-6)
    assert Orbit.of(0, 0.5, 3).camera().positions()[0, 1] > 0


def test_field_of_view_is_the_pictures_height() -> None:
    camera = Orbit.of(radius=2.0).camera(fov=math.radians(50), aspect=1.5)
    top = torch.tensor([[0.0, 2 * math.tan(math.radians(25)), 0.0]])
    right = torch.tensor([[3 * math.tan(math.radians(25)), 0.0, 0.0]])
    assert camera.project(top, (100, 150))[0][0, 0, 1] == pytest.approx(0.0, abs=1e-3)
    assert camera.project(right, (100, 150))[0][0, 0, 0] == pytest.approx(150.0, abs=1e-3)


@given(st.floats(-0.5, 0.4), st.floats(-0.5, 0.4), st.floats(0.2, 1.5), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_project_unproject_and_clip_agree_in_any_window(x0, y0, side, batch) -> None:
    generator = torch.Generator().manual_seed(0)
    orbit = Orbit.from_parameters(torch.rand(batch, 6, generator=generator) + torch.tensor([0, 0, 2.0, 0, 0, 0]))
    camera = orbit.camera(aspect=1.25).cropped((x0, y0, x0 + side, y0 + side))
    points = torch.rand(7, 3, generator=generator) - 0.5
    pixels, depth = camera.project(points, (90, 110))
    again = camera.unproject(pixels, depth, (90, 110))
    assert torch.allclose(again, points.expand(batch, 7, 3), atol=2e-5)
    clip = camera.clip(points)
    from_clip = (clip[..., :2] / clip[..., 3:] + 1) / 2 * torch.tensor([110.0, 90.0])
    assert torch.allclose(from_clip, pixels, atol=2e-2)
    assert torch.allclose(clip[..., 3], depth, atol=1e-5)


def test_window_maps_its_part_of_the_picture() -> None:
    camera = Camera.identity()
    point = torch.tensor([[0.1, -0.2, 2.0]])
    whole = camera.project(point, (200, 200))[0][0, 0]
    part = camera.cropped((0.25, 0.1, 0.75, 0.6)).project(point, (200, 200))[0][0, 0]
    assert torch.allclose(part, (whole - torch.tensor([50.0, 20.0])) * 2, atol=1e-3)


def test_depths_of_any_lens_are_told_apart_as_by_the_default_one() -> None:
    """A slab a thousandth of its distance thick; the distance is that at which objects fill the picture."""
    apart = {}
    for degrees in (5, 20, 40, 90, 120):
        camera = Camera.identity(math.radians(degrees))
        away = 0.5 / math.tan(camera.fov / 2)
        clip = camera.clip(torch.tensor([[0.0, 0, away], [0, 0, 1.001 * away]]))[0].double()
        z = clip[:, 2] / clip[:, 3]
        assert bool((z.abs() < 1).all())
        apart[degrees] = float(z[1] - z[0])
    assert Camera.identity().depth_range == (0.01, 100.0)
    assert list(apart.values()) == pytest.approx([apart[40]] * 5, rel=0.05)


@pytest.mark.parametrize("degrees", [10, 40, 80])
def test_framing_fills_the_asked_share_with_any_lens(degrees: float) -> None:
    poses = torch.rand(3, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    fov = math.radians(degrees)
    orbit = Orbit.from_parameters(framing(poses, 30, 10, 0.7, fov)[None])
    pixels, depth = orbit.camera(fov).project(poses.reshape(-1, 3), (1, 1))
    lower, upper = pixels[0].amin(0), pixels[0].amax(0)
    assert bool((depth > 0).all())
    assert float((upper - lower).max()) == pytest.approx(0.7, abs=0.01)
    assert torch.allclose((lower + upper) / 2, torch.tensor([0.5, 0.5]), atol=0.01)


def test_rig_spreads_over_the_sphere() -> None:
    positions = hammersley_rig(500, 2.0, 0.3).camera().positions()
    assert torch.allclose(positions.norm(dim=1), torch.full((500,), 2.0), atol=1e-5)
    assert positions.mean(0).norm() < 0.03
    assert torch.allclose((positions.T @ positions) / 500, torch.eye(3) * 4 / 3, atol=0.03)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 4, 4\)"):
        Camera(torch.eye(4))
    with pytest.raises(ValueError, match="window"):
        Camera.identity().cropped((0.5, 0, 0.5, 1))


@pytest.mark.parametrize(("aspect", "shape"), [(1.0, (256, 256)), (2.0, (128, 256)), (0.5, (256, 128))])
def test_picture_shape(aspect: float, shape: tuple[int, int]) -> None:
    assert picture_shape(aspect, 256) == shape
