"""Constraints from frames of a body of known motion: residuals vanish at the true pose, and empty frames give none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.constraints import Constraints
from registration.correspondences.observe import (
    appearance_constraints,
    flow_constraints,
    frame_constraints,
    outline_constraints,
    track_constraints,
)
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera, image_fractions
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.optical_flow import FlowField, Tracks, flow_between

CAMERA, SIZE = Camera.identity(), 160
AWAY = 3.0
PIXEL = 2 * AWAY * math.tan(CAMERA.fov / 2) / SIZE  # in the plane at that distance


@pytest.fixture(scope="module")
def body() -> Mesh:
    return at(speckled(3), 0.0)


def moved(mesh: Mesh, right: float, down: float) -> Mesh:
    """The mesh translated so that every point's image displacement is exactly (right, down) pixels."""
    shift = torch.tensor([right, down]) * PIXEL / AWAY
    vertices = mesh.vertices.clone()
    vertices[:, :2] += shift * vertices[:, 2:]
    return mesh.with_vertices(vertices)


def rendered(mesh: Mesh, frame: Frame, size: int = 192, appearance: AppearanceModel | None = None):
    return (appearance or AppearanceModel(mesh)).render(
        mesh.vertices, ImageWindow.of(frame, CAMERA, size, [mesh.vertices])
    )


def residuals(constraints: Constraints, mesh: Mesh, truth: Tensor) -> np.ndarray:
    """Residuals (N, 2) of constraints at true vertices (V, 3), in pixels of the frame."""
    positions = image_fractions(CAMERA, constraints.points.on(truth, mesh.faces)).double().numpy()
    return np.einsum("nij,nj->ni", constraints.sqrt_information, positions - constraints.targets) * SIZE


def test_appearance_constraints_recover_a_known_translation(body: Mesh) -> None:
    truth = moved(body, 2.5, -1.5)
    constraints = appearance_constraints(rendered(body, photographed(truth, 1, SIZE)), 400)
    assert 100 < len(constraints) <= 400
    assert np.median(np.abs(residuals(constraints, body, truth.vertices))) < 0.1
    assert np.median(np.linalg.norm(residuals(constraints, body, body.vertices), axis=1)) > 1.0


def test_outline_constraints_recover_a_known_translation_across_the_outline(body: Mesh) -> None:
    truth = moved(body, 3.0, 2.0)
    constraints = outline_constraints(
        rendered(body, photographed(truth, 1, SIZE)), 200, search_radius=12.0, match_unexplained=False
    )
    distance = np.abs(residuals(constraints, body, truth.vertices)).max(1)
    assert len(constraints) > 50
    assert np.median(distance) < 0.25  # the body is curved, the translation is not all across the outline
    # Point-to-line: the smaller eigenvalue of each matrix is 0.
    assert np.linalg.svd(constraints.sqrt_information, compute_uv=False)[:, 1].max() < 1e-6


def test_residuals_vanish_at_the_true_pose(body: Mesh) -> None:
    frame = photographed(body, 0, SIZE)
    constraints = frame_constraints(
        body.vertices,
        AppearanceModel(body),
        ImageWindow.of(frame, CAMERA, 192, [body.vertices]),
        VideoTrackingConfig(points=500),
    )
    assert len(constraints) <= 500
    assert np.abs(residuals(constraints, body, body.vertices)).max() < 0.3
    assert np.median(np.abs(residuals(constraints, body, body.vertices))) < 0.03


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 0.0), (0.7, 0.25), (1.0, -0.05)])
def test_appearance_constraints_tolerate_gain_and_offset_of_the_frame(body: Mesh, gain: float, offset: float) -> None:
    truth = moved(body, 2.0, 1.0)
    frame = photographed(truth, 1, SIZE)
    rgba = frame.rgba.astype(np.float64)
    rgba[..., :3] = (rgba[..., :3] * gain + 255 * offset).clip(0, 255)
    constraints = appearance_constraints(rendered(body, Frame("lit", 1, rgba.astype(np.uint8))), 400)
    assert len(constraints) > 100
    assert np.median(np.abs(residuals(constraints, body, truth.vertices))) < 0.12


