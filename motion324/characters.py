"""Training characters that need no download: random creatures with a skeleton, skinned, coloured and in motion.

The parts of a creature (``v2m4.creatures``) become the nodes of a skeleton: a part hangs on the earlier part that its
start lies deepest in. Joint angles are sums of sines: of one base frequency for steps, wing beats and waves along
chains, mirrored limbs in phase or in opposite phase, and of free frequencies for everything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v2m4.creatures.plans import PLANS, Creature, creature_of_parts
from v2m4.creatures.solid_texture import solid_texture
from v2m4.creatures.surfaces import part_distances
from v2m4.rotation import rotation_exp
from v2m4.skinning.skeleton import Binding, Skeleton, SkeletonPoses

INFLUENCES = 3  # nodes of a vertex
WAVES = 3  # sines of a free curve
TREES = 0.3  # share of random trees of limbs; the rest have a body plan
STIFF = 0.4  # share of characters of separate parts whose parts stay rigid
SQUASHED = 0.15  # share of characters that are stretched and squashed


@dataclass(frozen=True)
class Curves:
    """Smooth curves of time, sums of sines.

    Attributes:
        amplitudes: (C, K).
        frequencies: (C, K) Hz.
        phases: (C, K) radians.
    """

    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Values (T, C) at times (T,) in seconds."""
        angles = 2 * math.pi * self.frequencies * times[:, None, None] + self.phases
        return (self.amplitudes * np.sin(angles)).sum(-1)


@dataclass(frozen=True)
class Character:
    """A character that moves.

    Attributes:
        plan: name of its body plan.
        faces: (F, 3) int64.
        colors: (V, 3) sRGB.
        skeleton: a node for every part.
        binding: of the vertices.
        angles: rotation vectors of all nodes, (J * 3) curves, radians.
        path: translation of the root, 3 curves.
        squash: logarithm of the vertical stretch, 1 curve.
    """

    plan: str
    faces: np.ndarray
    colors: np.ndarray
    skeleton: Skeleton
    binding: Binding
    angles: Curves
    path: Curves
    squash: Curves

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Vertices (T, V, 3) float32 at times (T,) in seconds."""
        rest = self.skeleton.rest(len(times))
        vectors = self.angles.at(times).reshape(len(times), -1, 3)
        translations = rest.translations
        translations[:, 0] += self.path.at(times)
        linear, origin = self.skeleton.world(SkeletonPoses(rotation_exp(vectors), translations))
        vertices = self.binding.skinned(linear, origin)
        stretch = np.exp(self.squash.at(times))[:, :, None]
        ground = vertices[..., 1].min()
        vertices[..., 1:2] = ground + (vertices[..., 1:2] - ground) * stretch
        vertices[..., ::2] /= np.sqrt(stretch)
        return vertices.astype(np.float32)


def random_character(rng: np.random.Generator) -> Character:
    """A random character with a random motion."""
    plan = "tree" if rng.uniform() < TREES else str(rng.choice(PLANS))
    creature = creature_of_parts(rng, plan)
    parents = part_parents(creature)
    starts = np.stack([part.start for part in creature.parts])
    count = len(parents)
    translations = starts - np.where((parents < 0)[:, None], 0, starts[parents])
    same = np.broadcast_to(np.eye(3), (count, 3, 3))
    anything = np.ones(count, dtype=bool)
    skeleton = Skeleton(parents, translations, same, same, anything, parents < 0)
    size = float(np.ptp(creature.vertices, axis=0).max())
    return Character(
        plan,
        creature.faces,
        _colors(creature, rng),
        skeleton,
        _bound(creature, parents, rng),
        _joint_curves(creature, parents, rng),
        _path(size, rng),
        _curves(rng, np.full(1, rng.uniform(0.05, 0.35) if rng.uniform() < SQUASHED else 0.0), 2.0),
    )


def part_parents(creature: Creature) -> np.ndarray:
    """Parent (P,) of each part: the earlier part that its start lies deepest in, or is nearest to; -1 for the first."""
    starts = np.stack([part.start for part in creature.parts])
    distance = part_distances(creature.parts, starts)
    distance[np.triu_indices(len(starts))] = np.inf  # earlier parts only
    return np.concatenate([[-1], distance[1:].argmin(1)])


def mirrored_parts(creature: Creature, parents: np.ndarray) -> np.ndarray:
    """For each part (P,) the earlier part on the other side that it mirrors, -1 where there is none.

    Limbs are made as mirrored chains: where their first parts start at mirrored places, the parts that follow match.
    """
    starts = np.stack([part.start for part in creature.parts])
    radii = np.array([part.radii[0] for part in creature.parts])
    mirror = np.full(len(starts), -1)
    for part in range(1, len(starts)):
        above = parents[part]
        if mirror[above] >= 0 and mirror[above] + part - above < part:
            other = mirror[above] + part - above
            if parents[other] == mirror[above]:
                mirror[part] = other
                continue
        if abs(starts[part, 0]) > 1e-6:
            same = np.abs(starts[:part] * [-1, 1, 1] - starts[part]).max(-1) < 1e-6
            same &= (np.abs(radii[:part] - radii[part]) < 1e-9) & (mirror[:part] < 0)
            if same.any():
                mirror[part] = int(np.flatnonzero(same)[0])
    return mirror


def _curves(rng: np.random.Generator, sizes: np.ndarray, fastest: float) -> Curves:
    """Free curves of root mean square amplitudes (C,), with frequencies up to ``fastest`` Hz."""
    shape = (len(sizes), WAVES)
    frequencies = fastest * rng.uniform(0.05, 1, shape) ** 1.5
    return Curves(
        sizes[:, None] * rng.uniform(0.2, 1, shape) / WAVES * 1.5, frequencies, rng.uniform(0, 2 * math.pi, shape)
    )


def _path(size: float, rng: np.random.Generator) -> Curves:
    """Translation of the root: most characters stay in place or bob, some travel."""
    along = rng.uniform(0.0, 0.08) if rng.uniform() < 0.75 else rng.uniform(0.1, 0.35)
    return _curves(rng, size * along * rng.uniform(0.3, 1, 3), 1.2)


def _joint_curves(creature: Creature, parents: np.ndarray, rng: np.random.Generator) -> Curves:
    """Rotation vectors of all nodes; the first wave of each is of the character's base frequency."""
    count = len(parents)
    depth = np.zeros(count, dtype=int)
    for part in range(1, count):
        depth[part] = depth[parents[part]] + 1
    mirror = mirrored_parts(creature, parents)
    lengths = np.array([np.linalg.norm(part.end - part.start) for part in creature.parts])
    wide = np.array([max(part.radii) for part in creature.parts])
    base, activity = rng.uniform(0.4, 2.2), rng.uniform(0.3, 1.0)
    strength, lag = rng.uniform(0.15, 0.9), rng.uniform(0, 1.2)
    opposite = math.pi if rng.uniform() < 0.6 else 0.0
    periodic = rng.uniform(0.2, 1.0)
    sizes, phases, axes = np.zeros(count), np.zeros(count), np.zeros((count, 3))
    for part in range(count):
        other = mirror[part]
        if other >= 0 and rng.uniform() < 0.85:
            sizes[part] = sizes[other] * rng.uniform(0.8, 1.2)
            phases[part] = phases[other] + opposite
            axes[part] = axes[other] * [1, -1, -1]  # the mirror image of a rotation
            continue
        moves = rng.uniform() < activity and lengths[part] > 0.4 * wide[part]
        sizes[part] = strength * rng.uniform(0.3, 1.2) * moves
        phases[part] = rng.uniform(0, 2 * math.pi) if rng.uniform() < 0.4 else lag * depth[part]
        sagittal = np.array([1.0, 0.0, 0.0]) if rng.uniform() < 0.5 else rng.normal(0, 1, 3)
        axes[part] = sagittal / np.linalg.norm(sagittal)
    if rng.uniform() < 0.7:
        sizes[0] *= 0.25  # whole bodies rotate less than limbs
    regular = _waves_of(base, sizes * periodic, phases, axes)
    free = _curves(rng, np.repeat(sizes * (1 - 0.7 * periodic), 3), 1.5)
    return Curves(
        np.concatenate([regular.amplitudes, free.amplitudes], 1),
        np.concatenate([regular.frequencies, free.frequencies], 1),
        np.concatenate([regular.phases, free.phases], 1),
    )


