"""A small skeleton: forward kinematics, two-bone inverse kinematics, skinning weights and linear blend skinning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_preparation_tools.creatures.solid import Array, ImplicitSolid, Point, adjacency, euler_matrix


@dataclass(frozen=True)
class Bone:
    """A bone, which rotates about a joint.

    Attributes:
        parent: name of the parent bone, None for the root.
        head: position of the joint in the rest pose.
    """

    parent: str | None
    head: Point


@dataclass(frozen=True)
class Pose:
    """Rotations of bones about their joints (degrees about the rest pose's x, y, z), and the root's translation."""

    rotations: Mapping[str, Point]
    translation: Point = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Skeleton:
    """Bones by name, a parent before its children."""

    bones: Mapping[str, Bone]

    def transforms(self, pose: Pose) -> Array:
        """Rest space to posed space for every bone, (B, 4, 4).

        Raises:
            KeyError: the pose rotates an unknown bone.
        """
        unknown = set(pose.rotations) - set(self.bones)
        if unknown:
            raise KeyError(f"pose: no bone named {', '.join(sorted(unknown))}")
        transforms: dict[str, Array] = {}
        for name, bone in self.bones.items():
            local = np.eye(4)
            local[:3, :3] = euler_matrix(*pose.rotations.get(name, (0.0, 0.0, 0.0)))
            local[:3, 3] = np.asarray(bone.head) - local[:3, :3] @ np.asarray(bone.head)
            if bone.parent is None:
                local[:3, 3] += np.asarray(pose.translation)
                transforms[name] = local
            else:
                transforms[name] = transforms[bone.parent] @ local
        return np.stack(list(transforms.values()))

    def weights(
        self, solid: ImplicitSolid, vertices: Array, faces: Array, falloff: float = 0.025, smoothing: int = 20
    ) -> Array:
        """Skinning weights (V, B): decreasing with the distance to a bone's parts, then smoothed over the mesh.

        Args:
            solid: its parts name their bones.
            vertices: (V, 3) rest pose.
            faces: (F, 3).
            falloff: distance beyond the nearest bone's at which a bone's weight has decreased to 1/e.
            smoothing: iterations of averaging over neighbours.
        """
        distances = solid.part_distances(vertices)
        bone_of_part = np.array([part.bone for part in solid.parts])
        nearest = np.full((len(self.bones), len(vertices)), np.inf)
        for index, name in enumerate(self.bones):
            if (bone_of_part == name).any():
                nearest[index] = distances[bone_of_part == name].min(0)
        weights = np.exp(-np.minimum((nearest - nearest.min(0)) / falloff, 60.0)).T
        weights /= weights.sum(1, keepdims=True)
        mean = adjacency(faces, len(vertices))
        for _ in range(smoothing):
            weights = 0.5 * weights + 0.5 * (mean @ weights)
        return weights / weights.sum(1, keepdims=True)


def linear_blend_skinning(vertices: Array, weights: Array, transforms: Array) -> Array:
    """Linear blend skinning: vertices (V, 3), weights (V, B), transforms (B, 4, 4) to posed vertices (V, 3)."""
    blended = np.einsum("vb,bij->vij", weights, transforms)
    return np.einsum("vij,vj->vi", blended[:, :3, :3], vertices) + blended[:, :3, 3]


def leg_angles(
    hip: tuple[float, float], knee: tuple[float, float], ankle: tuple[float, float], target: tuple[float, float]
) -> tuple[float, float]:
    """Two-bone inverse kinematics: rotations about x (degrees) of thigh and shank that move the ankle to a target.

    Args:
        hip: (y, z) of the joint in the rest pose.
        knee: (y, z) in the rest pose.
        ankle: (y, z) in the rest pose.
        target: (y, z) of the ankle; where it is too far away, the leg is stretched towards it.

    Returns:
        The thigh's rotation, and the shank's relative to the thigh; the knee bends to the side that it does at rest.
    """

    def polar(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
        # A positive rotation about x takes y towards z, so angles are measured from y to z.
        return math.hypot(end[0] - start[0], end[1] - start[1]), math.atan2(end[1] - start[1], end[0] - start[0])

    upper, upper_angle = polar(hip, knee)
    lower, lower_angle = polar(knee, ankle)
    distance, direction = polar(hip, target)
    distance = min(max(distance, abs(upper - lower) * 1.001), (upper + lower) * 0.999)
    side = math.copysign(1.0, math.sin(upper_angle - polar(hip, ankle)[1]))
    hip_angle = math.acos((upper**2 + distance**2 - lower**2) / (2 * upper * distance))
    knee_angle = math.acos((upper**2 + lower**2 - distance**2) / (2 * upper * lower))
    thigh = direction + side * hip_angle - upper_angle
    shank = direction + side * hip_angle - side * (math.pi - knee_angle) - lower_angle - thigh

    def to_degrees(angle: float) -> float:
        return math.degrees(math.remainder(angle, 2 * math.pi))

    return to_degrees(thigh), to_degrees(shank)
