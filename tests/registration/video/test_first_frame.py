import math

import numpy as np
import pytest
import torch
import trimesh

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import DeformationGraph
from registration.video.first_frame import FirstFrame, fit_first_frame
from registration.video.limb_search import Comparison, search_limbs
from registration.video.limbs import ball, find_limbs
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
UP = 2.0  # radians that the arm is raised by


def make_figure(angle: float = 0.0) -> Mesh:
    """A body with a head, two legs and two arms, each a part of its own, in camera space (y down), one arm raised."""
    parts = [  # length, radius, place of the middle, turn about the upper end, colour
        (0.3, 0.13, (0, 0), 0.0, (0.9, 0.5, 0.1)),
        (0.05, 0.11, (0, -0.38), 0.0, (0.9, 0.8, 0.6)),
        (0.3, 0.05, (-0.07, 0.46), 0.0, (0.2, 0.3, 0.8)),
        (0.3, 0.05, (0.07, 0.46), 0.0, (0.2, 0.3, 0.8)),
        (0.3, 0.045, (-0.18, 0.05), 0.4, (0.1, 0.6, 0.2)),
        (0.3, 0.045, (0.18, 0.05), -0.4 - angle, (0.8, 0.1, 0.4)),
    ]
    vertices, faces, colors = [], [], []
    for length, radius, place, turn, color in parts:
        part = trimesh.creation.capsule(length, radius, count=[8, 8])
        part.apply_translation((0, 0, -part.bounds.mean(0)[2]))
        part.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (1, 0, 0)))
        part = part.subdivide_to_size(0.1)
        part.apply_translation((*place, SHOULDER[2]))
        if turn:
            end = (place[0], place[1] - length / 2, SHOULDER[2])
            part.apply_transform(trimesh.transformations.rotation_matrix(turn, (0, 0, 1), end))
        faces.append(part.faces + sum(len(other) for other in vertices))
        vertices.append(part.vertices)
        colors.append(np.tile(color, (len(part.vertices), 1)))
    return Mesh(
        torch.from_numpy(np.concatenate(vertices)).float(),
        torch.from_numpy(np.concatenate(faces)).long(),
        colors=torch.from_numpy(np.concatenate(colors)).float(),
    )


def photograph(mesh: Mesh, size: int = 256) -> Frame:
    with torch.no_grad():
        seen = render_mesh(mesh, CAMERA, size, channels=("color", "mask"))
    rgba = torch.cat([seen.color / seen.mask.clamp_min(1e-3), seen.mask], -1)[0].clamp(0, 1)
    return Frame("0", 0, (rgba * 255).round().to(torch.uint8).numpy())


def lengths(mesh: Mesh, vertices: torch.Tensor) -> torch.Tensor:
    first, second = vertices[unique_edges(mesh.faces).long()].unbind(1)
    return (first - second).norm(dim=1)


@pytest.fixture(scope="module")
def figure() -> Mesh:
    return make_figure()


@pytest.fixture(scope="module")
def graph(figure) -> DeformationGraph:
    return DeformationGraph.of(figure.vertices, figure.faces, CONFIG.nodes)


def comparison(graph, figure, frame) -> Comparison:
    pose = figure.vertices
    appearance = AppearanceModel.of(figure, pose, ImageWindow.of(frame, CAMERA, 96, [pose]))
    return Comparison.of(graph, pose, appearance, ImageWindow.of(frame, CAMERA, 48, [pose]))


def test_arms_and_legs_are_limbs_and_turn_about_their_joints(graph, figure):
    label = trimesh.graph.connected_component_labels(unique_edges(figure.faces).numpy(), len(figure.vertices))
    part = label[graph.nodes]
    limbs = find_limbs(graph)
    for index in np.unique(label[[int(figure.vertices[:, 0].argmin()), int(figure.vertices[:, 0].argmax())]]):
        fits = [limb for limb in limbs if (limb.nodes == (part == index)).all()]
        assert fits, f"part {index}"
        inside = graph.centres[part == index]
        assert fits[0].joint(graph, graph.rest_poses())[1] < np.quantile(inside[:, 1], 0.4)


