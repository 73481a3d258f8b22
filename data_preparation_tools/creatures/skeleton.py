"""A small skeleton: bones with rest positions, forward kinematics, two-bone legs, skinning weights and blending."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_preparation_tools.creatures.solid import Array, Point, Solid, adjacency, rotation


@dataclass(frozen=True)
class Bone:
    """A joint and what hangs on it.

    Attributes:
        parent: name of the bone that carries it, None for the root.
        head: the joint in the rest pose.
    """

    parent: str | None
    head: Point


@dataclass(frozen=True)
class Pose:
    """Turns of bones about their joints, in degrees about the rest pose's axes, and the root's shift."""

    turns: Mapping[str, Point]
    shift: Point = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Skeleton:
    """Bones by name; a parent stands before its children."""

    bones: Mapping[str, Bone]

    def transforms(self, pose: Pose) -> Array:
        """Rest space to posed space for every bone, (B, 4, 4).

        Raises:
            KeyError: the pose turns a bone that is not there.
        """
        unknown = set(pose.turns) - set(self.bones)
        if unknown:
            raise KeyError(f"pose: no bone named {', '.join(sorted(unknown))}")
        found: dict[str, Array] = {}
        for name, bone in self.bones.items():
            local = np.eye(4)
            local[:3, :3] = rotation(*pose.turns.get(name, (0.0, 0.0, 0.0)))
            local[:3, 3] = np.asarray(bone.head) - local[:3, :3] @ np.asarray(bone.head)
            if bone.parent is None:
                local[:3, 3] += np.asarray(pose.shift)
                found[name] = local
            else:
                found[name] = found[bone.parent] @ local
        return np.stack(list(found.values()))

    def weights(self, solid: Solid, vertices: Array, faces: Array, reach: float = 0.025, smoothing: int = 20) -> Array:
        """Skinning weights (V, B): a bone counts the more, the nearer its parts are, then evened over the mesh.

        Args:
            solid: its parts name their bones.
            vertices: (V, 3) rest pose.
            faces: (F, 3).
            reach: distance over which a bone that is farther than the nearest loses all but 1/e of its share.
            smoothing: rounds of averaging over neighbours.
        """
        distances = solid.part_distances(vertices)
        owners = np.array([part.bone for part in solid.parts])
        nearest = np.full((len(self.bones), len(vertices)), np.inf)
        for index, name in enumerate(self.bones):
            if (owners == name).any():
                nearest[index] = distances[owners == name].min(0)
        share = np.exp(-np.minimum((nearest - nearest.min(0)) / reach, 60.0)).T
        share /= share.sum(1, keepdims=True)
        mean = adjacency(faces, len(vertices))
        for _ in range(smoothing):
            share = 0.5 * share + 0.5 * (mean @ share)
        return share / share.sum(1, keepdims=True)


def blend(vertices: Array, weights: Array, transforms: Array) -> Array:
    """Linear blend skinning: vertices (V, 3), weights (V, B), transforms (B, 4, 4) to posed vertices (V, 3)."""
    mixed = np.einsum("vb,bij->vij", weights, transforms)
    return np.einsum("vij,vj->vi", mixed[:, :3, :3], vertices) + mixed[:, :3, 3]


def leg_angles(
    hip: tuple[float, float], knee: tuple[float, float], ankle: tuple[float, float], target: tuple[float, float]
) -> tuple[float, float]:
    """Turns about x (degrees) of a thigh and a shank that bring the ankle to a target in the y-z plane.

    Args:
        hip: (y, z) of the joint in the rest pose.
        knee: (y, z) in the rest pose.
        ankle: (y, z) in the rest pose.
        target: (y, z) wanted for the ankle; where it is out of reach, the leg is stretched towards it.

    Returns:
        the thigh's turn, and the shank's turn relative to the thigh; the knee keeps bending to its rest side.
    """

    def polar(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
        # A turn about x takes y towards z, so angles are measured from y to z.
        return math.hypot(end[0] - start[0], end[1] - start[1]), math.atan2(end[1] - start[1], end[0] - start[0])

    upper, upper_angle = polar(hip, knee)
    lower, lower_angle = polar(knee, ankle)
    reach, direction = polar(hip, target)
    reach = min(max(reach, abs(upper - lower) * 1.001), (upper + lower) * 0.999)
    side = math.copysign(1.0, math.sin(upper_angle - polar(hip, ankle)[1]))
    at_hip = math.acos((upper**2 + reach**2 - lower**2) / (2 * upper * reach))
    at_knee = math.acos((upper**2 + lower**2 - reach**2) / (2 * upper * lower))
    thigh = direction + side * at_hip - upper_angle
    shank = direction + side * at_hip - side * (math.pi - at_knee) - lower_angle - thigh

    def wrapped(angle: float) -> float:
        return math.degrees(math.remainder(angle, 2 * math.pi))

    return wrapped(thigh), wrapped(shank)
