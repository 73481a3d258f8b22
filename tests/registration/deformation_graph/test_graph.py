"""Laws of the deformation graph: construction, binding, and the factorisation of its normal equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from registration.deformation_graph.block_cholesky import BlockPattern, factorize, multiply, solve_factored
from registration.deformation_graph.graph import DeformationGraph, Poses
from tests.registration.shapes import bent, random_rotation, tensors
from v2m4.surface_points import SurfacePoints

Shape = tuple[Tensor, Tensor]


def boxes(gap: float) -> Shape:
    """Two finely subdivided boxes beside each other, not connected."""
    first = trimesh.creation.box((1.0, 0.2, 0.2)).subdivide().subdivide().subdivide()
    second = first.copy()
    second.apply_translation((0.0, 0.2 + gap, 0.0))
    return tensors(trimesh.util.concatenate([first, second]))


def rigid_motion(graph: DeformationGraph, rotation: np.ndarray, translation: np.ndarray) -> Poses:
    """One pose in which all nodes move by one rigid motion."""
    count = len(graph)
    return Poses(np.tile(rotation, (1, count, 1, 1)), (graph.centres @ rotation.T + translation)[None])


def test_rest_poses_give_the_rest_vertices(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 40)
    assert len(graph) == 40
    assert np.allclose(graph.deform(graph.rest_poses(2)), capsule[0].numpy(), atol=1e-12)
    assert np.allclose(graph.weights.sum(1), 1)


def test_rigid_motion_of_all_nodes_moves_the_mesh_rigidly(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 25)
    rotation, translation = random_rotation(torch.Generator().manual_seed(3)).numpy(), np.array([0.3, -1.0, 2.0])
    assert np.allclose(
        graph.deform(rigid_motion(graph, rotation, translation))[0], graph.rest @ rotation.T + translation
    )


def test_nodes_are_evenly_spread(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 30)
    gaps = np.linalg.norm(graph.centres[:, None] - graph.centres[None], axis=2) + 9 * np.eye(30)
    assert gaps.min() > 0.25 * np.median(gaps.min(1)) and gaps.min() > 0.05
    # Every vertex has a node within the spacing.
    assert np.linalg.norm(graph.rest[:, None] - graph.centres, axis=2).min(1).max() < 3 * np.median(gaps.min(1))


def test_components_that_touch_share_no_influences() -> None:
    vertices, faces = boxes(gap=0.0)
    graph = DeformationGraph.of(vertices, faces, 40)
    half = len(vertices) // 2
    upper = graph.nodes >= half
    influenced = np.where(graph.influences >= 0, upper[graph.influences], np.arange(len(vertices))[:, None] >= half)
    assert (influenced == (np.arange(len(vertices)) >= half)[:, None]).all()
    # Graph edges join the two, but only along their connections.
    assert 0 < (upper[graph.edges[:, 0]] != upper[graph.edges[:, 1]]).sum() <= 24


def test_limbs_that_touch_share_no_influences() -> None:
    """A strip folded into a U whose arms nearly touch: nodes on one arm do not influence the other."""
    along, across = np.meshgrid(np.linspace(0, 1, 81), np.linspace(-0.02, 0.02, 3), indexing="ij")
    arm = np.where(along < 0.5, along, 1 - along)
    points = np.stack([arm, np.where(along < 0.5, 0.0, 0.01), across], -1).reshape(-1, 3)
    index = np.arange(81 * 3).reshape(81, 3)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    faces = torch.from_numpy(np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))
    graph = DeformationGraph.of(torch.from_numpy(points).float(), faces, 24)
    arc_length = along.ravel()
    far = np.abs(arc_length[graph.nodes][np.maximum(graph.influences, 0)] - arc_length[:, None]) > 0.35
    assert not (far & (graph.weights > 0)).any()
    assert (np.abs(arc_length[graph.nodes[graph.edges]] @ [1, -1]) < 0.35).all()


def test_small_components_share_their_neighbours_nodes() -> None:
    body = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    rivets = [trimesh.creation.box((0.02, 0.02, 0.02)) for _ in range(30)]
    for rivet, position in zip(rivets, body.vertices[::5], strict=False):
        rivet.apply_translation(position)
    vertices, faces = tensors(trimesh.util.concatenate([body, *rivets]))
    graph = DeformationGraph.of(vertices, faces, 20)
    assert len(graph) <= 20
    assert np.allclose(graph.deform(graph.rest_poses())[0], graph.rest)


def test_vertices_without_faces_follow_the_nearest_node() -> None:
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=2))
    vertices = torch.cat([vertices, torch.tensor([[0.0, 0.0, 1.1]])])
    graph = DeformationGraph.of(vertices, faces, 10)
    assert np.allclose(graph.deform(rigid_motion(graph, np.eye(3), np.ones(3)))[0], graph.rest + 1)


def test_a_mesh_without_faces_raises() -> None:
    with pytest.raises(ValueError, match="no faces"):
        DeformationGraph.of(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64), 5)


def test_bound_points_agree_with_deformed_vertices(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 30)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    points = SurfacePoints(
        torch.randint(len(capsule[1]), (50,), generator=generator), weights / weights.sum(1)[:, None]
    )
    rng = np.random.default_rng(1)
    poses = Poses(rng.normal(size=(1, 30, 3, 3)), rng.normal(size=(1, 30, 3)))
    bound = graph.bind(points)
    row = np.repeat(np.arange(50), np.diff(bound.start))
    terms = np.einsum("hab,hb->ha", poses.rotations[0, bound.node], bound.local)
    terms += bound.weight[:, None] * poses.positions[0, bound.node]
    positions = np.stack([np.bincount(row, terms[:, axis], 50) for axis in range(3)], 1)
    assert np.allclose(positions, points.on(torch.from_numpy(graph.deform(poses)[0]), capsule[1]).numpy())


def test_fitted_poses_reproduce_a_bend(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 80)
    shape = bent(capsule[0], 1.0).double().numpy()
    fitted = graph.deform(graph.fit_vertices(shape[None]))[0]
    assert np.abs(fitted - shape).max() < 0.02
    assert np.abs(graph.with_rest(shape).deform(graph.with_rest(shape).rest_poses())[0] - shape).max() < 1e-12


def test_anchors_lie_near_the_medial_axis(capsule: Shape) -> None:
    graph = DeformationGraph.of(*capsule, 40)
    straight = np.abs(graph.anchors[:, 1]) < 0.3
    assert np.linalg.norm(graph.anchors[straight][:, [0, 2]], axis=1).max() < 0.08  # of a radius of 0.15


def test_factorisation_solves_the_multiplied_system() -> None:
    rng = np.random.default_rng(0)
    coupled = rng.random((12, 12)) < 0.2
    coupled |= coupled.T | np.eye(12, dtype=bool)
    pattern = BlockPattern.of(coupled)
    blocks = 0.3 * rng.normal(size=(2, len(pattern.row), 6, 6))
    diagonal = pattern.start[:-1]
    blocks[:, diagonal] += blocks[:, diagonal].transpose(0, 1, 3, 2) + 30 * np.eye(6)
    free, vector = np.array([True, True]), rng.normal(size=(2, 72))
    none = np.zeros((0, 2), np.int64), np.zeros((0, 12, 6, 6))
    factor, positive_definite = factorize(blocks, pattern, free)
    assert positive_definite
    assert np.allclose(multiply(blocks, pattern, free, *none, solve_factored(factor, pattern, free, vector)), vector)
    blocks[1, diagonal[3]] *= -1
    assert not factorize(blocks, pattern, free)[1]
