"""A toy robot: it waves with one hand, swings the other, tilts its head and shifts its weight."""

from __future__ import annotations

import math

import numpy as np

from data_preparation_tools.creatures.creature import SkinnedCreature, stroke
from data_preparation_tools.creatures.skeleton import Bone, Pose, Skeleton
from data_preparation_tools.creatures.solid import Ellipsoid, ImplicitSolid, Point, RoundCone, RoundedBox, SolidPart

SHELL: Point = (0.36, 0.66, 0.86)
LIGHT: Point = (0.94, 0.95, 0.93)
JOINT: Point = (0.36, 0.41, 0.52)
WARM: Point = (0.99, 0.76, 0.28)
RED: Point = (0.93, 0.33, 0.32)
GREEN: Point = (0.46, 0.80, 0.45)
SCREEN: Point = (0.12, 0.16, 0.26)
GLOW: Point = (0.50, 0.95, 0.93)

SHOULDER, ELBOW_UP, WRIST_UP = (-0.185, 0.085, 0.0), (-0.315, 0.085, 0.02), (-0.375, 0.215, 0.035)
ELBOW_DOWN, WRIST_DOWN = (0.290, -0.020, 0.0), (0.345, -0.150, 0.035)


def _hand(bone: str, wrist: Point, along: Point) -> list[SolidPart]:
    """A palm and three fingers that spread in the picture plane."""
    forward = np.asarray(along) / np.linalg.norm(along)
    side = np.array([forward[1], -forward[0], 0.0])
    palm = np.asarray(wrist) + 0.045 * forward
    parts: list[SolidPart] = [Ellipsoid(bone, WARM, 0.020, (palm[0], palm[1], palm[2]), (0.056, 0.056, 0.046))]
    for lean, length in ((-0.80, 0.090), (0.0, 0.100), (0.80, 0.090)):
        direction = math.cos(lean) * forward + math.sin(lean) * side
        start, end = palm + 0.030 * direction, palm + length * direction
        parts.append(RoundCone(bone, WARM, 0.012, tuple(start), tuple(end), 0.031, 0.029))
    return parts


def _solid() -> ImplicitSolid:
    parts: list[SolidPart] = [
        RoundedBox("chest", SHELL, 0.02, (0, 0.015, 0), (0.145, 0.140, 0.110), 0.060),
        RoundCone("hips", JOINT, 0.020, (-0.040, -0.155, 0), (0.040, -0.155, 0), 0.070, 0.070),
        RoundCone("neck", JOINT, 0.020, (0, 0.13, 0), (0, 0.20, 0), 0.046, 0.046),
        RoundedBox("head", LIGHT, 0.020, (0, 0.325, 0), (0.180, 0.125, 0.125), 0.070),
        RoundCone("head", JOINT, 0.020, (0, 0.44, 0), (0, 0.505, 0), 0.026, 0.018),
        Ellipsoid("head", RED, 0.020, (0, 0.535, 0), (0.042, 0.042, 0.042)),
    ]
    for side in (-1, 1):
        parts.append(RoundCone("head", WARM, 0.020, (side * 0.175, 0.325, 0), (side * 0.205, 0.325, 0), 0.052, 0.038))
    for bone, shoulder, elbow, wrist in (
        ("wave", SHOULDER, ELBOW_UP, WRIST_UP),
        ("swing", (-SHOULDER[0], *SHOULDER[1:]), ELBOW_DOWN, WRIST_DOWN),
    ):
        inner = (shoulder[0] * 0.70, shoulder[1], shoulder[2])
        parts += [
            RoundCone("chest", JOINT, 0.015, inner, shoulder, 0.045, 0.045),
            Ellipsoid(f"{bone}_upper", WARM, 0.010, shoulder, (0.060, 0.060, 0.060)),
            RoundCone(f"{bone}_upper", LIGHT, 0.010, shoulder, elbow, 0.036, 0.036),
            RoundCone(f"{bone}_lower", SHELL, 0.012, elbow, wrist, 0.044, 0.048),
        ]
        parts += _hand(f"{bone}_lower", wrist, tuple(np.subtract(wrist, elbow)))
    for name, side in (("right", -1), ("left", 1)):
        x = side * 0.088
        parts += [
            RoundCone(f"{name}_leg", LIGHT, 0.020, (x * 0.85, -0.165, 0), (x, -0.345, 0), 0.046, 0.046),
            RoundCone(f"{name}_leg", SHELL, 0.020, (x, -0.335, 0), (x, -0.400, 0.0), 0.060, 0.064),
            RoundedBox(f"{name}_foot", WARM, 0.020, (x * 1.08, -0.452, 0.03), (0.072, 0.042, 0.112), 0.040),
        ]
    return ImplicitSolid(tuple(parts))


