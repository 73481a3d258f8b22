"""A small sauropod on four legs: it walks on the spot, nods and wags its tail."""

from __future__ import annotations

import math

import numpy as np

from data_preparation_tools.creatures.creature import SkinnedCreature, stroke
from data_preparation_tools.creatures.skeleton import Bone, Pose, Skeleton, leg_angles
from data_preparation_tools.creatures.solid import Ellipsoid, ImplicitSolid, Point, RoundCone, SolidPart

SKIN: Point = (0.42, 0.74, 0.52)
DARK: Point = (0.20, 0.52, 0.42)
BELLY: Point = (0.97, 0.91, 0.68)
SPIKE: Point = (0.98, 0.58, 0.26)
NAIL: Point = (0.98, 0.95, 0.86)
BLUSH: Point = (0.95, 0.55, 0.50)
INK: Point = (0.10, 0.10, 0.14)
WHITE: Point = (1.0, 1.0, 1.0)

START = 23 / 24  # phase of the walk that the loop begins with: all four legs apart in the picture
LEGS = {  # name: side (x), hip, knee and ankle as (y, z), start of its step in the loop
    "front_left": (0.140, (-0.06, 0.17), (-0.19, 0.195), (-0.30, 0.175), 0.25),
    "front_right": (-0.140, (-0.06, 0.17), (-0.19, 0.195), (-0.30, 0.175), 0.75),
    "hind_left": (0.145, (-0.05, -0.16), (-0.19, -0.130), (-0.30, -0.165), 0.0),
    "hind_right": (-0.145, (-0.05, -0.16), (-0.19, -0.130), (-0.30, -0.165), 0.5),
}
TAIL: tuple[Point, ...] = ((0, 0.0, -0.20), (0, -0.03, -0.34), (0, -0.03, -0.47), (0, 0.01, -0.59), (0, 0.07, -0.69))
TAIL_RADII = (0.125, 0.092, 0.066, 0.044, 0.022)
SPIKES = (  # bone, foot and tip as (y, z), radius of the foot
    ("neck_2", (0.40, 0.265), (0.445, 0.215), 0.030),
    ("neck_1", (0.24, 0.185), (0.300, 0.120), 0.036),
    ("body", (0.165, 0.07), (0.245, 0.035), 0.042),
    ("body", (0.165, -0.10), (0.240, -0.145), 0.042),
    ("tail_0", (0.095, -0.25), (0.160, -0.300), 0.036),
    ("tail_1", (0.045, -0.40), (0.100, -0.445), 0.028),
)


def _legs() -> list[SolidPart]:
    parts: list[SolidPart] = []
    for name, (x, hip, knee, ankle, _) in LEGS.items():
        outer = x * 1.08
        parts += [
            RoundCone(f"{name}_thigh", SKIN, 0.05, (x, *hip), (outer, *knee), 0.078, 0.057),
            RoundCone(f"{name}_shank", SKIN, 0.01, (outer, *knee), (outer, *ankle), 0.056, 0.052),
            Ellipsoid(f"{name}_shank", SKIN, 0.03, (outer, ankle[0] - 0.02, ankle[1] + 0.022), (0.066, 0.045, 0.080)),
        ]
    return parts


def _solid() -> ImplicitSolid:
    parts: list[SolidPart] = [
        Ellipsoid("body", SKIN, 0.05, (0, 0, 0), (0.165, 0.170, 0.255)),
        RoundCone("neck_0", SKIN, 0.07, (0, 0.04, 0.17), (0, 0.18, 0.27), 0.122, 0.094),
        RoundCone("neck_1", SKIN, 0.012, (0, 0.18, 0.27), (0, 0.30, 0.32), 0.094, 0.082),
        RoundCone("neck_2", SKIN, 0.012, (0, 0.30, 0.32), (0, 0.41, 0.36), 0.082, 0.080),
        Ellipsoid("head", SKIN, 0.05, (0, 0.465, 0.385), (0.128, 0.112, 0.130)),
        Ellipsoid("head", SKIN, 0.06, (0, 0.430, 0.485), (0.098, 0.072, 0.092)),
    ]
    for index in range(len(TAIL) - 1):
        start, end = TAIL_RADII[index], TAIL_RADII[index + 1]
        fillet = 0.012 if index else 0.06
        parts.append(RoundCone(f"tail_{index}", SKIN, fillet, TAIL[index], TAIL[index + 1], start, end))
    parts += _legs()
    for bone, foot, tip, radius in SPIKES:
        parts.append(RoundCone(bone, SPIKE, 0.02, (0, *foot), (0, *tip), radius, 0.017))
    for side in (-1, 1):
        parts.append(Ellipsoid("head", WHITE, 0.012, (side * 0.075, 0.500, 0.436), (0.042, 0.048, 0.042)))
    return ImplicitSolid(tuple(parts))


def _bones() -> dict[str, Bone]:
    bones = {
        "body": Bone(None, (0, 0, 0)),
        "neck_0": Bone("body", (0, 0.04, 0.17)),
        "neck_1": Bone("neck_0", (0, 0.18, 0.27)),
        "neck_2": Bone("neck_1", (0, 0.30, 0.32)),
        "head": Bone("neck_2", (0, 0.42, 0.36)),
    }
    for index, head in enumerate(TAIL[:-1]):
        bones[f"tail_{index}"] = Bone(f"tail_{index - 1}" if index else "body", head)
    for name, (x, hip, knee, _, _) in LEGS.items():
        bones[f"{name}_thigh"] = Bone("body", (x, *hip))
        bones[f"{name}_shank"] = Bone(f"{name}_thigh", (x * 1.08, *knee))
    return bones


