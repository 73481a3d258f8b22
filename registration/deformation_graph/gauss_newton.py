"""Poses of a deformation graph from constraints of frames, by damped Gauss-Newton over one frame or many together.

The energy of T frames, in units of the object's size, is the sum of

- point constraints (``Constraints``): Cauchy kernel, mean over a frame's points;
- normal constraints from shading (``NormalConstraints``): ``shading`` times the squared angle, Cauchy kernel;
- rigidity: ``rigidity`` times the mean over the nodes of their edges' squared relative stretch, plus ``bend`` times the
  squared angle between the two nodes' rotations, each edge with its own hinge weight (``Articulation``);
- temporal smoothness: ``velocity`` and ``acceleration`` times the mean squared first and second differences over time.

Stretch and differences over time count as the image shows them, relative to the distance from the camera: what noise
adds to them has one size in the image. As lengths in space they would be the less the nearer the object is, and both
terms would draw it towards the camera.

Frames are coupled by temporal smoothness alone and are solved together by preconditioned conjugate gradients
(``NormalEquations``). Fixed frames take part in the differences, but their poses stay the same to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from registration.correspondences.constraints import Constraints, NormalConstraints
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.graph import BoundPoints, DeformationGraph, Poses
from registration.deformation_graph.kernels import add_point_constraints, add_rigidity, apply_increment
from registration.deformation_graph.normal_equations import NormalEquations
from registration.deformation_graph.shading_kernel import add_normal_constraints
from registration.deformation_graph.temporal_kernel import add_temporal_smoothness, view_coordinates
from registration.deformation_graph.tuning import TUNING
from v2m4.camera import Camera
from v2m4.geometry import vertex_normals
from v2m4.rotation import best_rotations


@dataclass(frozen=True)
class SolverWeights:
    """Weights of the energy's terms and scales of its robust kernels.

    The defaults were chosen on suite given_mesh (Fox, RobotExpressive; docs/quality.md).

    Attributes:
        rigidity: weight of rigidity, where point constraints have 1.
        bend: weight of the squared angle between neighbouring nodes in radians, where a squared relative stretch has 1.
        velocity: weight of first differences over time.
        acceleration: weight of second differences over time.
        depth_smoothness: weight of differences in depth over time, where those across the image have 1. A change of
            the whole object's distance shows little in the image, and smoothness would hide it. Chosen on the tuning
            half of suite motion.
        motion_scale: displacement between two frames, of the object's size, at which a node keeps half of its
            resistance to velocity, relative to the rotation of the whole object. Chosen like the weight before.
        kernel_scale: scale of the Cauchy kernel of the point constraints, of the object's size.
        strain_scale: relative stretch, root mean square over time, at which an edge keeps half of its resistance
            (``Articulation``).
        bend_scale: angle in radians, root mean square over time, at which an edge keeps half of its resistance.
        expected_points: number of point constraints at which a frame has full weight; with fewer it weighs less.
        shading: weight of normal constraints.
    """

    rigidity: float = 0.003
    bend: float = 0.1
    velocity: float = 0.001
    acceleration: float = 0.0
    depth_smoothness: float = 0.1
    motion_scale: float = 0.05
    kernel_scale: float = 0.02
    strain_scale: float = 0.01
    bend_scale: float = 0.03
    expected_points: int = 1000
    shading: float = 0.001


@dataclass(frozen=True)
class Intrinsics:
    """Intrinsics of the video's camera, with the principal point at the image's centre.

    Attributes:
        focal_x: focal length, fractions of the image's width.
        focal_y: focal length, fractions of the image's height.
        aspect: width over height.
    """

    focal_x: float
    focal_y: float
    aspect: float

    @classmethod
    def of(cls, camera: Camera) -> Intrinsics:
        """Intrinsics of a camera that is not cropped."""
        matrix = camera.intrinsics((1, 1))
        return cls(float(matrix[0, 0]), float(matrix[1, 1]), camera.aspect)

    @property
    def as_array(self) -> np.ndarray:
        """(3,) float64: focal_x, focal_y, aspect; what the kernels take."""
        return np.array([self.focal_x, self.focal_y, self.aspect])


@dataclass(frozen=True)
class PoseSolution:
    """Result of the solver.

    Attributes:
        poses: of all T frames; fixed ones are unchanged.
        energy: before the first step and after every accepted one.
    """

    poses: Poses
    energy: list[float]


class Problem:
    """The energy of T frames as a function of the graph's poses.

    Args:
        graphs: the deformation graph of each frame; they share nodes and edges and may differ in their rest poses.
        intrinsics: of the video's camera.
        constraints: of each frame; None for none.
        weights: of the terms.
        articulation: of the graph's edges.
        free: (T,) bool, frames whose poses are unknown; default all.
        breaks: (T,) bool, frames whose motion is discontinuous with the frame before; default none.
        reference: poses of all T frames. Velocity counts relative to the rotation of the whole object, about its
            centre, from each of them to the next; default no rotation.
    """

    def __init__(
        self,
        graphs: Sequence[DeformationGraph],
        intrinsics: Intrinsics,
        constraints: Sequence[Constraints | None],
        weights: SolverWeights,
        articulation: Articulation,
        free: np.ndarray | None = None,
        breaks: np.ndarray | None = None,
        reference: Poses | None = None,
    ) -> None:
        self.graphs, self.intrinsics, self.weights = list(graphs), intrinsics, weights
        self.free = np.ones(len(graphs), bool) if free is None else np.asarray(free, bool)
        self.breaks = np.zeros(len(graphs), bool) if breaks is None else np.asarray(breaks, bool)
        first = self.graphs[0]
        self.pattern, count = first.pattern, len(first)
        # From heights of the image to sizes of the object, at its distance.
        self.depth = float(np.median(first.centres[:, 2]))
        scale = self.depth / (intrinsics.focal_y * first.unit)
        self.point_terms: list[tuple[BoundPoints, np.ndarray, np.ndarray, float] | None] = []
        self.normal_terms = [
            None
            if frame is None or frame.normal_constraints is None or not moves or weights.shading <= 0
            else self._normal_terms(graph, frame.normal_constraints)
            for graph, frame, moves in zip(self.graphs, constraints, self.free, strict=True)
        ]
        for graph, frame, moves in zip(self.graphs, constraints, self.free, strict=True):
            if frame is None or len(frame) == 0 or not moves:
                self.point_terms.append(None)
                continue
            share = 1.0 / np.sqrt(max(len(frame), weights.expected_points))
            targets, root = np.asarray(frame.targets, np.float64), frame.sqrt_information * scale * share
            self.point_terms.append((graph.bind(frame.points), targets, root, weights.kernel_scale * share))
        share = weights.rigidity / count
        stretch, bend = articulation.hinge_weights(weights.strain_scale, weights.bend_scale)
        self.stretch = [share * stretch / np.square(graph.lengths) for graph in self.graphs]
        self.bend = share * weights.bend * bend
        self.motion_weights = np.full(count, 1.0 / (count * first.unit**2))
        self.rotation_radius = 0.5 * float(np.median(first.lengths))
        self.no_motion = (np.zeros((count, 3)), np.zeros((count, 3, 3)), np.ones(count))
        self.expected_motions = [self.no_motion] * (len(graphs) - 1)
        if reference is not None:
            pairs = [reference[[time, time + 1]] for time in range(len(graphs) - 1)]
            self.expected_motions = [self._expected_motion(pair) for pair in pairs]

    def _expected_motion(self, poses: Poses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Motion of all nodes by the whole object's rotation between two poses.

        Returns:
            Change of view coordinates (K, 3) and of rotations (K, 3, 3), and the factors (K,) of a Cauchy kernel on the
            weights of the nodes' other motion.
        """
        first, second = poses.positions
        center = first.mean(0)
        correlation = torch.from_numpy((first - center).T @ (second - second.mean(0)))[None]
        rotation = best_rotations(correlation)[0].numpy()
        before, after, observed = (
            view_coordinates(np.ascontiguousarray(each), self.depth, self.weights.depth_smoothness)
            for each in (first, (first - center) @ rotation.T + center, second)
        )
        motion = np.linalg.norm(observed - after, axis=1) / self.graphs[0].unit
        robust = 1 / (1 + np.square(motion / self.weights.motion_scale))
        return after - before, rotation @ poses.rotations[0] - poses.rotations[0], robust

    def _normal_terms(self, graph: DeformationGraph, constraints: NormalConstraints) -> tuple:
        """Arguments of ``add_normal_constraints`` for one frame, from ``points`` on."""
        bound = graph.bind(constraints.points)
        triangles = torch.from_numpy(graph.faces)
        corners = triangles.index_select(0, constraints.points.faces.cpu()).reshape(-1)
        normals = vertex_normals(torch.from_numpy(graph.rest), triangles).index_select(0, corners).reshape(-1, 3, 3)
        normals = (normals * constraints.points.weights.cpu().double()[..., None]).sum(1)
        strength = np.sqrt(self.weights.shading / max(len(constraints), self.weights.expected_points // 2))
        root = strength * np.sqrt(constraints.confidence)
        points = (bound.start, bound.node, bound.weight)
        rest_normals = torch.nn.functional.normalize(normals, dim=1).numpy()
        kernel_scale = TUNING.normal_kernel_scale * strength
        return points, rest_normals, constraints.axes, constraints.cosines, root, kernel_scale

    def differences(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Frames, coefficients and weight of every difference over time in which a free frame takes part."""
        out, count = [], len(self.free)
        kinds = [((-1.0, 1.0), self.weights.velocity), ((1.0, -2.0, 1.0), self.weights.acceleration)]
        for coefficients, weight in kinds:
            for time in range(count - len(coefficients) + 1):
                frames = np.arange(time, time + len(coefficients))
                if weight > 0 and self.free[frames].any() and not self.breaks[frames[1:]].any():
                    out.append((frames, np.array(coefficients), weight))
        return out

    def equations(self, poses: Poses) -> NormalEquations:
        """Energy, gradient and Gauss-Newton matrix at poses of all T frames."""
        pattern, count = self.pattern, len(self.pattern.order)
        blocks = np.zeros((len(poses), len(pattern.row), 6, 6))
        gradient = np.zeros((len(poses), 6 * count))
        energy = 0.0
        for time in np.flatnonzero(self.free):
            pose = (poses.rotations[time], poses.positions[time])
            equations = (blocks[time], pattern.block_index, gradient[time], pattern.order)
            point_terms = self.point_terms[time]
            if point_terms is not None:
                bound, targets, root, kernel_scale = point_terms
                points = (bound.start, bound.node, bound.weight, bound.local)
                energy += add_point_constraints(
                    *equations, *pose, points, (targets, root), self.intrinsics.as_array, kernel_scale
                )
            normal_terms = self.normal_terms[time]
            if normal_terms is not None:
                energy += add_normal_constraints(*equations, poses.rotations[time], *normal_terms)
            graph = self.graphs[time]
            energy += add_rigidity(
                *equations, *pose, graph.edges, graph.offsets, self.stretch[time], self.bend, self.depth
            )
        pairs: dict[tuple[int, int], int] = {}
        differences = self.differences()
        for frames, _, _ in differences:
            for a, first in enumerate(frames):
                for second in frames[a + 1 :]:
                    if self.free[first] and self.free[second]:
                        pairs.setdefault((int(first), int(second)), len(pairs))
        coupling = np.zeros((len(pairs), count, 6, 6))
        for frames, coefficients, weight in differences:
            pair_index = np.full((len(frames), len(frames)), -1)
            for a, first in enumerate(frames):
                for b in range(a, len(frames)):
                    second = frames[b]
                    if self.free[first] and self.free[second]:
                        pair_index[a, b] = pairs[(int(first), int(second))] if b > a else 0
            *expected, robust = self.expected_motions[frames[0]] if len(frames) == 2 else self.no_motion
            energy += add_temporal_smoothness(
                blocks, pattern.block_index, gradient, coupling, pattern.order, poses.rotations,
                poses.positions, frames, coefficients, pair_index, tuple(expected),
                weight * self.motion_weights * robust, self.rotation_radius, self.depth,
                self.weights.depth_smoothness,
            )  # fmt: skip
        coupled = np.array(list(pairs), np.int64).reshape(-1, 2)
        return NormalEquations(energy, gradient, pattern, blocks, coupled, coupling, self.free)


def solve(
    problem: Problem, poses: Poses, steps: int, tolerance: float = 1e-3, max_inner_iterations: int = 40
) -> PoseSolution:
    """Minimise the energy by damped Gauss-Newton (Levenberg).

    A step that does not lower the energy is computed again with ten times the damping; an accepted one divides the
    damping by ten.

    Args:
        problem: the energy.
        poses: start, of its T frames.
        steps: accepted steps at most.
        tolerance: relative decrease of the energy by a step below which it ends.
        max_inner_iterations: conjugate gradient iterations a step, at most.
    """
    poses = Poses(poses.rotations.copy(), poses.positions.copy())
    equations = problem.equations(poses)
    energies = [equations.energy]
    damping = TUNING.min_damping
    for _ in range(steps):
        mean = float(equations.diagonal().mean())
        while damping < TUNING.max_damping:
            step = equations.step(damping * mean, TUNING.conjugate_gradient_tolerance, max_inner_iterations)
            if step is not None:
                candidate = Poses(poses.rotations.copy(), poses.positions.copy())
                for time in np.flatnonzero(problem.free):
                    apply_increment(
                        candidate.rotations[time],
                        candidate.positions[time],
                        step[time],
                        problem.pattern.order,
                    )
                candidate_equations = problem.equations(candidate)
                if candidate_equations.energy <= energies[-1]:
                    break
            damping *= 10
        else:
            break
        damping = max(damping / 10, TUNING.min_damping)
        decrease = energies[-1] - candidate_equations.energy
        poses, equations = candidate, candidate_equations
        energies.append(candidate_equations.energy)
        if decrease <= tolerance * energies[-1]:
            break
    return PoseSolution(poses, energies)
