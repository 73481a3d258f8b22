"""What every creature is, and how one is sculpted: meshed in its rest pose and moved through one loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from data_preparation_tools.creatures.skeleton import Pose, Skeleton, blend
from data_preparation_tools.creatures.solid import Array, Part, Point, RoundCone, Solid, mesh_solid


class Creature(ABC):
    """A solid with paint and a motion that loops.

    Attributes:
        name: the animation's folder.
        solid: the rest pose, facing +z.
        view: yaw and pitch of the camera (degrees), and how much of the picture the creature may fill.
        frames: of one loop at 24 frames a second.
    """

    name: ClassVar[str]
    solid: ClassVar[Solid]
    view: ClassVar[tuple[float, float, float]]
    frames: ClassVar[int] = 24

    @abstractmethod
    def decals(self, generator: np.random.Generator) -> tuple[Part, ...]:
        """What is painted over the parts' own colours, in order (see ``Solid.paint``)."""

    @abstractmethod
    def move(self, vertices: Array, faces: Array, phases: Array) -> Array:
        """Rest vertices (V, 3) at phases (T,) of the loop, each in [0, 1): (T, V, 3)."""

    def distance(self, points: Array) -> Array:
        """Signed distance (N,) of the rest pose."""
        return self.solid.distance(points)

    def gradient(self, points: Array) -> Array:
        """Gradient (N, 3) of the distance, by central differences."""
        step = np.asarray(1e-3, points.dtype)
        shifts = step * np.eye(3, dtype=points.dtype)
        return np.stack([self.distance(points + shift) - self.distance(points - shift) for shift in shifts], 1) / (
            2 * step
        )


class SkinnedCreature(Creature):
    """A creature moved by bones."""

    skeleton: ClassVar[Skeleton]

    @abstractmethod
    def pose(self, phase: float) -> Pose:
        """The bones at a phase of the loop."""

    def move(self, vertices: Array, faces: Array, phases: Array) -> Array:
        """Linear blend skinning of the rest pose."""
        weights = self.skeleton.weights(self.solid, vertices, faces)
        return np.stack(
            [blend(vertices, weights, self.skeleton.transforms(self.pose(float(phase)))) for phase in phases]
        )


@dataclass(frozen=True)
class Model:
    """A creature made of triangles.

    Attributes:
        rest: (V, 3) rest pose in the creature's own units, where its paint is defined.
        faces: (F, 3) int32.
        occlusion: (V,) share of the ambient light that reaches each vertex.
        poses: (T, V, 3), one similarity away from the creature's units: the rest pose fits the unit cube.
        decals: the paint drawn for this seed.
        solid: the parts with their colours.
    """

    rest: Array
    faces: Array
    occlusion: Array
    poses: Array
    decals: tuple[Part, ...]
    solid: Solid

    def paint(self, points: Array) -> Array:
        """Unlit sRGB colours (N, 3) at points (N, 3) of the rest pose's surface."""
        return self.solid.paint(points, self.decals)


def sculpt(creature: Creature, frames: int, faces: int, seed: int) -> Model:
    """Mesh the rest pose, draw the paint and move the creature through one loop.

    Args:
        creature: what to make.
        frames: poses T, evenly over the loop.
        faces: about how many triangles.
        seed: of the paint.
    """
    rest, triangles = mesh_solid(creature.distance, creature.gradient, creature.solid.box(), faces)
    poses = creature.move(rest, triangles, np.arange(frames) / frames)
    lower, upper = rest.min(0), rest.max(0)
    poses = (poses - (lower + upper) / 2) / (upper - lower).max()
    decals = creature.decals(np.random.default_rng(seed))
    return Model(rest, triangles, ambient_occlusion(creature, rest), poses, decals, creature.solid)


def ambient_occlusion(creature: Creature, points: Array) -> Array:
    """Open share (N,) in [0, 1] of the sky over surface points: steps outwards should come as far away as they go."""
    slope = creature.gradient(points)
    normal = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    closed = np.zeros(len(points))
    for step, weight in ((0.03, 0.4), (0.07, 0.35), (0.14, 0.25)):
        closed += weight * np.clip(1.0 - creature.distance(points + step * normal) / step, 0.0, 1.0)
    return 1.0 - closed


def stroke(points: Array, radius: float, color: Point, softness: float = 0.004) -> list[Part]:
    """A painted line through points (N, 3)."""
    corners: list[Point] = [(float(x), float(y), float(z)) for x, y, z in points]
    return [RoundCone("", color, softness, start, end, radius, radius) for start, end in pairwise(corners)]
