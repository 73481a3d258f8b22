"""Base classes of the creatures, and how one is sculpted: its rest pose meshed and animated through one loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from data_preparation_tools.creatures.skeleton import Pose, Skeleton, linear_blend_skinning
from data_preparation_tools.creatures.solid import Array, ImplicitSolid, Point, RoundCone, SolidPart, mesh_solid


class Creature(ABC):
    """A coloured solid with a looping motion.

    Attributes:
        name: the animation's folder.
        solid: the rest pose, facing +z.
        view: yaw and pitch of the camera (degrees), and the fraction of the picture that the motion spans.
        frames: of one loop at 24 frames a second.
    """

    name: ClassVar[str]
    solid: ClassVar[ImplicitSolid]
    view: ClassVar[tuple[float, float, float]]
    frames: ClassVar[int] = 24

    @abstractmethod
    def decals(self, generator: np.random.Generator) -> tuple[SolidPart, ...]:
        """The decals over the parts' own colours, in order (see ``ImplicitSolid.paint``)."""

    @abstractmethod
    def animate(self, vertices: Array, faces: Array, phases: Array) -> Array:
        """Poses (T, V, 3) of rest vertices (V, 3) at phases (T,) of the loop, each in [0, 1)."""

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
    """A creature animated by a skeleton."""

    skeleton: ClassVar[Skeleton]

    @abstractmethod
    def pose(self, phase: float) -> Pose:
        """The bones at a phase of the loop."""

    def animate(self, vertices: Array, faces: Array, phases: Array) -> Array:
        """Linear blend skinning of the rest pose."""
        weights = self.skeleton.weights(self.solid, vertices, faces)
        return np.stack(
            [
                linear_blend_skinning(vertices, weights, self.skeleton.transforms(self.pose(float(phase))))
                for phase in phases
            ]
        )


@dataclass(frozen=True)
class SculptedCreature:
    """A creature's mesh and poses.

    Attributes:
        rest: (V, 3) rest pose in the creature's own units, in which its paint is defined.
        faces: (F, 3) int32.
        occlusion: (V,) fraction of the ambient light that reaches each vertex.
        poses: (T, V, 3), scaled such that the rest pose fits the unit cube.
        decals: the decals drawn for this seed.
        solid: the parts with their colours.
    """

    rest: Array
    faces: Array
    occlusion: Array
    poses: Array
    decals: tuple[SolidPart, ...]
    solid: ImplicitSolid

    def paint(self, points: Array) -> Array:
        """Unlit sRGB colours (N, 3) at points (N, 3) of the rest pose's surface."""
        return self.solid.paint(points, self.decals)


def sculpt(creature: Creature, frames: int, faces: int, seed: int) -> SculptedCreature:
    """Mesh the rest pose, draw the decals and animate the creature through one loop.

    Args:
        creature: what to make.
        frames: number T of poses, evenly spaced over the loop.
        faces: approximate number of triangles.
        seed: of the decals.
    """
    rest, triangles = mesh_solid(creature.distance, creature.gradient, creature.solid.box(), faces)
    poses = creature.animate(rest, triangles, np.arange(frames) / frames)
    lower, upper = rest.min(0), rest.max(0)
    poses = (poses - (lower + upper) / 2) / (upper - lower).max()
    decals = creature.decals(np.random.default_rng(seed))
    return SculptedCreature(rest, triangles, ambient_occlusion(creature, rest), poses, decals, creature.solid)


def ambient_occlusion(creature: Creature, points: Array) -> Array:
    """Ambient occlusion (N,) in [0, 1], 1 for unoccluded, by comparing distances along the normal with step lengths."""
    gradient = creature.gradient(points)
    normal = gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
    occlusion = np.zeros(len(points))
    for step, weight in ((0.03, 0.4), (0.07, 0.35), (0.14, 0.25)):
        occlusion += weight * np.clip(1.0 - creature.distance(points + step * normal) / step, 0.0, 1.0)
    return 1.0 - occlusion


def stroke(points: Array, radius: float, color: Point, softness: float = 0.004) -> list[SolidPart]:
    """A painted line through points (N, 3)."""
    corners: list[Point] = [(float(x), float(y), float(z)) for x, y, z in points]
    return [RoundCone("", color, softness, start, end, radius, radius) for start, end in pairwise(corners)]
