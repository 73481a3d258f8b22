"""The pictures of the benchmark: cameras, colours, what is side by side."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from evaluation import views
from evaluation.video_metrics import psnr
from v2m4.camera import DEFAULT_FOV, framing
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.mesh import Mesh


def box(centre=(0.0, 0.0, 0.0), extents=(0.4, 0.6, 1.0)):
    shape = trimesh.creation.box(extents).subdivide().subdivide()
    vertices = torch.from_numpy(np.asarray(shape.vertices, np.float32)) + torch.tensor(centre)
    return Mesh(vertices, torch.from_numpy(np.asarray(shape.faces, np.int64)))


@pytest.fixture(scope="module")
def truth():
    mesh = box()
    poses = torch.stack([mesh.vertices, mesh.vertices + torch.tensor([0.1, 0.0, 0.0])])
    colors = np.full((len(mesh.vertices), 3), 0.5)
    camera = framing(poses, 35.0, 8.0, 0.8)
    return GroundTruth.of(poses.numpy().astype(np.float64), mesh.faces.numpy(), colors, camera, DEFAULT_FOV, 10.0)


def test_every_camera_sees_the_whole_motion(truth):
    cameras = views.named_cameras(truth)
    assert list(cameras) == ["input view", "front", "left", "back", "top"]
    for camera in cameras.values():
        pixels, depth = camera.project(truth.positions().reshape(-1, 3), (1, 1))
        assert (depth > 0).all()
        assert pixels.min() > 0.02
        assert pixels.max() < 0.98
    front, left, back, top = (cameras[name].positions()[0] for name in ("front", "left", "back", "top"))
    assert front[2] > 1 and left[0] > 1 and back[2] < -1 and top[1] > 1


def test_cameras_around_are_quarter_turns_at_one_distance(truth):
    orbit = truth.orbit()
    centre = orbit.look_at[0]
    first = orbit.camera().positions()[0] - centre
    others = views.cameras_around(truth).positions() - centre
    assert torch.allclose(others.norm(dim=1), first.norm().expand(3), atol=1e-4)
    assert torch.allclose(others[:, 1], first[1].expand(3), atol=1e-4)
    quarter = torch.stack([first[2], first[1], -first[0]])  # 90 degrees of yaw: from +z towards +x
    assert torch.allclose(others[0], quarter, atol=1e-4)
    assert torch.allclose(others[1, [0, 2]], -first[[0, 2]], atol=1e-4)


def test_distance_colours_run_along_the_scale_and_stay_at_its_end():
    colours = views.distance_colours(np.array([0.0, views.MAX_DISTANCE / 2, views.MAX_DISTANCE, 5.0]))
    np.testing.assert_allclose(colours, views.COLOUR_SCALE[[0, 2, 4, 4]])


def test_distance_is_seen_where_it_is():
    mesh, longer = box(), box((0.0, 0.0, 0.25), (0.4, 0.6, 1.5))
    coloured = views.coloured_by_distance(longer, mesh, 1.0, np.random.default_rng(0))
    beyond = longer.vertices[:, 2] > 0.7
    assert torch.allclose(coloured.colors[beyond], torch.tensor(views.COLOUR_SCALE[-1], dtype=torch.float32), atol=1e-6)
    inside = longer.vertices[:, 2] < 0.4
    assert (
        coloured.colors[inside] - torch.tensor(views.COLOUR_SCALE[0], dtype=torch.float32)
    ).abs().max() < 0.15  # samples lie apart


def test_four_pictures_side_by_side(truth):
    mesh = truth.sequence()[0]
    pictures = views.side_by_side(mesh, mesh, 1.0, views.named_cameras(truth), 48)
    assert list(pictures) == ["input view", *views.SIDES]
    picture = pictures["left"]
    assert picture.shape == (48, 4 * 48, 3) and picture.dtype == np.uint8
    first, second, third, fourth = np.split(picture, 4, axis=1)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(third, fourth)
    blue = third[24, 24]
    assert blue[2] > blue[0] + 30  # distance 0


def test_mask_difference():
    truth, result = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    np.testing.assert_allclose(
        views.mask_difference(truth, result)[0],
        [[0.78] * 3, views.COLOUR_SCALE[0], views.COLOUR_SCALE[-1], [1.0] * 3],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("count", "shown", "frames"), [(32, 4, [0, 8, 16, 24]), (24, 3, [0, 8, 16]), (2, 3, [0, 1]), (1, 3, [0])]
)
def test_evenly_spaced_frames(count, shown, frames):
    assert views.evenly_spaced_frames(count, shown) == frames


def test_a_truth_with_lighting_renders_as_in_the_pictures():
    examples = Path(__file__).resolve().parents[2] / "examples"
    truth = GroundTruth.load(examples / TRUTH_FOLDER / "walking_dino.npz")
    rgba = iio.imread(examples / "walking_dino" / "0000.png").astype(np.float32) / 255
    frame = (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).reshape(128, 4, 128, 4, 3).mean((1, 3))
    mesh, camera = truth.sequence()[0], truth.orbit().camera(float(truth.fov))
    plain, lit = (views.render_view(side, camera, 128)[0] for side in (mesh, views.with_lighting(mesh, truth.orbit())))
    assert psnr(frame[None], lit)[0] > psnr(frame[None], plain)[0] + 5
    assert psnr(frame[None], lit)[0] > 24