def _bones() -> dict[str, Bone]:
    bones = {
        "hips": Bone(None, (0, -0.155, 0)),
        "chest": Bone("hips", (0, -0.12, 0)),
        "neck": Bone("chest", (0, 0.14, 0)),
        "head": Bone("neck", (0, 0.20, 0)),
        "wave_upper": Bone("chest", SHOULDER),
        "wave_lower": Bone("wave_upper", ELBOW_UP),
        "swing_upper": Bone("chest", (-SHOULDER[0], *SHOULDER[1:])),
        "swing_lower": Bone("swing_upper", ELBOW_DOWN),
    }
    for name, side in (("right", -1), ("left", 1)):
        bones[f"{name}_leg"] = Bone("hips", (side * 0.075, -0.165, 0))
        bones[f"{name}_foot"] = Bone(f"{name}_leg", (side * 0.088, -0.410, 0))
    return bones


class Robot(SkinnedCreature):
    """Seen almost from the front, arms away from the body."""

    name = "waving_robot"
    solid = _solid()
    skeleton = Skeleton(_bones())
    view = (18.0, 6.0, 0.74)

    def decals(self, generator: np.random.Generator) -> tuple[SolidPart, ...]:
        """A screen with a face, a chest plate with buttons and a dial, rings round the arms, bolts."""
        parts: list[SolidPart] = [
            RoundedBox("", SCREEN, 0.005, (0, 0.322, 0.125), (0.138, 0.086, 0.040), 0.039),
            RoundedBox("", LIGHT, 0.005, (0, 0.010, 0.110), (0.098, 0.088, 0.040), 0.030),
            RoundedBox("", JOINT, 0.004, (0, -0.103, 0.0), (0.20, 0.0075, 0.20), 0.004),
        ]
        for side in (-1, 1):
            parts += [
                Ellipsoid("", GLOW, 0.005, (side * 0.060, 0.345, 0.125), (0.024, 0.034, 0.05)),
                Ellipsoid("", SCREEN, 0.004, (side * 0.060 + 0.007, 0.357, 0.130), (0.008, 0.010, 0.05)),
                Ellipsoid("", RED, 0.020, (side * 0.100, 0.298, 0.125), (0.018, 0.012, 0.05)),
            ]
        arc = np.radians(np.linspace(-60, 60, 11))
        smile = np.stack([0.045 * np.sin(arc), 0.325 - 0.045 * np.cos(arc), np.full_like(arc, 0.122)], 1)
        parts += stroke(smile, 0.0095, GLOW)
        for x, color in ((-0.056, RED), (0.0, WARM), (0.056, GREEN)):
            parts.append(Ellipsoid("", color, 0.004, (x, -0.038, 0.110), (0.019, 0.019, 0.05)))
        parts += [
            Ellipsoid("", JOINT, 0.004, (0, 0.045, 0.110), (0.040, 0.040, 0.05)),
            Ellipsoid("", SCREEN, 0.004, (0, 0.045, 0.110), (0.031, 0.031, 0.05)),
        ]
        needle = generator.uniform(25, 65)
        tip = (0.028 * math.sin(math.radians(needle)), 0.045 + 0.028 * math.cos(math.radians(needle)), 0.110)
        parts += stroke(np.array([(0, 0.045, 0.110), tip]), 0.006, RED)
        for elbow, wrist in ((ELBOW_UP, WRIST_UP), (ELBOW_DOWN, WRIST_DOWN)):
            start, end = np.asarray(elbow), np.asarray(wrist)
            ring = start + 0.55 * (end - start)
            lean = math.degrees(math.atan2(-(end - start)[0], (end - start)[1]))
            center = (float(ring[0]), float(ring[1]), float(ring[2]))
            parts.append(RoundedBox("", LIGHT, 0.004, center, (0.08, 0.014, 0.08), 0.004, (0, 0, lean)))
        return tuple(parts)

    def pose(self, phase: float) -> Pose:
        """Two waves of the hand in one sway of the body; the feet stay on the ground."""
        angle = 2 * math.pi * phase
        sway = math.sin(angle)
        lean = 3.5 * sway
        rotations: dict[str, Point] = {
            "hips": (0, 0, 0),
            "chest": (1.5 * math.sin(2 * angle), 5 * sway, -1.5 * lean),
            "head": (4 * math.sin(2 * angle + 0.6), 8 * math.sin(angle - 0.4), 2.6 * lean),
            "wave_upper": (0, 0, -16 + 9 * math.sin(angle - 0.5)),
            "wave_lower": (0, 0, 9 + 25 * math.sin(2 * angle)),
            "swing_upper": (16 * math.sin(angle + 0.4), 0, 5 + 4 * sway),
            "swing_lower": (-9 + 9 * math.sin(angle), 0, 3),
        }
        for name in ("right", "left"):
            rotations[f"{name}_leg"] = (0, 0, lean)
            rotations[f"{name}_foot"] = (0, 0, -lean)
        # The legs turn about the hips by the lean; the hips go the other way, so that the feet stay where they are.
        return Pose(rotations, (0.245 * math.sin(math.radians(-lean)), -0.245 * (1 - math.cos(math.radians(lean))), 0))


ROBOT = Robot()
