"""Parts of bodies that several body plans share: heads, hands, limbs, tails and trunks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from v2m4.creatures.surfaces import SIDE, UP, Part, unit

FORWARD = np.eye(3)[2]


@dataclass
class Builder:
    """Collects the parts of one body.

    Attributes:
        rng: random numbers.
        colors: (C, 3) palette.
        power: shape of the parts' cross-sections.
        parts: those added so far.
    """

    rng: np.random.Generator
    colors: np.ndarray
    power: float
    parts: list[Part] = field(default_factory=list)

    def add(self, start, end, radii, color=0, flat=1.0, normal=UP) -> None:
        """Add a part; ``color`` is an index into the palette, or a colour."""
        color = self.colors[color] if isinstance(color, int) else np.asarray(color)
        self.parts.append(Part(np.asarray(start), np.asarray(end), radii, flat, normal, color, self.power))

    def chain(self, start, direction, lengths, radii, color=0, bend=0.5, flat=1.0, normal=UP) -> np.ndarray:
        """Add a chain of parts from ``start``, each bent against the one before by up to ``bend`` radians."""
        place, heading = np.asarray(start, np.float64), unit(direction)
        for number, length in enumerate(lengths):
            heading = unit(heading + bend * self.rng.normal(0, 0.5, 3)) if number else heading
            end = place + length * heading
            self.add(place, end, (radii[number], radii[number + 1]), color, flat, normal)
            place = end
        return place

    def pair(self, start, direction, lengths, radii, color=0, bend=0.5, swing=0.4, flat=1.0, normal=UP) -> None:
        """Add two chains, mirrored at the sagittal plane but for the pose."""
        for sign in (1.0, -1.0):
            mirror = np.array([sign, 1.0, 1.0])
            heading = unit(np.asarray(direction) * mirror + self.rng.normal(0, swing, 3) * [0.5, 0.5, 1.0])
            self.chain(np.asarray(start) * mirror, heading, lengths, radii, color, bend, flat, normal * mirror)


def add_head(build: Builder, neck: np.ndarray, facing: np.ndarray, size: float) -> None:
    """Head at the end of a neck, with eyes, and perhaps a snout, ears or horns, and hair at its back."""
    rng = build.rng
    facing = unit(facing)
    side = unit(np.cross(UP, facing) if abs(facing[1]) < 0.95 else SIDE)
    up = np.cross(facing, side)
    centre = neck + size * rng.uniform(0.5, 0.9) * unit(up + rng.uniform(-0.3, 1.0) * facing)
    long = size * rng.uniform(0, 0.6)
    build.add(centre - 0.3 * long * facing, centre + 0.7 * long * facing, (size, size * rng.uniform(0.7, 1)), 1)
    front = centre + 0.7 * long * facing
    if rng.uniform() < 0.5:  # snout, beak or nose
        length = size * rng.uniform(0.7, 2.0)
        root = front - 0.25 * size * up
        radii = (size * rng.uniform(0.3, 0.65), size * rng.uniform(0.12, 0.45))
        build.add(root, root + length * unit(facing - 0.2 * up), radii, 2, rng.uniform(0.6, 1), up)
    eye = size * rng.uniform(0.1, 0.28)
    for sign in (1.0, -1.0):
        place = front + size * 0.9 * unit(facing + sign * rng.uniform(0.35, 0.7) * side + 0.3 * up)
        build.add(place, place + 1e-3 * facing, (eye, eye), rng.uniform(0, 0.15, 3))
        if rng.uniform() < 0.4:
            build.add(place - 0.15 * eye * facing, place, (1.3 * eye, 1.3 * eye), np.ones(3))
    if rng.uniform() < 0.6:  # ears or horns
        height, width = size * rng.uniform(0.4, 1.6), size * rng.uniform(0.1, 0.4)
        flat, tip = rng.uniform(0.3, 1), rng.uniform(0.05, 1)
        lean = rng.uniform(0.2, 1.2)
        for sign in (1.0, -1.0):
            root = centre + 0.7 * size * unit(up + sign * lean * side)
            end = root + height * unit(up + sign * lean * side + rng.uniform(-0.5, 0.3) * facing)
            build.add(root, end, (width, width * tip), 3, flat, facing)
    if rng.uniform() < 0.35:  # hair, a hood or a helmet
        place = centre - 0.25 * size * facing + 0.15 * size * up
        build.add(place, place - 0.3 * size * up * rng.uniform(0, 3), (0.98 * size, size * rng.uniform(0.4, 0.95)), 4)


def add_hand(build: Builder) -> None:
    """Extend the last part by a hand or foot."""
    last, rng = build.parts[-1], build.rng
    heading = unit(last.end - last.start + rng.normal(0, 0.02, 3))
    size = last.radii[1] * rng.uniform(1.1, 1.9)
    build.add(last.end, last.end + size * rng.uniform(0.3, 1.5) * heading, (size, size * 0.8), 2, rng.uniform(0.5, 1))


def limbs(build: Builder, start, direction, length, radius, color, bend, swing, foot=0.0) -> None:
    """Pair of limbs of two segments with hands or feet, the latter ahead by ``foot`` times their radius."""
    rng = build.rng
    share, taper, extra = rng.uniform(0.4, 0.6), rng.uniform(0.5, 1.0), rng.uniform() < 0.7
    size, long = radius * rng.uniform(0.8, 1.6), radius * foot * rng.uniform(0.5, 1.5)
    for sign in (1.0, -1.0):
        mirror = np.array([sign, 1.0, 1.0])
        heading = unit(np.asarray(direction) * mirror + rng.normal(0, swing, 3) * [0.4, 0.5, 1.0])
        radii = (radius, radius * (1 + taper) / 2, radius * taper)
        end = build.chain(
            np.asarray(start) * mirror, heading, (share * length, (1 - share) * length), radii, color, bend
        )
        if foot > 0:
            build.add(end, end + long * unit(FORWARD + rng.normal(0, 0.2, 3)), (size * taper, 0.8 * size * taper), 2)
        elif extra:
            add_hand(build)


def add_tail(build: Builder, start, direction, radius) -> None:
    """Add a tapered chain of random bends."""
    rng = build.rng
    count = int(rng.integers(2, 6))
    lengths = rng.uniform(0.1, 0.3) * np.ones(count)
    build.chain(start, direction, lengths, np.linspace(radius, radius * rng.uniform(0.2, 1), count + 1), 0, 0.5)


def add_trunk(build: Builder, length: float, radius: float, flat: float) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal trunk; returns rump and chest."""
    rng = build.rng
    rump, chest = -0.5 * length * FORWARD, 0.5 * length * FORWARD + rng.normal(0, 0.1) * length * UP
    middle = 0.5 * (rump + chest) + rng.normal(0, 0.04, 3) * length
    waist = radius * rng.uniform(0.75, 1.2)
    build.add(rump, middle, (radius * rng.uniform(0.75, 1.1), waist), 0, flat, SIDE)
    build.add(middle, chest, (waist, radius * rng.uniform(0.9, 1.2)), int(rng.integers(0, 2)) * 4, flat, SIDE)
    return rump, chest
