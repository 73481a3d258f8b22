"""Lifting of tracks in rendered views to surfaces, their projection, and the energy of their distances."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.keyframes.energy import State
from registration.keyframes.energy_tracks import PIXELS, MultiviewTracks
from registration.keyframes.lifted_tracks import (
    SurfaceTracks,
    TrackingViews,
    lift_pixels,
    merge_targets,
    sample_visible_points,
    vertex_targets,
)
from registration.keyframes.multiview_tracks import draw_tracks, warn_of_cropping
from registration.keyframes.nonrigid_icp import VertexTargets
from tests.registration.moving_shapes import at, clip, speckled
from v2m4.mesh import Mesh

SIZE = 160


@pytest.fixture(scope="module")
def posed():
    return clip(4)


@pytest.fixture(scope="module")
def views(posed) -> TrackingViews:
    return TrackingViews.around([asset.mesh for asset in posed], 0, posed[0].extrinsics, 8.0, 5)


@pytest.fixture(scope="module")
def tracks(posed, views) -> SurfaceTracks:
    """Tracks that are true: each point is where the motion brings it; seen where it faces the camera."""
    body, generator = speckled(), torch.Generator().manual_seed(0)
    parts, view = [], []
    for index, camera in enumerate(views.cameras):
        points, _ = sample_visible_points(views.to_view_space(posed[0].mesh), camera, SIZE, 300, generator)
        parts.append(points)
        view.append(torch.full((len(points.faces),), index))
    blank = torch.zeros(4, sum(len(part.faces) for part in parts))
    empty = SurfaceTracks(
        views.matrix,
        torch.cat([camera.extrinsics for camera in views.cameras]),
        torch.tensor([camera.window for camera in views.cameras]),
        torch.cat(view),
        torch.cat([part.faces for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.zeros(*blank.shape, 2),
        blank,
        torch.tensor([len(part.faces) for part in parts]),
    )
    positions, confidence = [], []
    for time in range(4):
        moved = at(body, time)
        positions.append(empty.project(empty.points.on(moved.vertices, body.faces)))
        local = views.to_view_space(moved)
        toward = torch.cat([camera.positions() for camera in views.cameras])[empty.view]
        normals = empty.points.on(local.normals(), body.faces)
        direction = toward - empty.points.on(local.vertices, body.faces)
        confidence.append((torch.nn.functional.cosine_similarity(normals, direction, dim=1) > 0.3).float())
    return replace(empty, positions=torch.stack(positions), confidence=torch.stack(confidence))


def test_views_are_upright_and_hold_the_motion(posed, views) -> None:
    assert not views.leaving.any()
    for camera in views.cameras:
        for asset in posed:
            pixels, _ = camera.project(views.to_view_space(asset.mesh).vertices, (1, 1))
            assert float(pixels.min()) > 0
            assert float(pixels.max()) < 1
    extent = views.to_view_space(posed[0].mesh).vertices
    assert float((extent.amax(0) - extent.amin(0)).max()) == pytest.approx(1.0, abs=1e-5)
    up = posed[0].extrinsics[:3, :3] @ torch.tensor([0.0, 1.0, 0.0])  # of the object, in the video camera's space
    assert float((views.matrix[:3, :3] @ up)[1]) > 0


def test_an_object_that_leaves_a_view_is_logged_with_the_option(posed, caplog) -> None:
    far = clip(3, step=0.9)
    meshes, names = [asset.mesh for asset in far], ["0000", "0005", "0010"]
    views = TrackingViews.around(meshes, 0, far[0].extrinsics, 2.0, 8)
    assert views.leaving.any()
    with caplog.at_level(logging.WARNING):
        warn_of_cropping(views, names)
    (line,) = caplog.messages
    assert "--tracking_camera_radius" in line
    assert "0010" in line
    wider = TrackingViews.around(meshes, 0, far[0].extrinsics, views.min_radius, 8)
    assert not wider.leaving.any()
    caplog.clear()
    warn_of_cropping(wider, names)
    assert not caplog.messages


def test_points_lie_under_their_pixels(posed, views) -> None:
    mesh = views.to_view_space(posed[0].mesh)
    camera = views.cameras[2]
    points, at_window = sample_visible_points(mesh, camera, SIZE, 200, torch.Generator().manual_seed(1))
    assert len(points.faces) == 200
    assert len(np.unique(at_window, axis=0)) == 200
    pixels, _ = camera.project(points.on(mesh.vertices, mesh.faces), (1, 1))
    assert np.abs(pixels[0].numpy() - at_window).max() < 1e-4


def test_lifting_gives_back_the_true_surface_points(posed, views, tracks) -> None:
    """Off the pixels' centres, on meshes of another order, within 1% of the object's size."""
    body = speckled()
    for time in (1, 3):
        target = posed[time].mesh
        truth = tracks.points.on(at(body, time).vertices, body.faces)
        for view in range(5):
            in_view = (tracks.view == view) & (tracks.confidence[time] > 0.5)
            lifted, on_surface = lift_pixels(
                tracks.positions[time][in_view], views.to_view_space(target), tracks.camera(view), SIZE
            )
            assert on_surface.float().mean() > 0.97
            error = (lifted.on(target.vertices, target.faces) - truth[in_view]).norm(dim=1)[on_surface]
            assert float(error.max()) < 0.01


def test_pixels_beside_the_object_are_not_lifted(posed, views) -> None:
    corner = torch.tensor([views.cameras[0].window[:2], (0.01, 0.01)]) + 1e-3
    _, on_surface = lift_pixels(corner, views.to_view_space(posed[0].mesh), views.cameras[0], SIZE)
    assert not on_surface.any()


def test_vertex_targets_are_the_true_positions(posed, tracks) -> None:
    body = speckled()
    lifted = vertex_targets(tracks.at(2), at(body, 0).vertices, body.faces, posed[2].mesh, SIZE)
    truth = at(body, 2).vertices.numpy()[lifted.index]
    assert len(lifted.index) > 0.3 * len(body.vertices)
    before = np.linalg.norm(at(body, 0).vertices.numpy()[lifted.index] - truth, axis=1)
    after = np.linalg.norm(lifted.points - truth, axis=1)
    assert np.median(after) < 0.05 * np.median(before)
    assert (np.diff(lifted.index) > 0).all()


def test_tracks_that_contradict_each_other_count_less(posed, tracks) -> None:
    body = speckled()
    noisy = tracks.positions.clone()
    noisy[2, ::2] += 0.01
    poor = vertex_targets(replace(tracks, positions=noisy).at(2), at(body, 0).vertices, body.faces, posed[2].mesh, SIZE)
    good = vertex_targets(tracks.at(2), at(body, 0).vertices, body.faces, posed[2].mesh, SIZE)
    assert poor.weight.mean() < 0.7 * good.weight.mean()


def test_the_energy_is_zero_on_true_tracks_and_counts_published_pixels(tracks) -> None:
    body = speckled()
    term = term_of(tracks, 1e-3)
    at_truth = term(State(at(body, 2).vertices, 0, torch.Generator()))
    assert float(at_truth) < 1e-2
    shifted = replace(tracks, positions=tracks.positions + torch.tensor([3.0 / PIXELS, -1.0 / PIXELS]))
    seen = tracks.confidence[2].mean()  # what is not seen counts nothing
    moved = term_of(shifted, 1e-3)(State(at(body, 2).vertices, 0, torch.Generator()))
    assert float(moved) == pytest.approx(2.0 * float(seen), rel=0.02)


def test_every_view_counts_the_same(tracks) -> None:
    body = speckled()
    kept = torch.cat([torch.nonzero(tracks.view == 0)[:10, 0], torch.nonzero(tracks.view > 0)[:, 0]])
    few = tracks.select(kept)
    far = few.positions.clone()
    far[:, :10] += 4.0 / PIXELS
    full = replace(few, positions=far, confidence=torch.ones_like(few.confidence), counts=few.view.bincount())
    value = float(term_of(full, 1.0)(State(at(body, 2).vertices, 0, torch.Generator())))
    assert value == pytest.approx(4.0 / 5, rel=0.05)


def test_gradients_agree_with_finite_differences(tracks) -> None:
    body = speckled(subdivisions=4)
    term = term_of(double(tracks), 1.0)
    vertices = (at(body, 1).vertices.double()).requires_grad_()
    term(State(vertices, 0, torch.Generator())).backward()
    draw = torch.Generator().manual_seed(3)
    for _ in range(4):
        direction = torch.randn(vertices.shape, generator=draw, dtype=torch.float64)
        step = 1e-8
        with torch.no_grad():
            ends = [float(term(State(vertices + sign * step * direction, 0, torch.Generator()))) for sign in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(
            float((vertices.grad * direction).sum()), rel=1e-5, abs=1e-6
        )


def term_of(tracks: SurfaceTracks, weight: float) -> MultiviewTracks:
    """Of frame 2."""
    return MultiviewTracks(weight, tracks.at(2), speckled().faces)


def double(tracks: SurfaceTracks) -> SurfaceTracks:
    names = ("matrix", "extrinsics", "weights", "positions")
    return replace(tracks, **{name: getattr(tracks, name).double() for name in names})


def test_tracks_of_two_sources_are_joined(tracks) -> None:
    first, second = tracks.select(torch.arange(0, 40)).at(1), tracks.select(torch.arange(40, 90)).at(1)
    both = first.joined(second)
    assert torch.equal(both.positions, tracks.select(torch.arange(90)).at(1).positions)
    assert both.positions.shape == (1, len(first.view) + len(second.view), 2)
    assert (both.confidence >= 0.5).all()


def test_targets_of_the_same_vertex_are_merged() -> None:
    first = VertexTargets(np.array([2, 5]), np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([1.0, 0.5]))
    second = VertexTargets(np.array([2, 3]), np.array([[3.0, 0, 0], [2, 2, 2]]), np.array([2.0, 0.25]))
    lifted = merge_targets(first, second)
    assert lifted.index.tolist() == [2, 3, 5]
    assert lifted.points.tolist() == [[2, 0, 0], [2, 2, 2], [1, 1, 1]]
    assert lifted.weight.tolist() == [3, 0.25, 0.5]


def test_arrays_give_the_tracks_back(tracks) -> None:
    again = SurfaceTracks.from_arrays(tracks.arrays(), torch.device("cpu"))
    assert all(torch.equal(getattr(again, name), getattr(tracks, name)) for name in tracks.arrays())


def test_only_visible_tracks_are_drawn() -> None:
    pictures = np.zeros((3, 40, 40, 4), np.uint8)
    positions = np.array([[[0.2, 0.2], [0.7, 0.7]], [[0.3, 0.2], [0.7, 0.6]], [[0.4, 0.2], [0.7, 0.5]]])
    confidence = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    drawn = list(draw_tracks(pictures, positions, confidence, 0))
    assert [image.shape for image in drawn] == [(40, 40, 3)] * 3
    grey = drawn[2][39, 39]
    assert not (drawn[2][8, 8:17] == grey).all()  # the path of the first point
    assert (drawn[2][20, 25:32] == grey).all()  # the second is lost
    assert not (drawn[1][24, 25:32] == grey).all()


def test_an_object_without_vertices_in_view_needs_no_tracks() -> None:
    triangle = Mesh(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1e-9, 0.0]]), torch.tensor([[0, 1, 2]]))
    views = TrackingViews.around([triangle], 0, torch.eye(4), 8.0, 2)
    points, at_window = sample_visible_points(
        views.to_view_space(triangle), views.cameras[0], 16, 10, torch.Generator()
    )
    assert len(points.faces) == len(at_window) == 0
