import numpy as np
import pytest
import torch
import trimesh

from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.connectivity import component_connections
from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.flow_propagation import lift_to_surface, propagate
from registration.keyframes.nonrigid_icp import TargetSurface, VertexTargets, nonrigid_icp
from registration.keyframes.template import Template, VisiblePoints
from tests.registration.shapes import bent, painted, photographed, tensors
from v2m4.camera import Camera
from v2m4.config import FAST
from v2m4.mesh import Mesh
from v2m4.optical_flow import flow_between, track

AWAY = torch.tensor([0.0, 0.0, 3.0])


def rms(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).square().sum(1).mean().sqrt())


def test_a_pose_on_the_surface_is_unchanged(capsule) -> None:
    vertices, faces = capsule
    arap, surface = (
        Arap(shape_graph(vertices, faces, 0.5)),
        TargetSurface(Mesh(vertices, faces), 1.0, 4000, torch.Generator().manual_seed(0)),
    )
    icp_fit = nonrigid_icp(vertices, faces, arap, surface, 5)
    assert rms(icp_fit.vertices, vertices) < 2e-3
    assert icp_fit.residual[-1] < 1e-3
    assert icp_fit.stretch[-1] < 1e-3


def test_a_bent_body_is_registered_without_stretching(capsule) -> None:
    vertices, faces = capsule
    target = bent(vertices, 0.8)
    order = torch.randperm(len(vertices), generator=torch.Generator().manual_seed(1))
    mesh = Mesh(target[order], torch.argsort(order)[faces])
    icp_fit = nonrigid_icp(
        vertices,
        faces,
        Arap(shape_graph(vertices, faces, 0.5)),
        TargetSurface(mesh, 1.0, 4000, torch.Generator().manual_seed(0)),
        30,
    )
    assert rms(vertices, target) > 0.04
    assert rms(icp_fit.vertices, target) < 0.025  # it may spin about its length
    assert icp_fit.residual[-1] < 2e-3
    assert icp_fit.stretch[-1] < 0.02


def test_a_pose_comes_as_near_to_the_surface_as_trimeshs_nonrigid_icp_and_slides_less() -> None:
    """Amberg's method, as trimesh has it, is the oracle; distances are to the target's triangles."""
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=2, radius=0.15))
    vertices[:, 1] *= 0.5 / 0.15
    target = bent(vertices, 0.8)
    source, goal = (trimesh.Trimesh(points.numpy(), faces.numpy(), process=False) for points in (vertices, target))
    steps = [[0.02, 3, 0.5, 10], [0.007, 3, 0.5, 10], [0.002, 0, 0.0, 10]]
    amberg = trimesh.registration.nricp_amberg(source, goal, use_faces=False, use_vertex_normals=True, steps=steps)
    surface = TargetSurface(Mesh(target, faces), 1.0, 4000, torch.Generator().manual_seed(0))
    ours = nonrigid_icp(vertices, faces, Arap(shape_graph(vertices, faces, 0.5)), surface, 30).vertices.numpy()

    def distance_from_surface(points: np.ndarray) -> float:
        triangles = np.tile(goal.triangles, (len(points), 1, 1))
        queries = np.repeat(points, len(goal.triangles), 0)
        closest = trimesh.triangles.closest_point(triangles, queries)
        distance = np.linalg.norm(closest - queries, axis=1).reshape(len(points), -1).min(1)
        return float(np.sqrt(np.square(distance).mean()))

    def tangential_error(points: np.ndarray) -> float:
        return float(np.linalg.norm(points - target.numpy(), axis=1).mean())

    assert distance_from_surface(vertices.numpy()) > 0.02
    assert distance_from_surface(ours) < max(1.5 * distance_from_surface(amberg), 5e-4)
    assert tangential_error(ours) < 0.7 * tangential_error(amberg)


def test_the_target_surface_lies_on_the_mesh(capsule) -> None:
    vertices, faces = capsule
    surface = TargetSurface(Mesh(vertices, faces), 1.0, 50, torch.Generator().manual_seed(0))
    corners = vertices[faces].double().numpy()
    for point, normal in zip(surface.points, surface.normals, strict=True):
        closest = trimesh.triangles.closest_point(corners, np.tile(point, (len(corners), 1)))
        distance = np.linalg.norm(closest - point, axis=1)
        assert distance.min() < 1e-6
        own = trimesh.triangles.normals(corners[distance < 1e-6])[0]
        assert (own @ normal).max() > 0.999


def test_another_body_leaves_a_residual_or_a_stretch(capsule) -> None:
    vertices, faces = capsule
    fat = Mesh(vertices * torch.tensor([2.2, 1.0, 2.2]), faces)
    icp_fit = nonrigid_icp(
        vertices,
        faces,
        Arap(shape_graph(vertices, faces, 0.5)),
        TargetSurface(fat, 1.0, 4000, torch.Generator().manual_seed(0)),
        30,
    )
    options = FAST.registration
    assert icp_fit.residual[-1] > options.trusted_residual or icp_fit.stretch[-1] > options.trusted_stretch


