"""Laws of the solver of poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from registration.correspondences.constraints import Constraints
from registration.deformation_graph.block_cholesky import multiply
from registration.deformation_graph.gauss_newton import Articulation, Intrinsics, Problem, SolverWeights, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.deformation_graph.kernels import apply_increment
from tests.registration.shapes import bent, random_rotation, tensors
from v2m4.camera import Camera
from v2m4.surface_points import SurfacePoints

CAMERA = Camera.identity()
LENS = Intrinsics.of(CAMERA)


@pytest.fixture(scope="module")
def limb() -> DeformationGraph:
    """An upright capsule, 1 long, 2 away."""
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=3, radius=0.15))
    vertices[:, 1] *= 0.5 / 0.15
    return DeformationGraph.of(vertices + torch.tensor([0.0, 0.0, 2.0]), faces, 40)


def seen(graph: DeformationGraph, vertices: np.ndarray, visible: np.ndarray | None = None) -> Constraints:
    """Corners of faces, where a pose shows them."""
    index = np.arange(len(graph.rest)) if visible is None else visible
    face, corner = np.zeros(len(graph.rest), np.int64), np.zeros(len(graph.rest), np.int64)
    for side in range(3):
        face[graph.faces[:, side]], corner[graph.faces[:, side]] = np.arange(len(graph.faces)), side
    weights = torch.from_numpy(np.eye(3)[corner[index]])
    pixels = CAMERA.project(torch.from_numpy(vertices[index]).float(), (1, 1))[0][0].double().numpy()
    return Constraints.at_points(SurfacePoints(torch.from_numpy(face[index]), weights), pixels, np.ones(len(index)))


def wobbly(graph: DeformationGraph, count: int, seed: int = 0) -> Poses:
    """Poses near rest with turns and shifts of every node."""
    rng = np.random.default_rng(seed)
    poses = graph.rest_poses(count)
    for time in range(count):
        step = 0.1 * rng.normal(size=6 * len(graph))
        apply_increment(poses.rotations[time], poses.positions[time], step, graph.pattern.place)
    return poses


def problem(graph: DeformationGraph, constraints: list, weights: SolverWeights, **more: object) -> Problem:
    articulation = more.pop("articulation", Articulation.none(graph))
    return Problem([graph] * len(constraints), LENS, constraints, weights, articulation, **more)


@pytest.mark.parametrize("term", ["rigidity", "velocity", "smoothness", "seen"])
def test_gradient_is_the_energys(limb: DeformationGraph, term: str) -> None:
    quiet = {"rigidity": 0.0, "velocity": 0.0, "smoothness": 0.0, "reach": 0.1, "bend": 0.3}
    weights = SolverWeights(**{**quiet, **({} if term == "seen" else {term: 1.0})})
    found = seen(limb, limb.rest + 0.02) if term == "seen" else None
    wanted = problem(limb, [found] * 4, weights, free=np.array([False, True, True, True]))
    poses, rng = wobbly(limb, 4), np.random.default_rng(5)
    gradient = wanted.equations(poses).gradient
    step = rng.normal(size=gradient.shape)
    step[0] = 0.0
    energies = []
    for size in (1e-5, -1e-5):
        moved = Poses(poses.rotations.copy(), poses.positions.copy())
        for time in range(1, 4):
            apply_increment(moved.rotations[time], moved.positions[time], size * step[time], limb.pattern.place)
        energies.append(wanted.equations(moved).energy)
    assert (energies[0] - energies[1]) / 2e-5 == pytest.approx(float((gradient * step).sum()), rel=1e-5)


def test_matrix_is_the_gradients_slope_where_residuals_vanish(limb: DeformationGraph) -> None:
    """Gauss-Newton leaves out what residuals multiply, so at a perfect fit its matrix is the true one."""
    weights = SolverWeights(rigidity=1.0, velocity=0.5, smoothness=0.3, reach=0.1, points=1)
    wanted = problem(limb, [seen(limb, limb.rest)] * 4, weights)
    poses, rng = limb.rest_poses(4), np.random.default_rng(2)
    equations = wanted.equations(poses)
    step = rng.normal(size=equations.gradient.shape)
    product = multiply(equations.blocks, limb.pattern, wanted.free, equations.pairs, equations.across, step)
    slopes = []
    for size in (1e-5, -1e-5):
        moved = limb.rest_poses(4)
        for time in range(4):
            apply_increment(moved.rotations[time], moved.positions[time], size * step[time], limb.pattern.place)
        slopes.append(wanted.equations(moved).gradient)
    assert np.allclose((slopes[0] - slopes[1]) / 2e-5, product, rtol=1e-4, atol=1e-6 * np.abs(product).max())


def test_rigid_motion_costs_nothing(limb: DeformationGraph) -> None:
    rotation = random_rotation(torch.Generator().manual_seed(1)).numpy()
    poses = Poses(np.tile(rotation, (1, len(limb), 1, 1)), (limb.centres @ rotation.T + 0.3)[None])
    assert problem(limb, [None], SolverWeights(velocity=0.0)).equations(poses).energy < 1e-20


def test_joints_do_not_depend_on_where_the_body_is(limb: DeformationGraph) -> None:
    poses = wobbly(limb, 3)
    rotation = random_rotation(torch.Generator().manual_seed(4)).numpy()
    moved = Poses(rotation @ poses.rotations, poses.positions @ rotation.T + 5.0)
    articulation, others = (Articulation.none(limb).updated(limb, each) for each in (poses, moved))
    assert np.allclose(articulation.stretched, others.stretched) and np.allclose(articulation.turned, others.turned)
    ones = Articulation.none(limb).hinge_weights(0.01, 0.03)
    assert (ones[0] == 1).all() and (ones[1] == 1).all()


def test_rigid_motion_in_depth_is_recovered_from_its_projection(limb: DeformationGraph) -> None:
    rotation = trimesh.transformations.rotation_matrix(0.3, (1.0, 0.4, 0.2), (0, 0, 2))
    there = limb.rest @ rotation[:3, :3].T + rotation[:3, 3] + (0.05, -0.02, 0.3)
    found = solve(
        problem(limb, [seen(limb, there)], SolverWeights(velocity=0.0, reach=1.0)), limb.rest_poses(), 30, 1e-12
    )
    assert np.abs(limb.moved(found.poses)[0] - there).max() < 2e-4
    assert found.energy == sorted(found.energy, reverse=True)


def test_a_swing_in_depth_is_recovered_through_its_joint(limb: DeformationGraph) -> None:
    """A body that bends away in depth, seen from the front over several frames: lengths tell how far."""
    poses = []
    for angle in np.linspace(0, 0.9, 7):
        side = bent(torch.from_numpy(limb.rest - np.array([0, 0, 2]))[:, [2, 1, 0]], float(angle))[:, [2, 1, 0]].numpy()
        poses.append(side + np.array([0, 0, 2]))
    front = np.flatnonzero(limb.rest[:, 2] < 2.0)
    constraints = [None] + [seen(limb, pose, front) for pose in poses[1:]]
    free = np.arange(7) > 0
    state, articulation = limb.rest_poses(7), Articulation.none(limb)
    for _ in range(4):
        wanted = problem(
            limb, constraints, SolverWeights(velocity=1e-4, points=100), free=free, articulation=articulation
        )
        state = solve(wanted, state, 8).poses
        articulation = Articulation.none(limb).updated(limb, state)
    away = np.abs(limb.moved(state)[-1] - poses[-1])
    assert away[:, 2].mean() < 0.25 * np.abs(poses[-1] - limb.rest)[:, 2].mean()


def test_what_is_not_seen_follows(limb: DeformationGraph) -> None:
    there = limb.rest + np.array([0.1, 0.05, 0.0])
    few = np.flatnonzero(limb.rest[:, 2] < 1.95)
    found = solve(
        problem(limb, [seen(limb, there, few)], SolverWeights(velocity=0.0, reach=1.0)), limb.rest_poses(), 20, 1e-9
    )
    assert np.abs(limb.moved(found.poses)[0] - there).max() < 0.01


def test_fixed_frames_stay_to_the_byte_and_hold_their_neighbours(limb: DeformationGraph) -> None:
    start = wobbly(limb, 5)
    free = np.array([False, True, True, True, False])
    found = solve(
        problem(limb, [None] * 5, SolverWeights(smoothness=1.0, velocity=0.0, rigidity=0.0), free=free), start, 40
    )
    for end in (0, 4):
        assert start.positions[end].tobytes() == found.poses.positions[end].tobytes()
        assert start.rotations[end].tobytes() == found.poses.rotations[end].tobytes()
    # With nothing else, positions between them lie on a line.
    bend = np.diff(found.poses.positions, 2, axis=0)
    assert np.abs(bend).max() < 0.05 * np.abs(np.diff(start.positions, 2, axis=0)).max()


def test_same_input_same_bytes(limb: DeformationGraph) -> None:
    there = limb.rest + np.array([0.1, 0.0, 0.1])
    results = []
    for _ in range(2):
        found = solve(problem(limb, [seen(limb, there)] * 3, SolverWeights(smoothness=0.1)), wobbly(limb, 3), 4)
        results.append(found.poses.positions.tobytes() + found.poses.rotations.tobytes())
    assert results[0] == results[1]


def test_far_off_points_are_passed_over(limb: DeformationGraph) -> None:
    found = seen(limb, limb.rest)
    targets = found.targets.copy()
    targets[::10] += 0.3
    wrong = replace(found, targets=targets)
    solve_factored = solve(problem(limb, [wrong], SolverWeights(velocity=0.0)), limb.rest_poses(), 10)
    assert np.abs(limb.moved(solve_factored.poses)[0] - limb.rest).max() < 0.02


def test_motion_breaks_where_it_is_said_to(limb: DeformationGraph) -> None:
    start = wobbly(limb, 3)
    breaks = np.array([False, False, True])
    broken = problem(limb, [None] * 3, SolverWeights(rigidity=0.0), breaks=breaks).equations(start)
    whole = problem(limb, [None] * 3, SolverWeights(rigidity=0.0)).equations(start)
    assert 0 < broken.energy < whole.energy and not broken.gradient[2].any()


def test_what_bends_becomes_a_joint(limb: DeformationGraph) -> None:
    """The upper half turned against the lower: ties across the middle go, all others stay."""
    poses = limb.rest_poses(4)
    upper = limb.centres[:, 1] > 0.1
    turn = trimesh.transformations.rotation_matrix(0.8, (1, 0, 0), (0, 0.1, 2))
    poses.rotations[1:, upper] = turn[:3, :3]
    poses.positions[1:, upper] = limb.centres[upper] @ turn[:3, :3].T + turn[:3, 3]
    stretch, bend = Articulation.none(limb).updated(limb, poses).hinge_weights(0.01, 0.03)
    across = upper[limb.edges[:, 0]] != upper[limb.edges[:, 1]]
    assert bend[across].max() < 0.01 and np.allclose(bend[~across], 1) and np.allclose(stretch[~across], 1)
    assert stretch.min() > 0
