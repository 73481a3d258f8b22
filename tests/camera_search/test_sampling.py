import math

import numpy as np
import pytest
import torch
import trimesh

from camera_search.sampling import (
    MaskBox,
    box_filling_translations,
    box_filling_views,
    directions,
    hull_points,
    sample_views,
)
from camera_search.views import ViewParameters, rotations
from v2m4.frame import Frame
from v2m4.mesh import Mesh

NOT_TRUNCATED = (False, False, False, False)


def _mesh(seed=0):
    rng = np.random.default_rng(seed)
    shape = trimesh.creation.icosphere(3)
    vertices = shape.vertices * np.array([0.3, 0.5, 0.2]) * (1 + 0.2 * rng.standard_normal((len(shape.vertices), 1)))
    return Mesh(torch.tensor(vertices, dtype=torch.float32), torch.tensor(shape.faces))


def _frame(alpha):
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    rgba[..., 3] = alpha
    return Frame("f", 0, rgba)


def _box_of(view_parameters, views, points):
    pixels, _ = view_parameters.camera(views).project(points, (1, 1))
    return torch.cat([pixels.amin(1), pixels.amax(1)], 1)


def test_directions_cover_the_sphere_evenly():
    yaw, pitch = directions(400, torch.Generator().manual_seed(0))
    towards = torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], 1)
    assert towards.mean(0).norm() < 0.01
    torch.testing.assert_close(towards.T @ towards / 400, torch.eye(3) / 3, atol=0.01, rtol=0)
    nearest = torch.cdist(towards, towards).fill_diagonal_(9.0).amin(1)
    assert nearest.min() > 0.5 * nearest.max()


def test_true_box_and_rotation_give_the_true_camera():
    mesh, view_parameters = _mesh(), ViewParameters(torch.zeros(3), 1.3)
    points = hull_points(mesh)
    truth = torch.tensor([[0.7, 0.3, 0.1, -0.05, 0.8], [2.5, -0.6, -0.2, 0.1, 1.1]])
    for one in truth:
        sides = _box_of(view_parameters, one[None], points)[0]
        box = MaskBox(tuple(sides.tolist()), NOT_TRUNCATED, 0.2)
        view = box_filling_views(view_parameters, points, box, one[:1], one[1:2], torch.Generator())
        torch.testing.assert_close(view[0], one, atol=2e-3, rtol=0)


def test_views_of_other_directions_fit_the_box_in_the_least_squares_sense():
    mesh, view_parameters = _mesh(), ViewParameters(torch.zeros(3))
    points = hull_points(mesh)
    box = MaskBox((0.3, 0.2, 0.6, 0.8), NOT_TRUNCATED, 0.1)
    views = sample_views(view_parameters, points, box, 200, torch.Generator().manual_seed(1))
    sides = _box_of(view_parameters, views, points)
    middle = (sides[:, :2] + sides[:, 2:]) / 2
    torch.testing.assert_close(middle, torch.tensor([0.45, 0.5]).expand(200, 2), atol=0.02, rtol=0)
    longest = (sides[:, 2:] - sides[:, :2]).sum(1)
    assert ((longest > 0.5) & (longest < 1.3)).all()


def test_hull_has_the_same_bounding_boxes():
    mesh, view_parameters = _mesh(), ViewParameters(torch.zeros(3))
    views = torch.tensor([[0.3, 0.2, 0.0, 0.0, 0.7]])
    hull = hull_points(mesh)
    assert len(hull) < len(mesh.vertices)
    torch.testing.assert_close(_box_of(view_parameters, views, hull), _box_of(view_parameters, views, mesh.vertices))


def test_hull_of_a_flat_mesh_is_all_vertices():
    flat = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert len(hull_points(Mesh(flat, torch.tensor([[0, 1, 2], [1, 3, 2]])))) == 4


def test_visible_sides_are_fitted_and_truncated_sides_vary():
    mesh, view_parameters = _mesh(), ViewParameters(torch.zeros(3))
    points = hull_points(mesh)
    box = MaskBox((0.2, 0.4, 0.8, 1.0), (False, False, False, True), 0.3)
    yaw = torch.full((50,), 0.4)
    views = box_filling_views(view_parameters, points, box, yaw, yaw, torch.Generator().manual_seed(0))
    sides = _box_of(view_parameters, views, points)
    assert (sides[:, 0] - 0.2).abs().max() < 0.05
    assert (sides[:, 1] - 0.4).abs().max() < 0.05
    assert (sides[:, 3] > 0.9).all()
    # A truncated side has little weight: where width and height disagree, the width is fitted.
    assert (sides[:, 2] - 0.8).abs().max() < 0.05


def test_every_point_is_in_front_of_the_camera():
    mesh = _mesh()
    rotation = rotations(torch.linspace(0, 6, 20), torch.zeros(20))
    sides = torch.tensor([[-3.0, -3.0, 3.0, 3.0]]).expand(20, 4)
    translation = box_filling_translations(rotation, mesh.vertices, sides, torch.ones(20, 4))
    in_camera = mesh.vertices @ rotation.transpose(1, 2) + translation[:, None]
    assert (in_camera[..., 2] > 0.04).all()


def test_mask_box_ignores_specks_and_marks_truncated_sides():
    alpha = np.zeros((100, 200), np.uint8)
    alpha[20:60, 50:90] = 255
    alpha[95, 195] = 255  # a speck
    box = MaskBox.of_frame(_frame(alpha))
    assert box.sides == pytest.approx((0.25, 0.2, 0.45, 0.6))
    assert not any(box.truncated)
    x0, y0, x1, y1 = box.window(2.0, margin=0.1)
    assert (x1 - x0) * 2 == pytest.approx(y1 - y0)
    assert y1 - y0 == pytest.approx(0.4 * 1.2)
    alpha[60:, 50:90] = 255
    assert MaskBox.of_frame(_frame(alpha)).truncated == (False, False, False, True)


def test_a_frame_without_foreground_is_an_error():
    with pytest.raises(ValueError, match="frame f: no foreground"):
        MaskBox.of_frame(_frame(np.zeros((10, 10), np.uint8)))


def test_sampling_is_deterministic_and_covers_all_directions():
    mesh, view_parameters = _mesh(), ViewParameters(torch.zeros(3))
    box = MaskBox((0.3, 0.0, 0.6, 0.8), (False, True, False, False), 0.1)
    first, second = (
        sample_views(view_parameters, mesh.vertices, box, 100, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert len(first) == 100
    assert float(first[:, 1].abs().max()) > math.radians(75)