def test_lighting_is_fitted_to_the_first_frame(body: Mesh) -> None:
    """A frame lit from the left: with fitted lighting, the rendering of the pose matches the frame."""
    normals = body.normals()
    shade = (0.75 - 0.35 * normals[:, :1] + 0.1 * normals[:, 1:2]).clamp(0, 1)
    frame = photographed(Mesh(body.vertices, body.faces, colors=body.colors * shade), 0, SIZE)
    view = ImageWindow.of(frame, CAMERA, 192, [body.vertices])
    appearance = AppearanceModel.of(body, body.vertices, view)

    def difference(of: AppearanceModel) -> float:
        rendering = of.render(body.vertices, view)
        both = np.minimum(rendering.mask, view.mask) > 0.99
        return float(np.abs(rendering.color - view.color)[both].mean())

    assert difference(appearance) < 0.15 * difference(AppearanceModel(body))


def test_a_mesh_without_any_of_a_colour_has_neutral_lighting_of_it(body: Mesh) -> None:
    """A uniform colour of the file, black or pure red, must not make the fit singular."""
    assert body.colors is not None
    red = replace(body, colors=body.colors * torch.tensor([1.0, 0.0, 0.0]))
    frame = photographed(body, 0)
    appearance = AppearanceModel.of(red, red.vertices, ImageWindow.of(frame, CAMERA, 128, [red.vertices]))
    assert appearance.lighting is not None
    assert torch.equal(appearance.lighting[:, 1], torch.eye(9)[0])
    assert not torch.equal(appearance.lighting[:, 0], torch.eye(9)[0])


def test_the_first_frame_serves_as_the_texture_where_it_is_visible(body: Mesh) -> None:
    """A mesh of one colour: the first frame as a reference gives correspondences in later frames."""
    plain = Mesh(body.vertices, body.faces, colors=torch.full_like(body.vertices, 0.5))
    first, truth = photographed(body, 0, SIZE), moved(body, 2.0, -1.0)
    appearance = AppearanceModel.of(plain, plain.vertices, ImageWindow.of(first, CAMERA, 192, [body.vertices]))
    constraints = appearance_constraints(rendered(body, photographed(truth, 1, SIZE), appearance=appearance), 400)
    assert np.square(constraints.sqrt_information).sum() > 50
    assert np.median(np.abs(residuals(constraints, body, truth.vertices))) < 0.1
    assert appearance.reference is not None
    away = (body.normals() * torch.nn.functional.normalize(body.vertices, dim=1)).sum(1) > 0
    assert float(appearance.reference.visibility[away].max()) == 0.0
    assert float(appearance.reference.visibility.max()) == 1.0


def test_occluded_points_have_no_constraints() -> None:
    """One body behind another: constraints of the farther one lie outside the nearer one's projection."""
    near, far = at(speckled(2), 0.0), at(speckled(2), 0.0)
    behind = far.vertices * 1.6 + torch.tensor([0.5, 0.0, 0.0])
    assert near.colors is not None
    mesh = Mesh(
        torch.cat([near.vertices, behind]),
        torch.cat([near.faces, near.faces + len(near.vertices)]),
        colors=torch.cat([near.colors, near.colors]),
    )
    frame = photographed(mesh, 0, SIZE)
    for constraints in (
        appearance_constraints(rendered(mesh, frame), 300),
        outline_constraints(rendered(mesh, frame), 200, 10.0),
    ):
        points = constraints.points.on(mesh.vertices, mesh.faces)
        hidden = constraints.points.faces >= len(near.faces)
        rays = points[hidden, :2] / points[hidden, 2:]
        middle = near.vertices.mean(0)
        # The nearer body projects to an ellipse about its middle; visible points of the other lie outside of it.
        distance = (rays - middle[:2] / middle[2]) / torch.tensor([0.4, 0.48]) * middle[2]
        assert hidden.any()
        assert float(distance.norm(dim=1).min()) > 0.9


