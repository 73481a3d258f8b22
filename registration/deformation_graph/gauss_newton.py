"""Poses of a deformation graph from what frames show: Gauss-Newton over one frame, or over many together.

The energy of T frames, in units of the object's size:

- seen points lie where they are seen (Cauchy's loss), mean over a frame's points;
- points face where their shade says, ``shade`` times the squared turn, in radians;
- neighbouring nodes agree: ``rigidity`` times the mean over the nodes of their edges' relative stretch, squared, and of
  the angle between their turns, squared, each edge with its own weight (``Joints``);
- motion is slow and even: ``velocity`` and ``smoothness`` times the mean squared first and second differences.

Frames are solved together by conjugate gradients, preconditioned with the factors of the frames' own equations; fixed
frames take part but stay as they are, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from registration.correspondences.constraints import Facing, Observations
from registration.deformation_graph.block_cholesky import Pattern, factored, multiplied, solved
from registration.deformation_graph.graph import Bound, DeformationGraph, Poses
from registration.deformation_graph.kernels import add_edges, add_motion, add_observed, turn_by
from registration.deformation_graph.shading_kernel import add_facing
from v2m4.camera import Camera
from v2m4.geometry import vertex_normals

TURNED = 0.4  # radians from which on what shade tells counts less
DAMPING = 1e-6  # of the equations' mean diagonal
MOST_DAMPING = 1e3
KEPT_LENGTH = 0.01  # of its tie an edge keeps against stretch however often it gave way


@dataclass(frozen=True)
class Weights:
    """What terms count.

    Attributes:
        rigidity: of ties between nodes, where what is seen has 1.
        bend: of the squared angle between neighbours in radians, where a squared relative stretch has 1.
        velocity: of first differences over time.
        smoothness: of second differences.
        reach: residual, relative to the object's size, from which on a seen point counts less.
        strain: relative stretch, root mean square over time, at which an edge keeps half of its tie (``Joints``).
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
class Joints:
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
    def none(cls, graph: DeformationGraph) -> Joints:
        """Of no frame."""
        return cls(np.zeros(len(graph.edges)), np.zeros(len(graph.edges)))

    def after(self, graph: DeformationGraph, poses: Poses) -> Joints:
        """With T more frames."""
        first, second = graph.edges.T
        arms = graph.arms
        off = np.einsum("teab,eb->tea", poses.rotations[:, first], arms[:, 0]) + poses.positions[:, first]
        off -= np.einsum("teab,eb->tea", poses.rotations[:, second], arms[:, 1]) + poses.positions[:, second]
        stretched = np.square(off).sum((0, 2)) / np.square(graph.lengths)
        turned = 0.5 * np.square(poses.rotations[:, first] - poses.rotations[:, second]).sum((0, 2, 3))
        return Joints(self.stretched + stretched, self.turned + turned, self.frames + len(poses))

    def ties(self, strain: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
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
class Lens:
    """The video's camera: focal length in fractions of the picture's width and height, and its aspect."""

    x: float
    y: float
    aspect: float

    @classmethod
    def of(cls, camera: Camera) -> Lens:
        """Of a camera that is not cropped, at the origin."""
        matrix = camera.intrinsics((1, 1))
        return cls(float(matrix[0, 0]), float(matrix[1, 1]), camera.aspect)

    @property
    def numbers(self) -> np.ndarray:
        """(3,), as the kernels read them."""
        return np.array([self.x, self.y, self.aspect])


@dataclass(frozen=True)
class Solved:
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
        lens: the video's.
        observations: of each frame; None where nothing is seen.
        weights: of the terms.
        joints: what is known of the edges.
        free: (T,) which frames may move; default all.
        breaks: (T,) frames whose motion does not follow on from the frame before; default none.
    """

    def __init__(
        self,
        graphs: Sequence[DeformationGraph],
        lens: Lens,
        observations: Sequence[Observations | None],
        weights: Weights,
        joints: Joints,
        free: np.ndarray | None = None,
        breaks: np.ndarray | None = None,
    ) -> None:
        self.graphs, self.lens, self.weights = list(graphs), lens, weights
        self.free = np.ones(len(graphs), bool) if free is None else np.asarray(free, bool)
        self.breaks = np.zeros(len(graphs), bool) if breaks is None else np.asarray(breaks, bool)
        first = self.graphs[0]
        self.pattern, count = first.pattern, len(first)
        # Heights of the picture to units of the object at its distance.
        scale = float(np.median(first.centres[:, 2])) / (lens.y * first.unit)
        self.seen: list[tuple[Bound, np.ndarray, np.ndarray, float] | None] = []
        self.facing = [
            None
            if found is None or found.facing is None or not moves or weights.shade <= 0
            else self._facing(graph, found.facing)
            for graph, found, moves in zip(self.graphs, observations, self.free, strict=True)
        ]
        for graph, found, moves in zip(self.graphs, observations, self.free, strict=True):
            if found is None or len(found) == 0 or not moves:
                self.seen.append(None)
                continue
            share = 1.0 / np.sqrt(max(len(found), weights.points))
            target, root = np.asarray(found.targets, np.float64), found.root * scale * share
            self.seen.append((graph.bound(found.points), target, root, weights.reach * share))
        share = weights.rigidity / count
        stretch, bend = joints.ties(weights.strain, weights.angle)
        self.stretch = [share * stretch / np.square(graph.lengths) for graph in self.graphs]
        self.bend = share * weights.bend * bend
        self.slow = np.full(count, 1.0 / (count * first.unit**2))
        self.radius = 0.5 * float(np.median(first.lengths))

    def _facing(self, graph: DeformationGraph, facing: Facing) -> tuple:
        """What ``add_facing`` takes, for one frame."""
        bound = graph.bound(facing.points)
        triangles = torch.from_numpy(graph.faces)
        corners = triangles.index_select(0, facing.points.faces.cpu()).reshape(-1)
        normals = vertex_normals(torch.from_numpy(graph.rest), triangles).index_select(0, corners).reshape(-1, 3, 3)
        normals = (normals * facing.points.weights.cpu().double()[..., None]).sum(1)
        strength = np.sqrt(self.weights.shade / max(len(facing), self.weights.points // 2))
        root = strength * np.sqrt(facing.confidence)
        points = (bound.start, bound.node, bound.weight)
        at_rest = torch.nn.functional.normalize(normals, dim=1).numpy()
        return points, at_rest, facing.axes, facing.values, root, TURNED * strength

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
                energy += add_observed(*equations, *state, points, (target, root), self.lens.numbers, reach)
            facing = self.facing[time]
            if facing is not None:
                energy += add_facing(*equations, poses.rotations[time], *facing)
            graph = self.graphs[time]
            energy += add_edges(*equations, *state, graph.edges, graph.arms, self.stretch[time], self.bend)
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
            energy += add_motion(
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
    pattern: Pattern
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
        factor, good = factored(blocks, self.pattern, self.free)
        if not good:
            return None
        residual = -self.gradient * self.free[:, None]
        found = solved(factor, self.pattern, self.free, residual)
        if len(self.pairs) == 0:
            return found
        step, direction, rest = np.zeros_like(found), found, float((residual * found).sum())
        first = rest
        for _ in range(most):
            if rest <= tolerance * first:
                break
            moved = multiplied(blocks, self.pattern, self.free, self.pairs, self.across, direction)
            length = rest / float((direction * moved).sum())
            step += length * direction
            residual -= length * moved
            found = solved(factor, self.pattern, self.free, residual)
            last, rest = rest, float((residual * found).sum())
            direction = found + rest / last * direction
        return step


def solve(problem: Problem, poses: Poses, steps: int, tolerance: float = 1e-3, inner: int = 40) -> Solved:
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
                    turn_by(tried.rotations[time], tried.positions[time], step[time], place)
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
    return Solved(poses, energies)
