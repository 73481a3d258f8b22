"""Laws of the Gauss-Newton solver: derivatives, invariances, recovery of known motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from registration.correspondences.constraints import Constraints
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.block_cholesky import multiply
from registration.deformation_graph.gauss_newton import Intrinsics, Problem, SolverWeights, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.deformation_graph.kernels import apply_increment
from tests.registration.shapes import bent, random_rotation, tensors
from v2m4.camera import Camera
from v2m4.surface_points import SurfacePoints

CAMERA = Camera.identity()
INTRINSICS = Intrinsics.of(CAMERA)


@pytest.fixture(scope="module")
def limb() -> DeformationGraph:
    """An upright capsule, 1 long, 2 away."""
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=3, radius=0.15))
    vertices[:, 1] *= 0.5 / 0.15
    return DeformationGraph.of(vertices + torch.tensor([0.0, 0.0, 2.0]), faces, 40)


def projected(graph: DeformationGraph, vertices: np.ndarray, visible: np.ndarray | None = None) -> Constraints:
    """Point constraints at the projections of vertices (V, 3): of all, or of the ``visible`` indices."""
    index = np.arange(len(graph.rest)) if visible is None else visible
    face, corner = np.zeros(len(graph.rest), np.int64), np.zeros(len(graph.rest), np.int64)
    for side in range(3):
        face[graph.faces[:, side]], corner[graph.faces[:, side]] = np.arange(len(graph.faces)), side
    weights = torch.from_numpy(np.eye(3)[corner[index]])
    pixels = CAMERA.project(torch.from_numpy(vertices[index]).float(), (1, 1))[0][0].double().numpy()
    return Constraints.at_points(SurfacePoints(torch.from_numpy(face[index]), weights), pixels, np.ones(len(index)))


def perturbed(graph: DeformationGraph, count: int, seed: int = 0) -> Poses:
    """Poses near rest, with random small rotations and translations of every node."""
    rng = np.random.default_rng(seed)
    poses = graph.rest_poses(count)
    for time in range(count):
        step = 0.1 * rng.normal(size=6 * len(graph))
        apply_increment(poses.rotations[time], poses.positions[time], step, graph.pattern.order)
    return poses


def problem(graph: DeformationGraph, constraints: list, weights: SolverWeights, **options: object) -> Problem:
    articulation = options.pop("articulation", Articulation.none(graph))
    return Problem([graph] * len(constraints), INTRINSICS, constraints, weights, articulation, **options)


@pytest.mark.parametrize("term", ["rigidity", "velocity", "acceleration", "points"])
def test_gradient_matches_finite_differences(limb: DeformationGraph, term: str) -> None:
    others = {"rigidity": 0.0, "velocity": 0.0, "acceleration": 0.0, "kernel_scale": 0.1, "bend": 0.3}
    weights = SolverWeights(**{**others, **({} if term == "points" else {term: 1.0})})
    constraints = projected(limb, limb.rest + 0.02) if term == "points" else None
    free = np.array([False, True, True, True])
    energy = problem(limb, [constraints] * 4, weights, free=free, reference=perturbed(limb, 4, 1))
    poses, rng = perturbed(limb, 4), np.random.default_rng(5)
    gradient = energy.equations(poses).gradient
    step = rng.normal(size=gradient.shape)
    step[0] = 0.0
    energies = []
    for size in (1e-5, -1e-5):
        moved = Poses(poses.rotations.copy(), poses.positions.copy())
        for time in range(1, 4):
            apply_increment(moved.rotations[time], moved.positions[time], size * step[time], limb.pattern.order)
        energies.append(energy.equations(moved).energy)
    assert (energies[0] - energies[1]) / 2e-5 == pytest.approx(float((gradient * step).sum()), rel=1e-5)


def test_matrix_matches_finite_differences_of_the_gradient_where_residuals_vanish(limb: DeformationGraph) -> None:
    """Gauss-Newton drops the terms that residuals multiply, so its matrix is the Hessian where they are 0."""
    weights = SolverWeights(rigidity=1.0, velocity=0.5, acceleration=0.3, kernel_scale=0.1, expected_points=1)
    energy = problem(limb, [projected(limb, limb.rest)] * 4, weights)
    poses, rng = limb.rest_poses(4), np.random.default_rng(2)
    equations = energy.equations(poses)
    step = rng.normal(size=equations.gradient.shape)
    product = multiply(equations.blocks, limb.pattern, energy.free, equations.pairs, equations.coupling, step)
    slopes = []
    for size in (1e-5, -1e-5):
        moved = limb.rest_poses(4)
        for time in range(4):
            apply_increment(moved.rotations[time], moved.positions[time], size * step[time], limb.pattern.order)
        slopes.append(energy.equations(moved).gradient)
    assert np.allclose((slopes[0] - slopes[1]) / 2e-5, product, rtol=1e-4, atol=1e-6 * np.abs(product).max())


def test_rigid_motion_costs_nothing(limb: DeformationGraph) -> None:
    rotation = random_rotation(torch.Generator().manual_seed(1)).numpy()
    poses = Poses(np.tile(rotation, (1, len(limb), 1, 1)), (limb.centres @ rotation.T + 0.3)[None])
    assert problem(limb, [None], SolverWeights(velocity=0.0)).equations(poses).energy < 1e-20


def scaled_about_camera(poses: Poses, factor: float) -> Poses:
    """The same image of the nodes, nearer or farther."""
    return Poses(poses.rotations, factor * poses.positions)


def test_temporal_smoothness_does_not_depend_on_the_distance_of_what_the_image_shows(limb: DeformationGraph) -> None:
    weights = SolverWeights(rigidity=0.0, velocity=0.5, acceleration=0.3)
    energy, poses = problem(limb, [None] * 4, weights), perturbed(limb, 4)
    energies = [energy.equations(scaled_about_camera(poses, factor)).energy for factor in (0.5, 1.0, 2.0)]
    assert energies[0] > 0
    assert energies == pytest.approx([energies[1]] * 3, rel=1e-9)


def test_rotation_of_the_whole_object_costs_no_smoothness(limb: DeformationGraph) -> None:
    rotation = random_rotation(torch.Generator().manual_seed(2)).numpy()
    center = limb.centres.mean(0)
    still = limb.rest_poses(1)
    rotated = Poses(rotation @ still.rotations, (still.positions - center) @ rotation.T + center)
    poses = Poses.joined([still, rotated])
    weights = SolverWeights(rigidity=0.0, velocity=1.0)
    assert problem(limb, [None] * 2, weights).equations(poses).energy > 0.01
    assert problem(limb, [None] * 2, weights, reference=poses).equations(poses).energy < 1e-20


def test_nodes_that_move_far_resist_less(limb: DeformationGraph) -> None:
    """A Cauchy kernel: what one node pays grows slower than the square of its motion."""
    energies = []
    for distance in (0.01, 0.1):
        poses = limb.rest_poses(2)
        poses.positions[1, 0, 0] += distance
        energy = problem(limb, [None] * 2, SolverWeights(rigidity=0.0, velocity=1.0), reference=poses)
        energies.append(energy.equations(poses).energy)
    assert energies[0] < energies[1] < 0.5 * 100 * energies[0]


def test_smoothness_of_depth_has_its_own_weight(limb: DeformationGraph) -> None:
    away = limb.rest_poses(2)
    away.positions[1] *= 1.1
    energies = [
        problem(limb, [None] * 2, SolverWeights(velocity=1.0, depth_smoothness=weight)).equations(away).energy
        for weight in (0.0, 0.5, 1.0)
    ]
    rigidity = problem(limb, [None] * 2, SolverWeights(velocity=0.0)).equations(away).energy
    assert energies[0] == pytest.approx(rigidity, rel=1e-9)
    assert energies[2] - energies[0] == pytest.approx(2 * (energies[1] - energies[0]), rel=1e-9)
    assert energies[1] > 1.1 * energies[0]


def test_noise_in_the_image_does_not_draw_the_object_nearer(limb: DeformationGraph) -> None:
    """Of two opposite displacements across the image, rigidity has no slope towards the camera in the mean."""
    energy = problem(limb, [None], SolverWeights(velocity=0.0))
    noise = 0.02 * np.random.default_rng(0).normal(size=limb.centres.shape) * (1, 1, 0)

    def mean_energy(factor: float) -> float:
        poses = [Poses(limb.rest_poses().rotations, (limb.centres + sign * noise)[None]) for sign in (1, -1)]
        return sum(energy.equations(scaled_about_camera(pose, factor)).energy for pose in poses) / 2

    slope = (mean_energy(1 + 1e-4) - mean_energy(1 - 1e-4)) / 2e-4
    assert abs(slope) < 1e-3 * mean_energy(1.0)


def test_articulation_is_invariant_to_rigid_motion(limb: DeformationGraph) -> None:
    poses = perturbed(limb, 3)
    rotation = random_rotation(torch.Generator().manual_seed(4)).numpy()
    moved = Poses(rotation @ poses.rotations, poses.positions @ rotation.T + 5.0)
    articulation, others = (Articulation.none(limb).updated(limb, each) for each in (poses, moved))
    assert np.allclose(articulation.squared_stretch, others.squared_stretch)
    assert np.allclose(articulation.squared_bend, others.squared_bend)
    ones = Articulation.none(limb).hinge_weights(0.01, 0.03)
    assert (ones[0] == 1).all() and (ones[1] == 1).all()


def test_rigid_motion_in_depth_is_recovered_from_its_projection(limb: DeformationGraph) -> None:
    rotation = trimesh.transformations.rotation_matrix(0.3, (1.0, 0.4, 0.2), (0, 0, 2))
    target = limb.rest @ rotation[:3, :3].T + rotation[:3, 3] + (0.05, -0.02, 0.3)
    solution = solve(
        problem(limb, [projected(limb, target)], SolverWeights(velocity=0.0, kernel_scale=1.0)),
        limb.rest_poses(),
        30,
        1e-12,
    )
    assert np.abs(limb.deform(solution.poses)[0] - target).max() < 2e-4
    assert solution.energy == sorted(solution.energy, reverse=True)


def test_a_bend_in_depth_is_recovered_through_articulation(limb: DeformationGraph) -> None:
    """A body that bends away in depth, observed from the front: its foreshortening over several frames gives depth."""
    poses = []
    for angle in np.linspace(0, 0.9, 7):
        side = bent(torch.from_numpy(limb.rest - np.array([0, 0, 2]))[:, [2, 1, 0]], float(angle))[:, [2, 1, 0]].numpy()
        poses.append(side + np.array([0, 0, 2]))
    front = np.flatnonzero(limb.rest[:, 2] < 2.0)
    constraints = [None] + [projected(limb, pose, front) for pose in poses[1:]]
    free = np.arange(7) > 0
    state, articulation = limb.rest_poses(7), Articulation.none(limb)
    for _ in range(4):
        wanted = problem(
            limb, constraints, SolverWeights(velocity=1e-4, expected_points=100), free=free, articulation=articulation
        )
        state = solve(wanted, state, 8).poses
        articulation = Articulation.none(limb).updated(limb, state)
    away = np.abs(limb.deform(state)[-1] - poses[-1])
    assert away[:, 2].mean() < 0.25 * np.abs(poses[-1] - limb.rest)[:, 2].mean()


def test_unobserved_vertices_follow_by_rigidity(limb: DeformationGraph) -> None:
    target = limb.rest + np.array([0.1, 0.05, 0.0])
    few = np.flatnonzero(limb.rest[:, 2] < 1.95)
    solution = solve(
        problem(limb, [projected(limb, target, few)], SolverWeights(velocity=0.0, kernel_scale=1.0)),
        limb.rest_poses(),
        20,
        1e-9,
    )
    assert np.abs(limb.deform(solution.poses)[0] - target).max() < 0.01


def test_fixed_frames_stay_to_the_byte_and_constrain_their_neighbours(limb: DeformationGraph) -> None:
    start = perturbed(limb, 5)
    free = np.array([False, True, True, True, False])
    solution = solve(
        problem(limb, [None] * 5, SolverWeights(acceleration=1.0, velocity=0.0, rigidity=0.0), free=free), start, 40
    )
    for end in (0, 4):
        assert start.positions[end].tobytes() == solution.poses.positions[end].tobytes()
        assert start.rotations[end].tobytes() == solution.poses.rotations[end].tobytes()
    # With acceleration alone, positions between the fixed frames lie on a line.
    bend = np.diff(solution.poses.positions, 2, axis=0)
    assert np.abs(bend).max() < 0.05 * np.abs(np.diff(start.positions, 2, axis=0)).max()


def test_solver_is_deterministic(limb: DeformationGraph) -> None:
    target = limb.rest + np.array([0.1, 0.0, 0.1])
    results = []
    for _ in range(2):
        solution = solve(
            problem(limb, [projected(limb, target)] * 3, SolverWeights(acceleration=0.1)), perturbed(limb, 3), 4
        )
        results.append(solution.poses.positions.tobytes() + solution.poses.rotations.tobytes())
    assert results[0] == results[1]


def test_outliers_are_rejected_by_the_robust_kernel(limb: DeformationGraph) -> None:
    constraints = projected(limb, limb.rest)
    targets = constraints.targets.copy()
    targets[::10] += 0.3
    wrong = replace(constraints, targets=targets)
    solution = solve(problem(limb, [wrong], SolverWeights(velocity=0.0)), limb.rest_poses(), 10)
    assert np.abs(limb.deform(solution.poses)[0] - limb.rest).max() < 0.02


def test_motion_breaks_remove_differences_over_time(limb: DeformationGraph) -> None:
    start = perturbed(limb, 3)
    breaks = np.array([False, False, True])
    broken = problem(limb, [None] * 3, SolverWeights(rigidity=0.0), breaks=breaks).equations(start)
    whole = problem(limb, [None] * 3, SolverWeights(rigidity=0.0)).equations(start)
    assert 0 < broken.energy < whole.energy and not broken.gradient[2].any()


def test_edges_that_bend_become_hinges(limb: DeformationGraph) -> None:
    """The upper half rotated against the lower: edges across the middle lose their weight, all others keep it."""
    poses = limb.rest_poses(4)
    upper = limb.centres[:, 1] > 0.1
    rotation = trimesh.transformations.rotation_matrix(0.8, (1, 0, 0), (0, 0.1, 2))
    poses.rotations[1:, upper] = rotation[:3, :3]
    poses.positions[1:, upper] = limb.centres[upper] @ rotation[:3, :3].T + rotation[:3, 3]
    stretch, bend = Articulation.none(limb).updated(limb, poses).hinge_weights(0.01, 0.03)
    across = upper[limb.edges[:, 0]] != upper[limb.edges[:, 1]]
    assert bend[across].max() < 0.01 and np.allclose(bend[~across], 1) and np.allclose(stretch[~across], 1)
    assert stretch.min() > 0
