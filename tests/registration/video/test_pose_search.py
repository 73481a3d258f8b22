"""Search for the pose of a frame that tracking does not explain."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.observer import Observer
from registration.video.pose_search import PoseSearch, rigid_motions, shifts_to_box
from registration.video.tracker import track_mesh
from registration.video.tuning import TUNING
from tests.registration.moving_shapes import AWAY, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera, image_fractions
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.rotation import rotation_exp

CONFIG = VideoTrackingConfig(nodes=30, size=128, points=400, rounds=2, passes=1, window=48)
TURN = rotation_exp(np.array([[0.3, 1.1, 0.5]]))[0]  # 1.25 radians


def turned(mesh: Mesh, rotation: np.ndarray, shift: tuple[float, float, float]) -> Mesh:
    """The mesh rotated about its middle, then translated."""
    middle = mesh.vertices.mean(0)
    rotated = (mesh.vertices - middle) @ torch.from_numpy(rotation).float().T + middle
    return mesh.with_vertices(rotated + torch.tensor(shift))


@pytest.fixture(scope="module")
def body() -> Mesh:
    """An ellipsoid whose six sides have colours of their own, finely speckled."""
    mesh = speckled(3)
    sides = torch.sigmoid(8 * mesh.vertices)
    return replace(mesh, vertices=mesh.vertices + AWAY, colors=0.25 * mesh.colors + 0.75 * sides)


@pytest.fixture(scope="module")
def frames(body: Mesh) -> list[Frame]:
    """The body, and the body after a rotation that no flow follows."""
    return [photographed(body, 0), photographed(turned(body, TURN, (0.1, 0.05, 0.0)), 1)]


@pytest.fixture(scope="module")
def graph(body: Mesh) -> DeformationGraph:
    return DeformationGraph.of(body.vertices, body.faces, CONFIG.nodes)


@pytest.fixture(scope="module")
def search(body: Mesh, frames: list[Frame], graph: DeformationGraph) -> PoseSearch:
    return PoseSearch(Observer(frames, body, CONFIG), graph)


def test_shifted_vertices_fill_the_box_of_the_object(body: Mesh) -> None:
    target = body.vertices + torch.tensor([0.2, -0.1, 0.05])
    camera = Camera.identity()
    view = ImageWindow.of(photographed(body.with_vertices(target), 0, 512), camera, 64, [target])
    shift = shifts_to_box(body.vertices[None].double().numpy(), view)[0]
    moved = image_fractions(camera, body.vertices + torch.from_numpy(shift).float())
    box = torch.cat([moved.amin(0), moved.amax(0)])
    assert torch.allclose(box, torch.tensor(view.box).float(), atol=0.006)


def test_a_change_of_distance_is_bounded(body: Mesh) -> None:
    view = ImageWindow.of(photographed(body, 0, 512), Camera.identity(), 64, [body.vertices])
    far = body.vertices[None].double().numpy() + np.array([0.0, 0.0, 3.0])
    depth = far[..., 2].mean()
    assert shifts_to_box(far, view)[0, 2] == pytest.approx(depth * (1 / TUNING.max_size_ratio - 1), rel=1e-6)


def test_rotation_of_the_whole_body_is_found(search: PoseSearch, graph: DeformationGraph) -> None:
    rest = graph.rest_poses()
    comparison = search.comparison(1, rest)
    found = rigid_motions(comparison, rest, TUNING.rigid_hypotheses)
    errors = [float(comparison(pose)[0]) for pose in found]
    best = found[int(np.argmin(errors))].rotations[0, 0]
    angle = math.acos(min((np.trace(best.T @ TURN) - 1) / 2, 1.0))
    assert angle < 0.25
    assert min(errors) < 0.5 * float(comparison(rest)[0])


def test_pose_that_explains_the_frame_is_kept(search: PoseSearch, graph: DeformationGraph) -> None:
    rest = graph.rest_poses()

    def fit(pose: Poses) -> Poses:
        raise AssertionError("nothing is to be fitted")

    assert search.improved(0, rest, rest, fit) is rest


def test_empty_frame_is_not_searched(search: PoseSearch, graph: DeformationGraph, body: Mesh) -> None:
    empty = replace(photographed(body, 1), picture=np.zeros((160, 160, 4), np.uint8))
    blind = PoseSearch(Observer([photographed(body, 0), empty], body, CONFIG), graph)
    rest = graph.rest_poses()
    assert blind.improved(1, rest, rest, lambda pose: pose) is rest


def test_tracking_follows_a_body_that_rotates_far_between_two_frames(body: Mesh, frames: list[Frame]) -> None:
    result = track_mesh(frames, body, CONFIG)
    truth = turned(body, TURN, (0.1, 0.05, 0.0)).vertices
    error = (result.vertices[1] - truth).norm(dim=1).mean()
    assert float(error) < 0.15 * float((body.vertices - truth).norm(dim=1).mean())
    assert not result.quality.frames[1].lost