def test_vertex_targets_determine_the_rotation_of_a_ball(sphere) -> None:
    vertices, faces = sphere
    rotation = torch.tensor(trimesh.transformations.rotation_matrix(0.4, [0, 1, 0])[:3, :3], dtype=torch.float32)
    target = vertices @ rotation.T
    arap, surface = (
        Arap(shape_graph(vertices, faces, 0.0)),
        TargetSurface(Mesh(target, faces), 1.0, 4000, torch.Generator().manual_seed(0)),
    )
    index = np.arange(0, len(vertices), 5)
    vertex_targets = VertexTargets(index, target[index].double().numpy(), np.full(len(index), 10.0))
    assert rms(nonrigid_icp(vertices, faces, arap, surface, 20).vertices, target) > 0.1
    assert rms(nonrigid_icp(vertices, faces, arap, surface, 20, vertex_targets=vertex_targets).vertices, target) < 0.03


@pytest.fixture(scope="module")
def moving(capsule):
    """A body that goes to the right and away, in three pictures, and the true poses."""
    vertices, faces = capsule
    rest = painted(vertices + AWAY, faces)
    poses = [rest.vertices + step * torch.tensor([0.06, 0.0, 0.05]) for step in range(3)]
    frames = [photographed(rest.with_vertices(pose), index) for index, pose in enumerate(poses)]
    return Template.of(rest, 1.0, FAST.registration), poses, frames, [flow_between(*frames[i : i + 2]) for i in (0, 1)]


def test_flow_propagation_reaches_the_true_pose_in_both_directions_of_time(moving) -> None:
    template, poses, frames, flows = moving
    for start, stop in ((0, 2), (2, 0)):
        found = propagate(poses[start], template, frames, flows, start, stop, 160)
        assert len(found) == 2
        ours, true = (template.camera.project(pose, (160, 160))[0][0] for pose in (found[-1], poses[stop]))
        before = template.camera.project(poses[start], (160, 160))[0][0]
        assert rms(before, true) > 4
        assert rms(ours, true) < 1.5


def test_lifted_tracks_have_the_true_depth(moving) -> None:
    template, poses, frames, flows = moving
    visible = VisiblePoints.of(poses[0], template, frames[0], 160)
    index = visible.index.numpy()
    tracks = track(visible.pixels.double().numpy(), 0, 2, flows)
    vertex_targets = lift_to_surface(tracks, index, template.mesh.with_vertices(poses[2]), Camera.identity(), 320)
    assert len(vertex_targets.index) > 0.5 * len(index)
    error = np.linalg.norm(vertex_targets.points - poses[2][vertex_targets.index].double().numpy(), axis=1)
    assert np.median(error) < 0.015


def test_connections_join_all_components_and_one_component_has_none(sphere) -> None:
    vertices, faces = sphere
    assert len(component_connections(vertices, faces)) == 0
    places = [[0, 0, 0], [1.1, 0, 0], [2.2, 0, 0], [0, 5, 0]]
    spheres = [trimesh.creation.icosphere(1, 0.5).apply_translation(place) for place in places]
    vertices, faces = tensors(trimesh.util.concatenate(spheres))
    connections = component_connections(vertices, faces, max_connections=4)
    component = connections // (len(vertices) // 4)
    assert (component[:, 0] != component[:, 1]).all()
    assert {tuple(pair) for pair in component} == {(0, 1), (1, 2), (0, 3)}
    graph = shape_graph(vertices, faces, 0.0, connections)
    constant = graph.laplacian() @ np.ones(len(vertices))
    assert np.abs(constant).max() < 1e-9
    assert len(np.flatnonzero(np.linalg.eigvalsh(graph.laplacian().toarray()) < 1e-8)) == 1


def test_a_hand_beside_a_thigh_is_not_connected_to_it() -> None:
    sizes = [(0.2, 0.4, 0.2), (0.1, 0.5, 0.1), (0.1, 0.5, 0.1)]  # body, arm and leg
    places = [(0, 0.2, 0), (0.16, 0.1, 0), (0, -0.26, 0)]
    boxes = [trimesh.creation.box(size).subdivide().subdivide() for size in sizes]
    for box, place in zip(boxes, places, strict=True):
        box.apply_translation(place)
    connections = component_connections(*tensors(trimesh.util.concatenate(boxes)))
    component = np.repeat(np.arange(3), [len(box.vertices) for box in boxes])
    assert {tuple(pair) for pair in np.sort(component[connections], 1).tolist()} == {(0, 1), (0, 2)}


def test_large_steps_spread_across_connections() -> None:
    vertices, faces = tensors(
        trimesh.util.concatenate(
            [trimesh.creation.icosphere(1, 0.5), trimesh.creation.icosphere(1, 0.5).apply_translation([1.1, 0, 0])]
        )
    )
    half = len(vertices) // 2
    step = torch.zeros_like(vertices)
    step[:half] = 1.0
    connections = torch.from_numpy(component_connections(vertices, faces))
    alone = LargeSteps(faces, len(vertices), 20.0).from_differential(step)
    joined = LargeSteps(faces, len(vertices), 20.0, connections=connections).from_differential(step)
    assert float(alone[half:].abs().max()) < 1e-5
    assert float(joined[half:].min()) > 0.05
