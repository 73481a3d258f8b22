"""A jelly drop that hops: squash and stretch, a twist, and a lagging tip."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import CubicSpline

from data_preparation_tools.creatures.creature import Creature
from data_preparation_tools.creatures.solid import (
    Array,
    Ellipsoid,
    ImplicitSolid,
    Point,
    RoundCone,
    SolidPart,
    euler_matrix,
)

BODY: Point = (0.93, 0.47, 0.66)
TOP: Point = (0.98, 0.68, 0.72)
FOOT: Point = (0.62, 0.36, 0.74)
SPOT: Point = (1.0, 0.83, 0.84)
LEAF: Point = (0.50, 0.78, 0.38)
INK: Point = (0.16, 0.09, 0.18)
BLUSH: Point = (0.97, 0.30, 0.48)
WHITE: Point = (1.0, 1.0, 1.0)
MOUTH: Point = (0.55, 0.12, 0.27)
TONGUE: Point = (1.0, 0.55, 0.55)

GROUND = -0.30
HOP = {  # phase of the loop: height of the body relative to its rest height
    0.00: 0.95,
    0.11: 0.76,
    0.23: 1.16,
    0.36: 1.05,
    0.50: 0.98,
    0.64: 1.08,
    0.73: 1.14,
    0.83: 0.78,
    0.92: 1.06,
    1.00: 0.95,
}
TAKE_OFF, LANDING, HEIGHT = 0.20, 0.75, 0.30


class Jelly(Creature):
    """Seen from a little above; deformed by a smooth warp of space instead of bones."""

    name = "bouncing_jelly"
    solid = ImplicitSolid(
        (
            Ellipsoid("", BODY, 0.05, (0, -0.02, 0), (0.36, 0.33, 0.34)),
            Ellipsoid("", BODY, 0.12, (0, -0.20, 0), (0.37, 0.15, 0.35)),
            RoundCone("", BODY, 0.16, (0, 0.24, 0), (0.015, 0.43, -0.02), 0.105, 0.040),
            RoundCone("", LEAF, 0.010, (0.02, 0.45, -0.02), (0.115, 0.505, 0.0), 0.022, 0.040),
            RoundCone("", LEAF, 0.010, (0.01, 0.45, -0.02), (-0.075, 0.515, -0.02), 0.022, 0.032),
            RoundCone("", BODY, 0.06, (-0.31, -0.07, 0.06), (-0.43, -0.01, 0.10), 0.070, 0.055),
            RoundCone("", BODY, 0.06, (0.31, -0.07, 0.06), (0.43, -0.01, 0.10), 0.070, 0.055),
        )
    )
    view = (-16.0, 9.0, 0.74)
    frames = 40

    def distance(self, points: Array) -> Array:
        """The solid with a flat foot: cut by the ground, the rim rounded."""
        body, ground = self.solid.distance(points), np.asarray(GROUND, points.dtype) - points[:, 1]
        overlap = np.maximum(0.08 - np.abs(body - ground), 0.0)
        return np.maximum(body, ground) + overlap * overlap / 0.32

    def decals(self, generator: np.random.Generator) -> tuple[SolidPart, ...]:
        """Bands of colour from foot to tip, bubbles, eyes, blushing cheeks, an open mouth."""
        parts: list[SolidPart] = [
            Ellipsoid("", TOP, 0.22, (0, 0.42, 0), (0.34, 0.30, 0.34)),
            Ellipsoid("", FOOT, 0.16, (0, -0.40, 0), (0.60, 0.20, 0.60)),
            RoundCone("", LEAF, 0.006, (0.035, 0.462, -0.018), (0.115, 0.505, 0.0), 0.034, 0.048),
            RoundCone("", LEAF, 0.006, (-0.015, 0.465, -0.02), (-0.075, 0.515, -0.02), 0.034, 0.042),
        ]
        parts += self._bubbles(generator)
        for side in (-1, 1):
            parts += [
                Ellipsoid("", INK, 0.005, (side * 0.120, 0.045, 0.315), (0.047, 0.066, 0.08)),
                Ellipsoid("", WHITE, 0.004, (side * 0.120 - 0.014, 0.074, 0.325), (0.018, 0.021, 0.06)),
                Ellipsoid("", WHITE, 0.004, (side * 0.120 + 0.016, 0.020, 0.330), (0.010, 0.011, 0.06)),
                Ellipsoid("", BLUSH, 0.045, (side * 0.208, -0.045, 0.275), (0.042, 0.024, 0.06)),
            ]
        parts += [
            Ellipsoid("", MOUTH, 0.005, (0, -0.048, 0.340), (0.050, 0.040, 0.08)),
            Ellipsoid("", TONGUE, 0.005, (0, -0.076, 0.345), (0.030, 0.018, 0.08)),
        ]
        return tuple(parts)

    def _bubbles(self, generator: np.random.Generator) -> list[SolidPart]:
        """Pale spots all round except the face, drawn by dart throwing so that none overlap."""
        spots: list[SolidPart] = []
        centers: list[Array] = []
        for _ in range(600):
            yaw, height = generator.uniform(-180, 180), generator.uniform(-0.20, 0.24)
            radius = generator.uniform(0.024, 0.050)
            if abs(yaw) < 62 or abs(abs(yaw) - 78) < 22:  # the face and the arms
                continue
            width = math.sqrt(1 - ((height + 0.02) / 0.34) ** 2)
            angle = math.radians(yaw)
            center = np.array([0.36 * width * math.sin(angle), height, 0.34 * width * math.cos(angle)])
            if any(np.linalg.norm(center - other) < 0.115 for other in centers):
                continue
            centers.append(center)
            spots.append(Ellipsoid("", SPOT, 0.006, (center[0], center[1], center[2]), (radius, radius, radius)))
        for x, y, radius in ((-0.18, 0.20, 0.036), (0.09, 0.245, 0.026), (0.20, 0.17, 0.030), (-0.06, 0.30, 0.022)):
            z = 0.34 * math.sqrt(max(1 - (x / 0.36) ** 2 - ((y + 0.02) / 0.33) ** 2, 0.0))
            spots.append(Ellipsoid("", SPOT, 0.006, (x, y, z), (radius, radius, radius + 0.05)))
        return spots

    def animate(self, vertices: Array, faces: Array, phases: Array) -> Array:
        """Squash and stretch that keeps the volume, widest at the foot; twist, sway of the tip, flapping arms."""
        stretch = CubicSpline(list(HOP), list(HOP.values()), bc_type="periodic")
        return np.stack([_bend(vertices, float(phase), float(stretch(phase))) for phase in phases])


def _bend(vertices: Array, phase: float, stretch: float) -> Array:
    angle = 2 * math.pi * phase
    height_fraction = np.clip((vertices[:, 1] - GROUND) / 0.75, 0.0, 1.2)  # 0 at the foot, 1 near the tip
    airborne = np.clip((phase - TAKE_OFF) / (LANDING - TAKE_OFF), 0.0, 1.0)
    flight = math.sin(math.pi * airborne) ** 2
    bent = vertices.copy()
    # Arms flap up while the body falls: a rotation about the shoulder that grows along the arm.
    for side in (-1, 1):
        arm_weight = np.clip((side * vertices[:, 0] - 0.27) / 0.21, 0.0, 1.0)
        arm_weight *= np.clip((vertices[:, 1] + 0.26) / 0.18, 0.0, 1.0)
        arm_angle = side * math.radians(38) * math.sin(angle - 2.4) * arm_weight * arm_weight * (3 - 2 * arm_weight)
        x, y = bent[:, 0] - side * 0.32, bent[:, 1] + 0.07
        bent[:, 0] = side * 0.32 + np.cos(arm_angle) * x - np.sin(arm_angle) * y
        bent[:, 1] = -0.07 + np.sin(arm_angle) * x + np.cos(arm_angle) * y
    # Volume is kept on the whole; a squashed body is widest at its foot, a stretched one narrowest there.
    widen = 1.0 + (stretch**-0.5 - 1.0) * (1.35 - 0.7 * height_fraction)
    bent[:, 0] *= widen
    bent[:, 2] *= widen
    bent[:, 1] = GROUND + (bent[:, 1] - GROUND) * stretch
    # In the air the foot bulges and the tip lags behind the hop.
    round_foot = np.clip(1.0 - (vertices[:, 0] ** 2 + vertices[:, 2] ** 2) / 0.36**2, 0.0, 1.0)
    bent[:, 1] -= 0.07 * flight * round_foot * (1 - np.minimum(height_fraction * 2.5, 1.0)) ** 2
    bent[:, 0] += 0.10 * math.sin(angle - 1.0) * height_fraction**2
    bent[:, 2] -= 0.05 * math.sin(2 * angle - 0.5) * height_fraction**2
    bent = bent @ euler_matrix(0, 14 * math.sin(angle), 4 * math.sin(angle - 0.3)).T
    bent[:, 1] += HEIGHT * 4 * airborne * (1 - airborne)
    return bent


JELLY = Jelly()