class Dino(SkinnedCreature):
    """Seen from three quarters; its legs follow a walk (hind left, front left, hind right, front right)."""

    name = "walking_dino"
    solid = _solid()
    skeleton = Skeleton(_bones())
    view = (52.0, 12.0, 0.74)

    def decals(self, generator: np.random.Generator) -> tuple[SolidPart, ...]:
        """Belly, spots, toe nails, eyes, nostrils, mouth and blushing cheeks."""
        parts: list[SolidPart] = [
            Ellipsoid("body", BELLY, 0.012, (0, -0.15, 0.02), (0.125, 0.125, 0.27)),
            RoundCone("", BELLY, 0.012, (0, -0.06, 0.265), (0, 0.17, 0.365), 0.085, 0.060),
            RoundCone("", BELLY, 0.012, (0, 0.17, 0.365), (0, 0.34, 0.415), 0.060, 0.055),
            RoundCone("", BELLY, 0.012, (0, -0.13, -0.20), (0, -0.08, -0.56), 0.075, 0.035),
        ]
        for index, (_, y, z) in enumerate(TAIL[1:]):
            radius = TAIL_RADII[index + 1]
            parts.append(Ellipsoid("", DARK, 0.006, (0, y + radius, z + 0.05), (1.3 * radius, 0.8 * radius, 0.017)))
        parts += self._spots(generator)
        for x, _, _, ankle, _ in LEGS.values():
            for toe in (-0.036, 0.0, 0.036):
                center = (x * 1.08 + toe, ankle[0] - 0.042, ankle[1] + 0.100 - 4 * toe * toe)
                parts.append(Ellipsoid("", NAIL, 0.004, center, (0.0155, 0.024, 0.024)))
        for side in (-1, 1):
            parts += [
                Ellipsoid("", INK, 0.004, (side * 0.108, 0.503, 0.456), (0.029, 0.034, 0.029)),
                Ellipsoid("", WHITE, 0.003, (side * 0.106, 0.522, 0.463), (0.011, 0.011, 0.011)),
                Ellipsoid("", BLUSH, 0.030, (side * 0.105, 0.428, 0.470), (0.034, 0.024, 0.034)),
                Ellipsoid("", INK, 0.004, (side * 0.034, 0.462, 0.566), (0.010, 0.009, 0.014)),
            ]
        arc = np.radians(np.linspace(-72, 72, 13))
        across, forward = np.sin(arc), np.cos(arc)
        smile = np.stack([0.098 * across, 0.396 + 0.030 * np.abs(across) ** 3, 0.485 + 0.088 * forward], 1)
        parts += stroke(smile, 0.0075, INK)
        return tuple(parts)

    def _spots(self, generator: np.random.Generator) -> list[SolidPart]:
        """Dark spots on the back, drawn by dart throwing so that none overlap."""
        spots: list[SolidPart] = []
        taken: list[np.ndarray] = []
        for _ in range(400):
            z = generator.uniform(-0.22, 0.20)
            around = generator.uniform(-75, 75)
            radius = generator.uniform(0.022, 0.042)
            width = math.sqrt(1 - (z / 0.27) ** 2)
            center = np.array(
                [0.165 * width * math.sin(math.radians(around)), 0.170 * width * math.cos(math.radians(around)), z]
            )
            if abs(center[0]) < radius + 0.03 or any(np.linalg.norm(center - other) < 0.085 for other in taken):
                continue
            taken.append(center)
            spots.append(Ellipsoid("", DARK, 0.006, (center[0], center[1], center[2]), (radius, radius, radius)))
        return spots

    def pose(self, phase: float) -> Pose:
        """Feet on the ground for 62% of a step; head and tail follow with a lag."""
        phase = (phase + START) % 1.0
        angle = 2 * math.pi * phase
        translation = (0.012 * math.sin(angle), 0.012 * math.cos(2 * angle), 0.0)
        rotations: dict[str, Point] = {
            "neck_0": (3.5 * math.sin(2 * angle), 5 * math.sin(angle), 0),
            "neck_1": (3.5 * math.sin(2 * angle - 0.6), 6 * math.sin(angle - 0.5), 0),
            "neck_2": (3.0 * math.sin(2 * angle - 1.2), 6 * math.sin(angle - 1.0), 0),
            "head": (4.0 * math.sin(2 * angle - 2.0), 4 * math.sin(angle - 1.5), 5 * math.sin(angle - 0.8)),
        }
        for index in range(len(TAIL) - 1):
            rotations[f"tail_{index}"] = (3 * math.cos(2 * angle - index), 11 * math.sin(angle - 0.7 * index), 0)
        for name, (_, hip, knee, ankle, start) in LEGS.items():
            forward, lift = _step((phase - start) % 1.0)
            target = (ankle[0] + lift - translation[1], ankle[1] + forward - translation[2])
            thigh, shank = leg_angles(hip, knee, ankle, target)
            rotations[f"{name}_thigh"] = (thigh, 0, 0)
            rotations[f"{name}_shank"] = (shank, 0, 0)
        return Pose(rotations, translation)


def _step(phase: float, stride: float = 0.075, height: float = 0.055, ground: float = 0.62) -> tuple[float, float]:
    """Where a foot is in its step: forward offset and height above the ground."""
    if phase < ground:
        return stride * (1 - 2 * phase / ground), 0.0
    swing = (phase - ground) / (1 - ground)
    return -stride * math.cos(math.pi * swing), height * math.sin(math.pi * swing) ** 2


DINO = Dino()
