"""Random creatures: trees of limbs of many body plans, as parts that overlap or as one smooth surface.

A body plan has a spine, a head with a face, and chains of tapered limbs in mirrored pairs: bipeds, quadrupeds, birds,
fish, insects, snakes, robots and blobs. Each call samples a plan, a pose and colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v2m4.creatures.builder import FORWARD, Builder, add_hand, add_head, add_tail, add_trunk, limbs
from v2m4.creatures.surfaces import SIDE, UP, Part, smooth_union, tube_meshes, unit

PLANS = ("biped", "quadruped", "bird", "fish", "insect", "snake", "robot", "blob", "frog")


@dataclass(frozen=True)
class Creature:
    """A random creature in a pose.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64.
        colors: (V, 3) sRGB.
        plan: name of its body plan.
        parts: that its surface was made from.
        part_of_vertex: (V,) int64 the part that each vertex lies on, or is nearest to.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    plan: str
    parts: list[Part]
    part_of_vertex: np.ndarray


def random_creature(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Vertices (V, 3), faces (F, 3), vertex colours (V, 3) and the name of the plan of ``creature_of_parts``."""
    creature = creature_of_parts(rng)
    return creature.vertices, creature.faces, creature.colors, creature.plan


def creature_of_parts(rng: np.random.Generator, plan: str | None = None) -> Creature:
    """A random creature in a pose, with the parts that it is made of.

    Half of them are closed parts that overlap, half are one surface: the smooth union of the parts.

    Args:
        rng: of all random choices.
        plan: one of ``PLANS``, or ``tree``: a random tree of limbs; None for a random one of ``PLANS``.
    """
    if plan is None:
        plan = str(rng.choice(PLANS, p=[0.2, 0.2, 0.1, 0.1, 0.08, 0.09, 0.12, 0.06, 0.05]))
    build = Builder(rng, rng.uniform(0, 1, (5, 3)) ** rng.uniform(0.5, 1.5), 2.0)
    if plan == "robot" or rng.uniform() < 0.1:
        build.power = float(rng.uniform(3, 8))
    _BUILDERS[plan](build)
    if build.power > 2 or rng.uniform() < 0.4:
        vertices, faces, part = tube_meshes(build.parts)
    else:
        vertices, faces, part = smooth_union(build.parts, float(rng.uniform(12, 40)))
    colors = np.stack([item.color for item in build.parts])[part]
    return Creature(vertices, faces, colors, plan, build.parts, part)


def _biped(build: Builder) -> None:
    rng = build.rng
    height, width, deep = rng.uniform(0.5, 1.1), rng.uniform(0.14, 0.4), rng.uniform(0.5, 1.0)
    lean = rng.normal(0, 0.15, 3) * [1, 0, 1]
    hips, chest = np.zeros(3), height * unit(UP + lean)
    middle = 0.5 * (hips + chest) + rng.normal(0, 0.03, 3)
    waist = width * rng.uniform(0.7, 1.15)
    build.add(hips, middle, (width * rng.uniform(0.8, 1.1), waist), 4, deep, FORWARD)
    build.add(middle, chest, (waist, width), 0, deep, FORWARD)
    leg, arm = rng.uniform(0.3, 1.3) * height, rng.uniform(0.5, 1.2) * height
    thick = width * rng.uniform(0.3, 0.6)
    apart = width - 0.6 * thick
    limbs(build, [apart * 0.8, -0.1 * height, 0], [0.1, -1, 0], leg, thick, 4, 0.5, rng.uniform(0.1, 0.5), 2.0)
    raise_arms = rng.uniform(-1.0, 0.8)
    heading = [rng.uniform(0.3, 1.2), raise_arms, rng.uniform(-0.3, 0.6)]
    shoulder = chest + width * 0.9 * SIDE
    limbs(build, shoulder, heading, arm, thick * rng.uniform(0.5, 0.9), 0, 0.9, rng.uniform(0.1, 0.6))
    add_head(build, chest + 0.8 * width * UP, FORWARD + rng.normal(0, 0.25, 3), width * rng.uniform(0.6, 1.6))
    if rng.uniform() < 0.25:
        add_tail(build, hips, -FORWARD - 0.3 * UP, width * 0.5)
    if rng.uniform() < 0.15:  # a bag
        back = 0.6 * chest - FORWARD * width * (deep + 0.3)
        build.add(back, back - 0.3 * height * UP, (width * 0.6, width * 0.7), 3, 0.7, FORWARD)


def _quadruped(build: Builder) -> None:
    rng = build.rng
    length, radius = rng.uniform(0.5, 1.3), rng.uniform(0.13, 0.35)
    rump, chest = add_trunk(build, length, radius, rng.uniform(0.6, 1.0))
    leg, thick = rng.uniform(0.25, 1.0), radius * rng.uniform(0.22, 0.5)
    for end, place in ((rump, 0.8), (chest, 0.8)):
        root = end * place + [radius * 0.55, -0.4 * radius, 0]
        limbs(build, root, [0.05, -1, 0], leg, thick, 0, 0.35, rng.uniform(0.1, 0.5), rng.choice([0.0, 1.5]))
    rising = rng.uniform(-0.2, 1.5)
    lengths = np.full(2, rng.uniform(0.05, 0.35))
    neck = build.chain(
        chest, FORWARD + rising * UP, lengths, radius * np.array([0.8, 0.6, 0.5]) * rng.uniform(0.6, 1.1), 0, 0.4
    )
    add_head(build, neck, FORWARD + rng.normal(0, 0.3, 3) + [0, -0.2, 0], radius * rng.uniform(0.5, 1.1))
    if rng.uniform() < 0.85:
        add_tail(build, rump, -FORWARD + rng.normal(0, 0.6, 3), radius * rng.uniform(0.1, 0.6))


def _bird(build: Builder) -> None:
    rng = build.rng
    length, radius = rng.uniform(0.3, 0.8), rng.uniform(0.18, 0.35)
    rump, chest = add_trunk(build, length, radius, rng.uniform(0.7, 1.0))
    span, chord = rng.uniform(0.4, 1.4), rng.uniform(0.12, 0.3)
    normal = unit(UP + rng.normal(0, 0.3, 3))
    lift = rng.uniform(-1, 1)
    build.pair(
        chest * 0.3 + [radius * 0.6, 0.3 * radius, 0], [1, lift, rng.uniform(-0.6, 0.3)], (span * 0.5, span * 0.5),
        (chord, chord, chord * 0.5), 3, 0.5, 0.1, rng.uniform(0.12, 0.4), normal,
    )  # fmt: skip
    if rng.uniform() < 0.7:
        limbs(build, [radius * 0.5, -0.7 * radius, 0], [0.1, -1, 0], rng.uniform(0.2, 0.6), 0.05, 2, 0.5, 0.2, 2.0)
    neck = build.chain(chest, FORWARD + rng.uniform(0, 2) * UP, (rng.uniform(0.02, 0.4),), (0.6 * radius, 0.4 * radius))
    add_head(build, neck, FORWARD + rng.normal(0, 0.3, 3), radius * rng.uniform(0.5, 0.9))
    end = rump - FORWARD * rng.uniform(0.2, 0.6)
    build.add(rump, end, (0.4 * radius, radius * rng.uniform(0.3, 1)), 3, rng.uniform(0.15, 0.5), UP)


def _fish(build: Builder) -> None:
    rng = build.rng
    length, radius = rng.uniform(0.5, 1.4), rng.uniform(0.2, 0.5)
    flat = rng.uniform(0.3, 1.0)
    bend = rng.normal(0, 0.15)
    tail = -0.5 * length * FORWARD + bend * length * SIDE
    head = 0.4 * length * FORWARD
    build.add(np.zeros(3), tail, (radius, radius * 0.15), 0, flat, SIDE)
    build.add(np.zeros(3), head, (radius, radius * rng.uniform(0.3, 0.9)), 1, flat, SIDE)
    fin = radius * rng.uniform(0.4, 1.0)
    for sign in (1.0, -1.0):
        end = tail - fin * unit(FORWARD + sign * rng.uniform(0.5, 1.5) * UP)
        build.add(tail, end, (fin * 0.2, fin * 0.5), 3, 0.2, SIDE)
        if rng.uniform() < 0.8:
            back = rng.uniform(-0.2, 0.2) * length * FORWARD + sign * 0.8 * radius * UP
            build.add(
                back,
                back + fin * unit(sign * UP - FORWARD * rng.uniform(0, 1.5)),
                (fin * 0.5, fin * 0.4),
                3,
                0.2,
                SIDE,
            )
    build.pair(
        [radius * flat * 0.8, -0.2 * radius, 0.15 * length], [1, rng.uniform(-1, 0.5), -0.7], (fin, fin * 0.5),
        (fin * 0.3, fin * 0.5, fin * 0.3), 3, 0.3, 0.2, 0.2, UP,
    )  # fmt: skip
    eye = radius * rng.uniform(0.08, 0.2)
    for sign in (1.0, -1.0):
        place = head * 0.9 + [sign * flat * radius * 0.7, 0.15 * radius, 0]
        build.add(place, place + 1e-3, (eye, eye), rng.uniform(0, 0.15, 3))


def _insect(build: Builder) -> None:
    rng = build.rng
    length, radius = rng.uniform(0.4, 1.0), rng.uniform(0.12, 0.3)
    rump, chest = add_trunk(build, length, radius, rng.uniform(0.8, 1.3))
    if rng.uniform() < 0.6:
        build.add(rump, rump - FORWARD * rng.uniform(0.1, 0.6), (radius * rng.uniform(1, 1.6), radius * 0.6), 3)
    pairs = int(rng.integers(2, 6))
    leg, rise = rng.uniform(0.3, 0.9), rng.uniform(-0.8, 0.9)
    for place in np.linspace(-0.35, 0.45, pairs):
        root = place * length * FORWARD + [radius * 0.7, -0.2 * radius, 0]
        for sign in (1.0, -1.0):
            mirror = np.array([sign, 1, 1])
            heading = unit(np.array([1, rise, 1.5 * place]) * mirror + rng.normal(0, 0.15, 3))
            knee = root * mirror + 0.5 * leg * heading
            foot = knee + 0.6 * leg * unit(heading * [1, 0, 1] + [0, -1.0, 0] + rng.normal(0, 0.1, 3))
            build.add(root * mirror, knee, (radius * 0.22, radius * 0.18), 2)
            build.add(knee, foot, (radius * 0.18, radius * 0.08), 2)
    if rng.uniform() < 0.5:
        build.pair(
            [0.4 * radius, 0.9 * radius, 0], [1, rng.uniform(0, 1), -0.6], (rng.uniform(0.3, 0.9),), (0.06, 0.25), 3,
            0.1, 0.15, 0.12, UP,
        )  # fmt: skip
    add_head(build, chest, FORWARD + rng.normal(0, 0.2, 3), radius * rng.uniform(0.5, 1.2))


def _snake(build: Builder) -> None:
    rng = build.rng
    count = int(rng.integers(6, 14))
    radius, step = rng.uniform(0.05, 0.16), rng.uniform(0.12, 0.3)
    phase, turn, rise = rng.uniform(0, 6.28), rng.uniform(0.2, 1.2), rng.uniform(-0.1, 0.25)
    place = np.zeros(3)
    for number in range(count):
        angle = turn * math.sin(phase + number * 0.9)
        rising = rise * max(0, number - count + 5)
        end = place + step * unit(np.array([math.sin(angle), rising, math.cos(angle)]))
        thin = min(1.0, 0.3 + 0.25 * number)
        build.add(place, end, (radius * thin, radius * min(1.0, thin + 0.25)), number % 2 * int(rng.uniform() < 0.3))
        place = end
    add_head(build, place, FORWARD + rng.normal(0, 0.3, 3), radius * rng.uniform(1.0, 1.8))


def _frog(build: Builder) -> None:
    """A low, wide trunk with a broad head, hind legs folded at its sides and eyes on top."""
    rng = build.rng
    length, radius = rng.uniform(0.4, 0.8), rng.uniform(0.2, 0.4)
    rump = np.array([0, rng.uniform(-0.1, 0.05), -0.4 * length])
    chest = np.array([0, rng.uniform(0, 0.3) * length, 0.4 * length])
    build.add(rump, chest, (radius * rng.uniform(0.6, 1), radius), 0, rng.uniform(0.5, 0.9), UP)
    build.add(chest, chest + 0.3 * length * FORWARD, (radius, radius * rng.uniform(0.4, 0.9)), 1, 0.7, UP)
    thigh, thick = rng.uniform(0.25, 0.6), radius * rng.uniform(0.25, 0.5)
    stretched = rng.uniform() < 0.25  # a leap
    for sign in (1.0, -1.0):
        mirror = np.array([sign, 1, 1])
        hip = (rump + np.array([0.7 * radius, 0, 0])) * mirror
        heading = [0.5, -0.4, -1.0] if stretched else [1, rng.uniform(0.2, 1.0), rng.uniform(0, 1.0)]
        knee = hip + thigh * unit(np.array(heading) * mirror + rng.normal(0, 0.15, 3))
        heading = [0.2, -0.6, -1.0] if stretched else [rng.uniform(-0.3, 0.4), -1, rng.uniform(-1.0, 0.2)]
        ankle = knee + thigh * unit(np.array(heading) * mirror + rng.normal(0, 0.15, 3))
        toes = ankle + 0.6 * thigh * unit(np.array([0.4, -0.2, 1.0]) * mirror + rng.normal(0, 0.2, 3))
        build.add(hip, knee, (thick, 0.8 * thick), 0)
        build.add(knee, ankle, (0.8 * thick, 0.5 * thick), 0)
        build.add(ankle, toes, (0.5 * thick, 0.6 * thick), 2, 0.4, UP)
        place = chest + np.array([sign * 0.5 * radius, 0.6 * radius, 0.2 * length])
        eye = radius * rng.uniform(0.15, 0.4)
        build.add(place, place + 1e-3 * UP, (eye, eye), 0)
        place = place + 0.5 * eye * unit(np.array([sign * 0.4, 0.2, 1]))
        build.add(place, place + 1e-3 * UP, (0.7 * eye, 0.7 * eye), rng.uniform(0, 0.15, 3))
    shoulder = chest + np.array([0.7 * radius, -0.3 * radius, 0])
    limbs(build, shoulder, [0.4, -1, 0.3], thigh, 0.7 * thick, 0, 0.6, 0.3, 1.5)


def _blob(build: Builder) -> None:
    rng = build.rng
    size = rng.uniform(0.3, 0.6)
    for _ in range(int(rng.integers(1, 5))):
        place = rng.normal(0, 0.25, 3)
        radius = size * rng.uniform(0.5, 1)
        build.add(place, place + rng.normal(0, 0.3, 3), (radius, radius * rng.uniform(0.4, 1)), 0)
    top = np.array([0, size * 0.6, 0.1])
    add_head(build, top, FORWARD + rng.normal(0, 0.2, 3), size * rng.uniform(0.3, 1.0))
    if rng.uniform() < 0.7:
        limbs(build, [size * 0.7, 0, 0], [1, rng.uniform(-1, 1), 0.3], rng.uniform(0.2, 0.8), size * 0.25, 2, 0.6, 0.3)
    if rng.uniform() < 0.6:
        limbs(build, [size * 0.4, -0.5 * size, 0], [0.2, -1, 0], rng.uniform(0.2, 0.6), size * 0.25, 2, 0.3, 0.2, 1.5)


def _robot(build: Builder) -> None:
    """A biped, or a trunk that stands on long legs without arms, of parts with edges."""
    rng = build.rng
    if rng.uniform() < 0.5:
        _biped(build)
        return
    width, height, deep = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.6), rng.uniform(0.6, 1.6)
    build.add(np.zeros(3), height * UP, (width, width * rng.uniform(0.6, 1.1)), 0, deep, FORWARD)
    thick, bend = width * rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.9)
    limbs(build, [0.8 * width, 0, 0], [0.2, -1, -0.2], rng.uniform(0.4, 1.2), thick, 1, bend, 0.3, 2.5)
    if rng.uniform() < 0.7:  # arms or guns
        start = [width * 1.1, rng.uniform(0.3, 0.9) * height, 0]
        heading = [0.2, rng.uniform(-1, 0.3), rng.uniform(0, 1.5)]
        limbs(build, start, heading, rng.uniform(0.3, 0.9), thick, 3, 0.4, 0.2)
    if rng.uniform() < 0.6:
        add_head(build, (height + 0.3 * width) * UP, FORWARD + rng.normal(0, 0.2, 3), width * rng.uniform(0.3, 0.7))
    for _ in range(int(rng.integers(0, 4))):  # boxes, tanks, antennas
        place = rng.normal(0, 0.6, 3) * [width, height, width * deep] + 0.5 * height * UP
        size = width * rng.uniform(0.15, 0.5)
        build.add(place, place + size * unit(rng.normal(0, 1, 3)), (size, size * rng.uniform(0.3, 1)), 4)


def _tree(build: Builder) -> None:
    """A trunk in any direction with limbs at random places, mirrored pairs or not, that branch once more."""
    rng = build.rng
    radius, count = rng.uniform(0.08, 0.3), int(rng.integers(1, 4))
    heading = unit(rng.normal(0, 1, 3) + rng.uniform(0, 2) * UP)
    build.chain(np.zeros(3), heading, rng.uniform(0.15, 0.5, count), radius * rng.uniform(0.6, 1.2, count + 1), 0, 0.5)
    trunk = list(build.parts)
    for _ in range(int(rng.integers(2, 6))):
        part = trunk[int(rng.integers(len(trunk)))]
        root = part.start + rng.uniform(0, 1) * (part.end - part.start)
        segments = int(rng.integers(1, 4))
        lengths = rng.uniform(0.1, 0.45, segments)
        thick = radius * rng.uniform(0.2, 0.7)
        radii = thick * np.linspace(1, rng.uniform(0.3, 1.1), segments + 1)
        direction, color, bend = rng.normal(0, 1, 3), int(rng.integers(5)), rng.uniform(0.1, 0.9)
        if rng.uniform() < 0.6:
            root, direction = np.abs(root * [1, 0, 0]) + root * [0, 1, 1], direction * [np.sign(direction[0]), 1, 1]
            build.pair(root + 0.5 * radius * SIDE, direction, lengths, radii, color, bend, 0.2)
        else:
            build.chain(root, direction, lengths, radii, color, bend)
        if rng.uniform() < 0.4:
            add_hand(build)
    if rng.uniform() < 0.4:
        add_head(build, trunk[-1].end, FORWARD + rng.normal(0, 0.3, 3), radius * rng.uniform(0.6, 1.5))


_BUILDERS = {
    "biped": _biped, "quadruped": _quadruped, "bird": _bird, "fish": _fish, "insect": _insect, "snake": _snake,
    "robot": _robot, "blob": _blob, "frog": _frog, "tree": _tree,
}  # fmt: skip
