"""Observations of a body of known motion: they say where its points are, and are silent where nothing is to be seen."""

from __future__ import annotations

import math

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
    """Shifted by pixels of the frame, along rays: every point's shift in the picture is exactly that."""
    shift = torch.tensor([right, down]) * PIXEL / AWAY
    vertices = mesh.vertices.clone()
    vertices[:, :2] += shift * vertices[:, 2:]
    return mesh.with_vertices(vertices)


def rendered(mesh: Mesh, frame: Frame, size: int = 192, appearance: AppearanceModel | None = None):
    return (appearance or AppearanceModel(mesh)).render(
        mesh.vertices, ImageWindow.of(frame, CAMERA, size, [mesh.vertices])
    )


def misses(seen: Constraints, mesh: Mesh, truth: Tensor) -> np.ndarray:
    """Residuals (N, 2) under the truth, in pixels of the frame."""
    places = image_fractions(CAMERA, seen.points.on(truth, mesh.faces)).double().numpy()
    return np.einsum("nij,nj->ni", seen.root, places - seen.targets) * SIZE


def test_paint_tells_a_known_shift(body: Mesh) -> None:
    truth = moved(body, 2.5, -1.5)
    seen = appearance_constraints(rendered(body, photographed(truth, 1, SIZE)), 400)
    assert 100 < len(seen) <= 400
    assert np.median(np.abs(misses(seen, body, truth.vertices))) < 0.1
    assert np.median(np.linalg.norm(misses(seen, body, body.vertices), axis=1)) > 1.0


def test_outline_tells_a_known_shift_across_itself(body: Mesh) -> None:
    truth = moved(body, 3.0, 2.0)
    seen = outline_constraints(rendered(body, photographed(truth, 1, SIZE)), 200, reach=12.0, pull=False)
    off = np.abs(misses(seen, body, truth.vertices)).max(1)
    assert len(seen) > 50
    assert np.median(off) < 0.25  # the body is curved, the shift is not all across the outline
    # One direction only: the smaller eigenvalue of each root is nothing.
    assert np.linalg.svd(seen.root, compute_uv=False)[:, 1].max() < 1e-6


def test_residuals_are_zero_where_the_pose_is_right(body: Mesh) -> None:
    frame = photographed(body, 0, SIZE)
    seen = frame_constraints(
        body.vertices,
        AppearanceModel(body),
        ImageWindow.of(frame, CAMERA, 192, [body.vertices]),
        VideoTrackingConfig(points=500),
    )
    assert len(seen) <= 500
    assert np.abs(misses(seen, body, body.vertices)).max() < 0.3
    assert np.median(np.abs(misses(seen, body, body.vertices))) < 0.03


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 0.0), (0.7, 0.25), (1.0, -0.05)])
def test_paint_is_found_under_other_brightness(body: Mesh, gain: float, offset: float) -> None:
    truth = moved(body, 2.0, 1.0)
    frame = photographed(truth, 1, SIZE)
    rgba = frame.rgba.astype(np.float64)
    rgba[..., :3] = (rgba[..., :3] * gain + 255 * offset).clip(0, 255)
    seen = appearance_constraints(rendered(body, Frame("lit", 1, rgba.astype(np.uint8))), 400)
    assert len(seen) > 100
    assert np.median(np.abs(misses(seen, body, truth.vertices))) < 0.12


def test_light_is_learned_from_the_first_frame(body: Mesh) -> None:
    """A frame lit from the left: with the light learned, the picture of the pose is the frame."""
    normals = body.normals()
    shade = (0.75 - 0.35 * normals[:, :1] + 0.1 * normals[:, 1:2]).clamp(0, 1)
    frame = photographed(Mesh(body.vertices, body.faces, colors=body.colors * shade), 0, SIZE)
    view = ImageWindow.of(frame, CAMERA, 192, [body.vertices])
    appearance = AppearanceModel.of(body, body.vertices, view)

    def difference(of: AppearanceModel) -> float:
        seen = of.render(body.vertices, view)
        both = np.minimum(seen.mask, view.mask) > 0.99
        return float(np.abs(seen.color - view.color)[both].mean())

    assert difference(appearance) < 0.15 * difference(AppearanceModel(body))


