"""Poses of a deformation graph from what frames show: Gauss-Newton over one frame, or over many together.

The energy of T frames, in units of the object's size:

- seen points lie where they are seen (Cauchy's loss), mean over a frame's points;
- points face where their shade says, ``shade`` times the squared turn, in radians;
- neighbouring nodes agree: ``rigidity`` times the mean over the nodes of their edges' relative stretch, squared, and of
  the angle between their turns, squared, each edge with its own weight (``Articulation``);
- motion is slow and even: ``velocity`` and ``smoothness`` times the mean squared first and second differences.

Frames are solved together by conjugate gradients, preconditioned with the factors of the frames' own equations; fixed
frames take part but stay as they are, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from registration.correspondences.constraints import Constraints, NormalConstraints
from registration.deformation_graph.block_cholesky import BlockPattern, factorize, multiply, solve_factored
from registration.deformation_graph.graph import BoundPoints, DeformationGraph, Poses
from registration.deformation_graph.kernels import (
    add_point_constraints,
    add_rigidity,
    add_temporal_smoothness,
    apply_increment,
)
from registration.deformation_graph.shading_kernel import add_normal_constraints
from v2m4.camera import Camera
from v2m4.geometry import vertex_normals

TURNED = 0.4  # radians from which on what shade tells counts less
DAMPING = 1e-6  # of the equations' mean diagonal
MOST_DAMPING = 1e3
KEPT_LENGTH = 0.01  # of its tie an edge keeps against stretch however often it gave way


@dataclass(frozen=True)
class SolverWeights:
    """What terms count.

    Attributes:
        rigidity: of ties between nodes, where what is seen has 1.
        bend: of the squared angle between neighbours in radians, where a squared relative stretch has 1.
        velocity: of first differences over time.
        smoothness: of second differences.
        reach: residual, relative to the object's size, from which on a seen point counts less.
        strain: relative stretch, root mean square over time, at which an edge keeps half of its tie (``Articulation``).
        angle: bend in radians, root mean square over time, at which an edge keeps half of its tie.
        points: that a frame is seen by; fewer weigh less.
        shade: of turns that shade tells of.
    """

    rigidity: float = 0.003
    bend: float = 0.1
    velocity: float = 0.001
    smoothness: float = 0.0
    reach: float = 0.02
    strain: float = 0.01
    angle: float = 0.03
    points: int = 1000
    shade: float = 0.001


@dataclass(frozen=True)
class Articulation:
    """How edges gave way in frames that were seen; edges that do so in some frames are joints in all.

    Attributes:
        stretched: (E,) sum over frames of the squared relative stretch.
        turned: (E,) sum over frames of the squared angle between the two nodes, radians.
        frames: how many.
    """

    stretched: np.ndarray
    turned: np.ndarray
    frames: int = 0

    @classmethod
    def none(cls, graph: DeformationGraph) -> Articulation:
        """Of no frame."""
        return cls(np.zeros(len(graph.edges)), np.zeros(len(graph.edges)))

    def updated(self, graph: DeformationGraph, poses: Poses) -> Articulation:
        """With T more frames."""
        first, second = graph.edges.T
        offsets = graph.offsets
        off = np.einsum("teab,eb->tea", poses.rotations[:, first], offsets[:, 0]) + poses.positions[:, first]
        off -= np.einsum("teab,eb->tea", poses.rotations[:, second], offsets[:, 1]) + poses.positions[:, second]
        stretched = np.square(off).sum((0, 2)) / np.square(graph.lengths)
        turned = 0.5 * np.square(poses.rotations[:, first] - poses.rotations[:, second]).sum((0, 2, 3))
        return Articulation(self.stretched + stretched, self.turned + turned, self.frames + len(poses))

    def hinge_weights(self, strain: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """What is left of each edge's resistance to stretch and to bend, (E,) each: 1 where it never gave way.

        These are the weights of a Cauchy prior on an edge's root mean square over time, sparse over the edges.

        Args:
            strain: relative stretch at which an edge keeps half.
            angle: bend at which it keeps half.
        """
        count = max(self.frames, 1)
        stretch, bend = 1 / (1 + self.stretched / count / strain**2), 1 / (1 + self.turned / count / angle**2)
        return np.maximum(stretch, KEPT_LENGTH), bend


@dataclass(frozen=True)
class Intrinsics:
    """The video's camera: focal length in fractions of the picture's width and height, and its aspect."""

    x: float
    y: float
    aspect: float

    @classmethod
    def of(cls, camera: Camera) -> Intrinsics:
        """Of a camera that is not cropped, at the origin."""
        matrix = camera.intrinsics((1, 1))
        return cls(float(matrix[0, 0]), float(matrix[1, 1]), camera.aspect)

    @property
    def numbers(self) -> np.ndarray:
        """(3,), as the kernels read them."""
        return np.array([self.x, self.y, self.aspect])


@dataclass(frozen=True)
class Solution:
    """Where the solver ended.

    Attributes:
        poses: of all frames, the fixed ones as they were.
        energy: after every step, the first before any.
    """

    poses: Poses
    energy: list[float]


class Problem:
    """The energy of T frames.

    Args:
        graphs: the mesh's nodes at rest, of each frame: one graph, or the same at other rest poses.
        intrinsics: the video's.
        constraints: of each frame; None where nothing is seen.
        weights: of the terms.
        articulation: what is known of the edges.
        free: (T,) which frames may move; default all.
        breaks: (T,) frames whose motion does not follow on from the frame before; default none.
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
    ) -> None:
        self.graphs, self.intrinsics, self.weights = list(graphs), intrinsics, weights
        self.free = np.ones(len(graphs), bool) if free is None else np.asarray(free, bool)
        self.breaks = np.zeros(len(graphs), bool) if breaks is None else np.asarray(breaks, bool)
        first = self.graphs[0]
        self.pattern, count = first.pattern, len(first)
        # Heights of the picture to units of the object at its distance.
        scale = float(np.median(first.centres[:, 2])) / (intrinsics.y * first.unit)
        self.seen: list[tuple[BoundPoints, np.ndarray, np.ndarray, float] | None] = []
        self.facing = [
            None
            if found is None or found.normal_constraints is None or not moves or weights.shade <= 0
            else self._facing(graph, found.normal_constraints)
            for graph, found, moves in zip(self.graphs, constraints, self.free, strict=True)
        ]
        for graph, found, moves in zip(self.graphs, constraints, self.free, strict=True):
            if found is None or len(found) == 0 or not moves:
                self.seen.append(None)
                continue
            share = 1.0 / np.sqrt(max(len(found), weights.points))
            target, root = np.asarray(found.targets, np.float64), found.sqrt_information * scale * share
            self.seen.append((graph.bind(found.points), target, root, weights.reach * share))
        share = weights.rigidity / count
        stretch, bend = articulation.hinge_weights(weights.strain, weights.angle)
        self.stretch = [share * stretch / np.square(graph.lengths) for graph in self.graphs]
        self.bend = share * weights.bend * bend
        self.slow = np.full(count, 1.0 / (count * first.unit**2))
        self.radius = 0.5 * float(np.median(first.lengths))

    def _facing(self, graph: DeformationGraph, facing: NormalConstraints) -> tuple:
        """What ``add_normal_constraints`` takes, for one frame."""
        bound = graph.bind(facing.points)
        triangles = torch.from_numpy(graph.faces)
        corners = triangles.index_select(0, facing.points.faces.cpu()).reshape(-1)
        normals = vertex_normals(torch.from_numpy(graph.rest), triangles).index_select(0, corners).reshape(-1, 3, 3)
        normals = (normals * facing.points.weights.cpu().double()[..., None]).sum(1)
        strength = np.sqrt(self.weights.shade / max(len(facing), self.weights.points // 2))
        root = strength * np.sqrt(facing.confidence)
        points = (bound.start, bound.node, bound.weight)
        at_rest = torch.nn.functional.normalize(normals, dim=1).numpy()
        return points, at_rest, facing.axes, facing.cosines, root, TURNED * strength

    def differences(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Frames, coefficients and weight of every difference over time that a free frame takes part in."""
        out, count = [], len(self.free)
        kinds = [((-1.0, 1.0), self.weights.velocity), ((1.0, -2.0, 1.0), self.weights.smoothness)]
        for shares, weight in kinds:
            for time in range(count - len(shares) + 1):
                frames = np.arange(time, time + len(shares))
                if weight > 0 and self.free[frames].any() and not self.breaks[frames[1:]].any():
                    out.append((frames, np.array(shares), weight))
        return out

    def equations(self, poses: Poses) -> Equations:
        """Energy, its gradient and its Gauss-Newton matrix at poses."""
        pattern, count = self.pattern, len(self.pattern.place)
        blocks = np.zeros((len(poses), len(pattern.row), 6, 6))
        gradient = np.zeros((len(poses), 6 * count))
        energy = 0.0
        for time in np.flatnonzero(self.free):
            state = (poses.rotations[time], poses.positions[time])
            equations = (blocks[time], pattern.slot, gradient[time], pattern.place)
            seen = self.seen[time]
            if seen is not None:
                bound, target, root, reach = seen
                points = (bound.start, bound.node, bound.weight, bound.local)
                energy += add_point_constraints(
                    *equations, *state, points, (target, root), self.intrinsics.numbers, reach
                )
            facing = self.facing[time]
            if facing is not None:
                energy += add_normal_constraints(*equations, poses.rotations[time], *facing)
            graph = self.graphs[time]
            energy += add_rigidity(*equations, *state, graph.edges, graph.offsets, self.stretch[time], self.bend)
        pairs: dict[tuple[int, int], int] = {}
        differences = self.differences()
        for frames, _, _ in differences:
            for a, first in enumerate(frames):
                for second in frames[a + 1 :]:
                    if self.free[first] and self.free[second]:
                        pairs.setdefault((int(first), int(second)), len(pairs))
        across = np.zeros((len(pairs), count, 6, 6))
        for frames, shares, weight in differences:
            slots = np.full((len(frames), len(frames)), -1)
            for a, first in enumerate(frames):
                for b in range(a, len(frames)):
                    second = frames[b]
                    if self.free[first] and self.free[second]:
                        slots[a, b] = pairs[(int(first), int(second))] if b > a else 0
            energy += add_temporal_smoothness(
                blocks, pattern.slot, gradient, across, pattern.place, poses.rotations, poses.positions, frames,
                shares, slots, weight * self.slow, self.radius,
            )  # fmt: skip
        coupled = np.array(list(pairs), np.int64).reshape(-1, 2)
        return Equations(energy, gradient, pattern, blocks, coupled, across, self.free)


@dataclass
class Equations:
    """Normal equations of T frames.

    Attributes:
        energy: a number.
        gradient: (T, 6K).
        pattern: of the blocks.
        blocks: (T, B, 6, 6) each frame's own.
        pairs: (P, 2) frames that are coupled.
        across: (P, K, 6, 6) what couples a place's unknowns in them.
        free: (T,) frames that are unknown.
    """

    energy: float
    gradient: np.ndarray
    pattern: BlockPattern
    blocks: np.ndarray
    pairs: np.ndarray
    across: np.ndarray
    free: np.ndarray

    def diagonal(self) -> np.ndarray:
        """(free frames, K, 6)."""
        return np.einsum("tkaa->tka", self.blocks[self.free][:, self.pattern.start[:-1]])

    def step(self, damping: float, tolerance: float, most: int) -> np.ndarray | None:
        """Minus the inverse of the matrix times the gradient, (T, 6K), by conjugate gradients.

        Args:
            damping: added to the diagonal.
            tolerance: of the squared residual.
            most: steps.

        Returns:
            None where the matrix is not positive definite.
        """
        blocks = self.blocks.copy()
        for axis in range(6):
            blocks[:, self.pattern.start[:-1], axis, axis] += damping
        factor, good = factorize(blocks, self.pattern, self.free)
        if not good:
            return None
        residual = -self.gradient * self.free[:, None]
        found = solve_factored(factor, self.pattern, self.free, residual)
        if len(self.pairs) == 0:
            return found
        step, direction, rest = np.zeros_like(found), found, float((residual * found).sum())
        first = rest
        for _ in range(most):
            if rest <= tolerance * first:
                break
            moved = multiply(blocks, self.pattern, self.free, self.pairs, self.across, direction)
            length = rest / float((direction * moved).sum())
            step += length * direction
            residual -= length * moved
            found = solve_factored(factor, self.pattern, self.free, residual)
            last, rest = rest, float((residual * found).sum())
            direction = found + rest / last * direction
        return step


def solve(problem: Problem, poses: Poses, steps: int, tolerance: float = 1e-3, inner: int = 40) -> Solution:
    """Gauss-Newton steps, damped where they fail.

    Args:
        problem: the energy.
        poses: of its T frames, where to start.
        steps: at most.
        tolerance: relative decrease of the energy below which it ends.
        inner: conjugate gradient steps at most.
    """
    poses = Poses(poses.rotations.copy(), poses.positions.copy())
    equations = problem.equations(poses)
    energies = [equations.energy]
    damping = DAMPING
    place = problem.pattern.place
    for _ in range(steps):
        mean = float(equations.diagonal().mean())
        while damping < MOST_DAMPING:
            step = equations.step(damping * mean, 1e-6, inner)
            if step is not None:
                tried = Poses(poses.rotations.copy(), poses.positions.copy())
                for time in np.flatnonzero(problem.free):
                    apply_increment(tried.rotations[time], tried.positions[time], step[time], place)
                there = problem.equations(tried)
                if there.energy <= energies[-1]:
                    break
            damping *= 10
        else:
            break
        damping = max(damping / 10, DAMPING)
        gain = energies[-1] - there.energy
        poses, equations = tried, there
        energies.append(there.energy)
        if gain <= tolerance * energies[-1]:
            break
    return Solution(poses, energies)
