"""Outlines held against each other: their pixels, where a known shift is found, and what is not believed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from registration.correspondences.appearance_model import AppearanceModel, RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.motion_consensus import MotionConsensus
from registration.correspondences.outline import (
    flow_consistency,
    outline_constraints,
    outline_pixels,
    subsampled,
)
from registration.correspondences.photometric_flow import AppearanceFlow
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera, image_fractions
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh

CAMERA, SIZE = Camera.identity(), 160


@pytest.fixture(scope="module")
def body() -> Mesh:
    return at(speckled(3), 0.0)


def shifted(mesh: Mesh, right: float, down: float) -> Mesh:
    """Shifted by pixels of the frame, along rays."""
    pixel = 2 * math.tan(CAMERA.fov / 2) / SIZE
    vertices = mesh.vertices.clone()
    vertices[:, :2] += torch.tensor([right, down]) * pixel * vertices[:, 2:]
    return mesh.with_vertices(vertices)


def seen_in(mesh: Mesh, frame: Frame) -> RenderedPose:
    return AppearanceModel(mesh).render(mesh.vertices, ImageWindow.of(frame, CAMERA, 192, [mesh.vertices]))


def residuals(found: Constraints, mesh: Mesh, pose: torch.Tensor) -> np.ndarray:
    """(N,) pixels of the frame across the outline."""
    places = image_fractions(CAMERA, found.points.on(pose, mesh.faces)).double().numpy()
    return np.linalg.norm(np.einsum("nij,nj->ni", found.sqrt_information, places - found.targets), axis=1) * SIZE


def confidences(found: Constraints) -> np.ndarray:
    return np.square(found.sqrt_information).sum((1, 2))


def test_outline_pixels_are_those_inside_with_a_neighbour_outside() -> None:
    inside = np.random.default_rng(0).random((30, 40)) > 0.4
    padded = np.pad(inside, 1, mode="edge")
    core = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rows, columns = outline_pixels(inside)
    assert {*zip(rows.tolist(), columns.tolist(), strict=True)} == {*map(tuple, np.argwhere(inside & ~core).tolist())}


def test_the_pictures_edge_is_no_outline() -> None:
    inside = np.zeros((20, 20), bool)
    inside[:, :10] = True  # cut by three edges of the picture
    rows, columns = outline_pixels(inside)
    assert rows.tolist() == list(range(20))
    assert set(columns.tolist()) == {9}


@pytest.mark.parametrize("limit", [1000, 100, 10])
def test_subsampled_pixels_are_some_of_the_given_spread_evenly(limit: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    rows, columns = ((50 + 40 * part(angle)).astype(int) for part in (np.sin, np.cos))
    few = np.stack(subsampled(rows, columns, limit), 1)
    assert len(few) <= min(limit, 400)
    assert len(few) > 0.4 * min(limit, 400)
    every = np.stack([rows, columns], 1)
    assert cKDTree(every).query(few)[0].max() == 0
    assert cKDTree(few).query(every)[0].max() < 3 * 2 * np.pi * 40 / len(few)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, 0.0), (-2.0, 2.0)])
def test_points_are_pulled_onto_the_frames_outline(body: Mesh, shift: tuple[float, float]) -> None:
    truth = shifted(body, *shift)
    found = outline_constraints(seen_in(body, photographed(truth, 1, SIZE)), 200, search_radius=12.0)
    assert 50 < len(found) <= 400
    assert np.median(residuals(found, body, truth.vertices)) < 0.25
    before = np.median(residuals(found, body, body.vertices))
    length = float(np.hypot(*shift))
    assert before < 0.15 if length == 0 else 0.3 * length < before < length


def test_a_frame_without_object_and_a_pose_out_of_sight_give_nothing(body: Mesh) -> None:
    empty = Frame("0", 0, np.zeros((SIZE, SIZE, 4), np.uint8))
    assert len(outline_constraints(seen_in(body, empty), 200, 12.0)) == 0
    seen = seen_in(body, photographed(body, 0, SIZE))
    hidden = replace(seen, rast=np.zeros_like(seen.rast), mask=np.zeros_like(seen.mask))
    assert len(outline_constraints(hidden, 200, 12.0)) == 0


def test_an_outline_beyond_the_reach_is_not_found(body: Mesh) -> None:
    seen = seen_in(body, photographed(shifted(body, 12.0, 0.0), 1, SIZE))
    near, far = (outline_constraints(seen, 200, reach, match_unexplained=False) for reach in (4.0, 40.0))
    across = [residuals(found, body, body.vertices) for found in (near, far)]
    assert across[0].max(initial=0) < 4.5  # the view has more pixels than the frame
    assert across[1].max() > 6
    assert confidences(far).sum() > 2 * confidences(near).sum()


def test_an_unexplained_outline_pulls_only_where_it_is_asked_to(body: Mesh) -> None:
    """A limb of the frame that the pose has not: the nearest points of like direction are pulled there."""
    frame = photographed(body, 0, SIZE)
    rows, columns = np.nonzero(frame.rgba[..., 3] > 127)
    middle = int(columns.mean())
    frame.rgba[rows.min() - 7 : rows.min() + 4, middle - 9 : middle + 9] = 255
    seen = seen_in(body, frame)
    alone, pulled = (outline_constraints(seen, 200, 10.0, match_unexplained=matched) for matched in (False, True))
    assert len(pulled) > len(alone)
    extra = slice(len(alone), None)
    assert (pulled.targets[extra, 1] * SIZE < rows.min() + 2).all()
    assert (confidences(pulled)[extra] <= 0.3 + 1e-9).all()


def flow_of(seen: RenderedPose, way: tuple[float, float], trust: float) -> AppearanceFlow:
    shape = seen.mask.shape
    flow = np.broadcast_to(np.float32(way), (*shape, 2)).copy()
    zeros = np.zeros(shape, np.float32)
    return AppearanceFlow(seen, zeros, flow, np.full(shape, trust, np.float32), zeros)


def test_paint_that_goes_another_way_takes_an_outlines_confidence(body: Mesh) -> None:
    seen = seen_in(body, photographed(shifted(body, 4.0, 0.0), 1, SIZE))
    plain = confidences(outline_constraints(seen, 200, 12.0, match_unexplained=False)).sum()

    def total(way: tuple[float, float], trust: float) -> float:
        return confidences(
            outline_constraints(seen, 200, 12.0, match_unexplained=False, appearance_flow=flow_of(seen, way, trust))
        ).sum()

    scale = seen.view.pixel[0] * SIZE  # pixels of the frame to one of the view
    agreeing, contrary = total((4.0 / scale, 0.0), 1.0), total((-8.0 / scale, 0.0), 1.0)
    assert total((-8.0, 0.0), 0.0) == pytest.approx(plain)  # paint that is not trusted says nothing
    assert contrary < 0.5 * agreeing
    assert agreeing > 0.7 * plain


def test_flow_consistency_is_one_for_the_shown_way_and_falls_with_the_difference(body: Mesh) -> None:
    seen = seen_in(body, photographed(body, 0, SIZE))
    rows, columns = outline_pixels(seen.mask > 0.5)
    start = np.stack([columns, rows], 1) + 0.5
    outward = start - start.mean(0)
    normals = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    assert (flow_consistency(None, start, normals, normals) == 1).all()
    flow = flow_of(seen, (5.0, 0.0), 1.0)
    found = [flow_consistency(flow, start, normals, np.tile([length, 0.0], (len(start), 1))) for length in (5, 8, 15)]
    np.testing.assert_allclose(found[0], 1, atol=1e-6)
    assert (found[1] < found[0]).all()
    assert (found[2] < found[1]).all()


def test_neighbours_that_stand_still_take_an_outlines_confidence(body: Mesh) -> None:
    seen = seen_in(body, photographed(shifted(body, 5.0, 0.0), 1, SIZE))
    places = seen.positions(*np.nonzero(seen.rast[..., 3] > 0))
    still = MotionConsensus(
        cKDTree(places / seen.object_size), np.zeros((len(places), 2)), np.ones(len(places)), seen.object_size
    )
    plain = confidences(outline_constraints(seen, 200, 14.0, match_unexplained=False)).sum()
    held = confidences(outline_constraints(seen, 200, 14.0, match_unexplained=False, consensus=still)).sum()
    assert held < 0.6 * plain
