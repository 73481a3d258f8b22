"""Pose of a mesh in the first frame: segmentation into limbs, search for their rotations, and the whole fit."""

import math

import numpy as np
import pytest
import torch
import trimesh

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import DeformationGraph
from registration.video.first_frame import FirstFrameFit, fit_first_frame
from registration.video.limb_search import PoseComparison, search_limbs
from registration.video.limbs import find_limbs, points_in_ball
from v2m4.camera import Camera, image_fractions
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.geometry import chamfer, unique_edges
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.rotation import rotation_exp

CONFIG = VideoTrackingConfig(nodes=80, size=160, points=500)
CAMERA = Camera.identity()
SHOULDER = np.array([0.18, -0.1, 2.4])
RAISED = 2.0  # angle of the raised arm, radians


def make_figure(angle: float = 0.0) -> Mesh:
    """A body with a head, two legs and two arms, each a component of its own, in camera space (y down).

    Args:
        angle: by which one arm is raised, radians.
    """
    parts = [  # length, radius, centre, rotation about the upper end, colour
        (0.3, 0.13, (0, 0), 0.0, (0.9, 0.5, 0.1)),
        (0.05, 0.11, (0, -0.38), 0.0, (0.9, 0.8, 0.6)),
        (0.3, 0.05, (-0.07, 0.46), 0.0, (0.2, 0.3, 0.8)),
        (0.3, 0.05, (0.07, 0.46), 0.0, (0.2, 0.3, 0.8)),
        (0.3, 0.045, (-0.18, 0.05), 0.4, (0.1, 0.6, 0.2)),
        (0.3, 0.045, (0.18, 0.05), -0.4 - angle, (0.8, 0.1, 0.4)),
    ]
    vertices, faces, colors = [], [], []
    for length, radius, centre, rotation, color in parts:
        part = trimesh.creation.capsule(length, radius, count=[8, 8])
        part.apply_translation((0, 0, -part.bounds.mean(0)[2]))
        part.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (1, 0, 0)))
        part = part.subdivide_to_size(0.1)
        part.apply_translation((*centre, SHOULDER[2]))
        if rotation:
            end = (centre[0], centre[1] - length / 2, SHOULDER[2])
            part.apply_transform(trimesh.transformations.rotation_matrix(rotation, (0, 0, 1), end))
        faces.append(part.faces + sum(len(other) for other in vertices))
        vertices.append(part.vertices)
        colors.append(np.tile(color, (len(part.vertices), 1)))
    return Mesh(
        torch.from_numpy(np.concatenate(vertices)).float(),
        torch.from_numpy(np.concatenate(faces)).long(),
        colors=torch.from_numpy(np.concatenate(colors)).float(),
    )


def photographed(mesh: Mesh, size: int = 256) -> Frame:
    with torch.no_grad():
        rendering = render_mesh(mesh, CAMERA, size, channels=("color", "mask"))
    rgba = torch.cat([rendering.color / rendering.mask.clamp_min(1e-3), rendering.mask], -1)[0].clamp(0, 1)
    return Frame("0", 0, (rgba * 255).round().to(torch.uint8).numpy())


def edge_lengths(mesh: Mesh, vertices: torch.Tensor) -> torch.Tensor:
    first, second = vertices[unique_edges(mesh.faces).long()].unbind(1)
    return (first - second).norm(dim=1)


@pytest.fixture(scope="module")
def figure() -> Mesh:
    return make_figure()


@pytest.fixture(scope="module")
def graph(figure) -> DeformationGraph:
    return DeformationGraph.of(figure.vertices, figure.faces, CONFIG.nodes)


def compared_with(graph, figure, frame) -> PoseComparison:
    pose = figure.vertices
    appearance = AppearanceModel.of(figure, pose, ImageWindow.of(frame, CAMERA, 96, [pose]))
    return PoseComparison.of(graph, pose, appearance, ImageWindow.of(frame, CAMERA, 48, [pose]))


def test_arms_and_legs_are_limbs_with_pivots_at_their_upper_ends(graph, figure):
    label = trimesh.graph.connected_component_labels(unique_edges(figure.faces).numpy(), len(figure.vertices))
    part = label[graph.nodes]
    limbs = find_limbs(graph)
    for index in np.unique(label[[int(figure.vertices[:, 0].argmin()), int(figure.vertices[:, 0].argmax())]]):
        matching = [limb for limb in limbs if (limb.nodes == (part == index)).all()]
        assert matching, f"part {index}"
        inside = graph.centres[part == index]
        assert matching[0].pivot(graph, graph.rest_poses())[1] < np.quantile(inside[:, 1], 0.4)