def test_a_turned_limb_is_rigid_and_its_joint_stays(graph):
    limb = find_limbs(graph)[0]
    rotations = rotation_exp(np.array([[0.0, 0.0, 0.0], [0.3, -0.9, 0.4]]))
    poses = limb.turned(graph, graph.rest_poses(), rotations)
    np.testing.assert_allclose(poses.positions[0], graph.centres, atol=1e-12)
    np.testing.assert_allclose(poses.positions[1, ~limb.nodes], graph.centres[~limb.nodes], atol=1e-12)
    joint = limb.joint(graph, graph.rest_poses())
    offsets, turned = graph.centres[limb.nodes] - joint, poses.positions[1, limb.nodes] - joint
    np.testing.assert_allclose(turned, offsets @ rotations[1].T, atol=1e-12)
    np.testing.assert_allclose(limb.joint(graph, poses[[1]]), joint, atol=1e-12)


def test_swings_look_all_round(graph):
    limb, still = find_limbs(graph)[0], graph.rest_poses()
    along = graph.centres[limb.nodes].mean(0) - limb.joint(graph, still)
    swings = limb.swings(graph, still)
    assert np.linalg.norm(swings, axis=1).max() < math.pi + 1e-9
    there = rotation_exp(swings) @ (along / np.linalg.norm(along))
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.arccos((directions @ there.T).max(1).clip(-1, 1)).max() < 0.5


def test_the_ball_is_filled_evenly():
    points = ball(500, 2.0)
    radius = np.linalg.norm(points, axis=1)
    assert points.shape == (500, 3)
    assert radius.max() <= 2.0
    assert (radius < 2.0 * 0.5 ** (1 / 3)).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(points.mean(0)).max() < 0.1


def test_errors_of_turned_limbs_are_those_of_the_turned_poses(graph, figure):
    compare = comparison(graph, figure, photograph(make_figure(0.6)))
    limb = max(find_limbs(graph), key=lambda limb: limb.nodes.sum())
    rotations = rotation_exp(ball(5, 1.5))
    direct = compare(limb.turned(graph, graph.rest_poses(), rotations))
    np.testing.assert_allclose(compare.turned(graph.rest_poses(), limb, rotations), direct, atol=1e-4)
    assert np.ptp(direct) > 0.01


def test_the_search_finds_a_raised_arm(graph, figure):
    truth = make_figure(UP)
    compare = comparison(graph, figure, photograph(truth))
    limbs = find_limbs(graph)
    best, again = (search_limbs(compare, limbs, graph.rest_poses())[0] for _ in range(2))
    assert np.array_equal(best.poses.positions, again.poses.positions)
    assert best.turned
    assert best.error < 0.5 * float(compare(graph.rest_poses())[0])
    moved = torch.from_numpy(graph.deform(best.poses)[0])
    assert (moved - truth.vertices).norm(dim=1).max() < 0.25


@pytest.fixture(scope="module")
def fit_vertices(figure) -> FirstFrame:
    return fit_first_frame(figure, photograph(make_figure(UP)), CONFIG)


def test_a_raised_arm_is_fitted(figure, fitted):
    truth = make_figure(UP)
    assert fitted.turned > 0
    assert fitted.error[1] < 0.4 * fitted.error[0]
    # The arm is round and plain: the picture does not show how it turns about itself, nor how far it points at us.
    seen, wanted, before = (
        image_fractions(CAMERA, pose) for pose in (fitted.vertices, truth.vertices, figure.vertices)
    )
    assert chamfer(seen, wanted, squared=False) < 0.3 * chamfer(before, wanted, squared=False)
    assert (fitted.vertices - truth.vertices)[:, 2].abs().max() < 0.3
    ratio = lengths(figure, fitted.vertices) / lengths(figure, figure.vertices)
    assert torch.quantile((ratio - 1).abs(), 0.99) < 0.1


def test_a_pose_that_is_right_stays(figure):
    found = fit_first_frame(figure, photograph(figure), CONFIG)
    assert found.turned == 0
    assert torch.equal(found.vertices, figure.vertices)


def test_a_mesh_without_faces_is_refused(figure):
    with pytest.raises(ValueError, match="no faces"):
        fit_first_frame(Mesh(figure.vertices, figure.faces[:0], colors=figure.colors), photograph(figure), CONFIG)