def test_constraints_without_texture_have_low_confidence(body: Mesh) -> None:
    """A mesh of one colour: its structure tensors are near 0."""
    plain = Mesh(body.vertices, body.faces, colors=torch.full_like(body.vertices, 0.6))
    constraints = appearance_constraints(rendered(plain, photographed(plain, 0, SIZE)), 300)
    textured = appearance_constraints(rendered(body, photographed(body, 0, SIZE)), 300)
    assert np.square(constraints.sqrt_information).sum() < 0.05 * np.square(textured.sqrt_information).sum()


def test_flow_constraints_follow_the_motion_in_both_time_directions(body: Mesh) -> None:
    truth = moved(body, 3.0, -2.0)
    first, second = photographed(body, 0, SIZE), photographed(truth, 1, SIZE)
    field = flow_between(first, second)
    constraints = flow_constraints(rendered(body, first), field, 300)
    assert 100 < len(constraints) <= 300
    assert np.median(np.abs(residuals(constraints, body, truth.vertices))) < 0.1
    back = flow_constraints(rendered(truth, second), field, 300, forward=False)
    assert np.median(np.abs(residuals(back, body, body.vertices))) < 0.1


def test_track_constraints_keep_the_most_confident_points(body: Mesh) -> None:
    constraints = appearance_constraints(rendered(body, photographed(body, 0, SIZE)), 50)
    positions = image_fractions(CAMERA, constraints.points.on(body.vertices, body.faces)).double().numpy()
    confidence = np.linspace(0, 1, len(positions))
    tracks = Tracks(np.stack([positions, positions + 0.1]), np.stack([np.ones(len(positions)), confidence]))
    tracked = track_constraints(constraints.points, tracks, 1, limit=10)
    assert len(tracked) == 10
    assert np.allclose(tracked.targets, positions[-10:] + 0.1)
    assert np.allclose(np.square(tracked.sqrt_information[:, 0, 0]), confidence[-10:])


@pytest.mark.parametrize("value", [0, 255])
def test_a_frame_without_an_object_gives_no_constraints(body: Mesh, value: int) -> None:
    empty = Frame("0", 0, np.full((SIZE, SIZE, 4), value, np.uint8))
    if value:
        empty.rgba[..., 3] = 0
    view = ImageWindow.of(empty, CAMERA, 128, [body.vertices])
    assert (
        len(
            frame_constraints(body.vertices, AppearanceModel.of(body, body.vertices, view), view, VideoTrackingConfig())
        )
        == 0
    )
    still = np.zeros((16, 16, 2), np.float32)
    field = FlowField((0, 0, 1, 1), still, still, (still[..., 0], still[..., 0]))
    assert len(flow_constraints(rendered(body, empty), field, 100)) == 0


def test_a_pose_outside_of_the_image_gives_no_constraints(body: Mesh) -> None:
    frame = photographed(body, 0, SIZE)
    away = body.vertices + torch.tensor([9.0, 0.0, 0.0])
    view = ImageWindow.of(frame, CAMERA, 128, [body.vertices])
    assert len(frame_constraints(away, AppearanceModel(body), view, VideoTrackingConfig())) == 0


def test_constraints_are_deterministic(body: Mesh) -> None:
    view = ImageWindow.of(photographed(moved(body, 2, 2), 1, SIZE), CAMERA, 192, [body.vertices])
    first, second = (
        frame_constraints(body.vertices, AppearanceModel(body), view, VideoTrackingConfig()) for _ in range(2)
    )
    assert np.array_equal(first.targets, second.targets)
    assert np.array_equal(first.sqrt_information, second.sqrt_information)
    assert torch.equal(first.points.faces, second.points.faces)