def test_a_rotated_limb_is_rigid_and_its_pivot_fixed(graph):
    limb = find_limbs(graph)[0]
    rotations = rotation_exp(np.array([[0.0, 0.0, 0.0], [0.3, -0.9, 0.4]]))
    poses = limb.rotated(graph, graph.rest_poses(), rotations)
    np.testing.assert_allclose(poses.positions[0], graph.centres, atol=1e-12)
    np.testing.assert_allclose(poses.positions[1, ~limb.nodes], graph.centres[~limb.nodes], atol=1e-12)
    pivot = limb.pivot(graph, graph.rest_poses())
    offsets, rotated = graph.centres[limb.nodes] - pivot, poses.positions[1, limb.nodes] - pivot
    np.testing.assert_allclose(rotated, offsets @ rotations[1].T, atol=1e-12)
    np.testing.assert_allclose(limb.pivot(graph, poses[[1]]), pivot, atol=1e-12)


def test_candidate_rotations_cover_all_directions(graph):
    limb, rest = find_limbs(graph)[0], graph.rest_poses()
    direction = graph.centres[limb.nodes].mean(0) - limb.pivot(graph, rest)
    vectors = limb.candidate_rotations(graph, rest)
    assert np.linalg.norm(vectors, axis=1).max() < math.pi + 1e-9
    candidates = rotation_exp(vectors) @ (direction / np.linalg.norm(direction))
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.arccos((directions @ candidates.T).max(1).clip(-1, 1)).max() < 0.5


def test_points_in_ball_are_evenly_distributed():
    points = points_in_ball(500, 2.0)
    radius = np.linalg.norm(points, axis=1)
    assert points.shape == (500, 3)
    assert radius.max() <= 2.0
    assert (radius < 2.0 * 0.5 ** (1 / 3)).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(points.mean(0)).max() < 0.1


def test_errors_of_rotated_limbs_are_those_of_the_rotated_poses(graph, figure):
    compare = compared_with(graph, figure, photographed(make_figure(0.6)))
    limb = max(find_limbs(graph), key=lambda limb: limb.nodes.sum())
    rotations = rotation_exp(points_in_ball(5, 1.5))
    direct = compare(limb.rotated(graph, graph.rest_poses(), rotations))
    np.testing.assert_allclose(compare.rotated_limb_errors(graph.rest_poses(), limb, rotations), direct, atol=1e-4)
    assert np.ptp(direct) > 0.01


def test_limb_search_finds_a_raised_arm(graph, figure):
    truth = make_figure(RAISED)
    compare = compared_with(graph, figure, photographed(truth))
    limbs = find_limbs(graph)
    best, again = (search_limbs(compare, limbs, graph.rest_poses())[0] for _ in range(2))
    assert np.array_equal(best.poses.positions, again.poses.positions)
    assert best.rotated_limbs
    assert best.error < 0.5 * float(compare(graph.rest_poses())[0])
    vertices = torch.from_numpy(graph.deform(best.poses)[0])
    assert (vertices - truth.vertices).norm(dim=1).max() < 0.25


@pytest.fixture(scope="module")
def fitted(figure) -> FirstFrameFit:
    return fit_first_frame(figure, photographed(make_figure(RAISED)), CONFIG)


def test_a_raised_arm_is_fitted(figure, fitted):
    truth = make_figure(RAISED)
    assert fitted.rotated_limbs > 0
    assert fitted.errors[1] < 0.4 * fitted.errors[0]
    # The arm is round and of one colour: rotation about its own axis and depth are not observable.
    result, expected, before = (
        image_fractions(CAMERA, pose) for pose in (fitted.vertices, truth.vertices, figure.vertices)
    )
    assert chamfer(result, expected, squared=False) < 0.3 * chamfer(before, expected, squared=False)
    assert (fitted.vertices - truth.vertices)[:, 2].abs().max() < 0.3
    ratio = edge_lengths(figure, fitted.vertices) / edge_lengths(figure, figure.vertices)
    assert torch.quantile((ratio - 1).abs(), 0.99) < 0.1


def test_a_correct_pose_is_unchanged(figure):
    result = fit_first_frame(figure, photographed(figure), CONFIG)
    assert result.rotated_limbs == 0
    assert torch.equal(result.vertices, figure.vertices)


def test_a_mesh_without_faces_is_refused(figure):
    with pytest.raises(ValueError, match="no faces"):
        fit_first_frame(Mesh(figure.vertices, figure.faces[:0], colors=figure.colors), photographed(figure), CONFIG)