def test_what_the_first_frame_shows_is_remembered(body: Mesh) -> None:
    """A mesh without paint: the first frame's picture of it is enough to find it later, where it was seen."""
    plain = Mesh(body.vertices, body.faces, colors=torch.full_like(body.vertices, 0.5))
    first, truth = photographed(body, 0, SIZE), moved(body, 2.0, -1.0)
    appearance = AppearanceModel.of(plain, plain.vertices, ImageWindow.of(first, CAMERA, 192, [body.vertices]))
    seen = appearance_constraints(rendered(body, photographed(truth, 1, SIZE), appearance=appearance), 400)
    assert np.square(seen.root).sum() > 50
    assert np.median(np.abs(misses(seen, body, truth.vertices))) < 0.1
    assert appearance.reference is not None
    away = (body.normals() * torch.nn.functional.normalize(body.vertices, dim=1)).sum(1) > 0
    assert float(appearance.reference.known[away].max()) == 0.0
    assert float(appearance.reference.known.max()) == 1.0


def test_no_point_is_seen_through_what_hides_it() -> None:
    """One body behind another: all points that are observed are the nearer one's."""
    near, far = at(speckled(2), 0.0), at(speckled(2), 0.0)
    behind = far.vertices * 1.6 + torch.tensor([0.5, 0.0, 0.0])
    assert near.colors is not None
    mesh = Mesh(
        torch.cat([near.vertices, behind]),
        torch.cat([near.faces, near.faces + len(near.vertices)]),
        colors=torch.cat([near.colors, near.colors]),
    )
    frame = photographed(mesh, 0, SIZE)
    for seen in (
        appearance_constraints(rendered(mesh, frame), 300),
        outline_constraints(rendered(mesh, frame), 200, 10.0),
    ):
        points = seen.points.on(mesh.vertices, mesh.faces)
        hidden = seen.points.faces >= len(near.faces)
        rays = points[hidden, :2] / points[hidden, 2:]
        middle = near.vertices.mean(0)
        # The nearer body's picture is an ellipse about its middle; what is seen of the other lies outside of it.
        off = (rays - middle[:2] / middle[2]) / torch.tensor([0.4, 0.48]) * middle[2]
        assert hidden.any()
        assert float(off.norm(dim=1).min()) > 0.9


def test_plain_paint_is_not_trusted(body: Mesh) -> None:
    """Without texture there is nothing to see inside; what is observed has little confidence."""
    plain = Mesh(body.vertices, body.faces, colors=torch.full_like(body.vertices, 0.6))
    seen = appearance_constraints(rendered(plain, photographed(plain, 0, SIZE)), 300)
    textured = appearance_constraints(rendered(body, photographed(body, 0, SIZE)), 300)
    assert np.square(seen.root).sum() < 0.05 * np.square(textured.root).sum()


def test_flow_takes_points_to_the_next_frame(body: Mesh) -> None:
    truth = moved(body, 3.0, -2.0)
    first, second = photographed(body, 0, SIZE), photographed(truth, 1, SIZE)
    field = flow_between(first, second)
    seen = flow_constraints(rendered(body, first), field, 300)
    assert 100 < len(seen) <= 300
    assert np.median(np.abs(misses(seen, body, truth.vertices))) < 0.1
    back = flow_constraints(rendered(truth, second), field, 300, ahead=False)
    assert np.median(np.abs(misses(back, body, body.vertices))) < 0.1


def test_tracks_name_their_points(body: Mesh) -> None:
    seen = appearance_constraints(rendered(body, photographed(body, 0, SIZE)), 50)
    places = image_fractions(CAMERA, seen.points.on(body.vertices, body.faces)).double().numpy()
    confidence = np.linspace(0, 1, len(places))
    tracks = Tracks(np.stack([places, places + 0.1]), np.stack([np.ones(len(places)), confidence]))
    found = track_constraints(seen.points, tracks, 1, limit=10)
    assert len(found) == 10
    assert np.allclose(found.targets, places[-10:] + 0.1)
    assert np.allclose(np.square(found.root[:, 0, 0]), confidence[-10:])


@pytest.mark.parametrize("value", [0, 255])
def test_a_frame_without_object_says_nothing(body: Mesh, value: int) -> None:
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


def test_a_pose_out_of_the_picture_says_nothing(body: Mesh) -> None:
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
    assert np.array_equal(first.root, second.root)
    assert torch.equal(first.points.faces, second.points.faces)