def _waves_of(base: float, sizes: np.ndarray, phases: np.ndarray, axes: np.ndarray) -> Curves:
    """One sine of the base frequency for each rotation vector, about one axis."""
    amplitudes = (sizes[:, None] * axes).reshape(-1, 1)
    return Curves(amplitudes, np.full_like(amplitudes, base), np.repeat(phases, 3)[:, None])


def _bound(creature: Creature, parents: np.ndarray, rng: np.random.Generator) -> Binding:
    """Bind the vertices to their own part, its parent and its children, by their distances; or to their own part."""
    own, count = creature.part_of_vertex, len(creature.parts)
    distance = part_distances(creature.parts, creature.vertices)
    rows = np.arange(len(own))
    related = np.eye(count, dtype=bool)
    children = np.flatnonzero(parents >= 0)
    related[children, parents[children]] = related[parents[children], children] = True
    radii = np.array([max(part.radii) for part in creature.parts])
    blend = rng.uniform(0.1, 0.5) * radii[own][:, None]
    distance = distance - distance[rows, own][:, None]
    distance[rows, own] = 0.0
    weights = np.where(related[own], np.exp(-np.maximum(distance, 0) / blend), 0)
    nodes = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(weights, nodes, 1)
    if creature_is_separate(creature) and rng.uniform() < STIFF:
        weights, nodes = np.ones((len(own), 1)), own[:, None]
    weights /= weights.sum(1, keepdims=True)
    starts = np.stack([part.start for part in creature.parts])
    return Binding(nodes, weights, creature.vertices[:, None] - starts[nodes])


def creature_is_separate(creature: Creature) -> bool:
    """Whether the surface is made of closed parts that overlap, which have equally many vertices each."""
    return len(np.unique(np.bincount(creature.part_of_vertex, minlength=len(creature.parts)))) == 1


def _colors(creature: Creature, rng: np.random.Generator) -> np.ndarray:
    """Vertex colours (V, 3): those of the parts, a solid texture, or both."""
    choice = rng.uniform()
    if choice < 0.35:
        return creature.colors
    texture = solid_texture(creature.vertices, creature.vertices, rng)
    share = 1.0 if choice < 0.7 else rng.uniform(0.2, 0.8)
    return share * texture + (1 - share) * creature.colors
