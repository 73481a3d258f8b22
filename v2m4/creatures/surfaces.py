"""Surfaces of creatures, from tapered capsules: closed parts that overlap, or one smooth surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from skimage.measure import marching_cubes

from v2m4.kernels import kernel

RINGS, SIDES = 4, 10  # of a cap, and around a part
VOXELS = 56  # along the longest side of the volume of a smooth surface
SIDE, UP = np.eye(3)[0], np.eye(3)[1]


@dataclass(frozen=True)
class Part:
    """A tapered capsule, flattened along one axis.

    Attributes:
        start: (3,).
        end: (3,).
        radii: at start and end.
        flat: factor on its extent along ``normal``.
        normal: (3,) unit.
        color: (3,) sRGB.
        power: exponent of its cross-section's superellipse, 2 for round ones.
    """

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    flat: float
    normal: np.ndarray
    color: np.ndarray
    power: float = 2.0


def unit(vector: np.ndarray) -> np.ndarray:
    """Unit vector (3,) along a vector; 0 for 0."""
    return np.asarray(vector, np.float64) / max(float(np.linalg.norm(vector)), 1e-9)


def tube_meshes(parts: list[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closed meshes of all parts in one: vertices (V, 3), faces (F, 3), and the part (V,) of each vertex."""
    angles = 2 * math.pi * np.arange(SIDES) / SIDES
    caps = 0.5 * math.pi * (np.arange(RINGS) + 0.5) / RINGS
    # Profile of a capsule: (side, along in radii, width in radii).
    profile = [(0, -math.cos(a), math.sin(a)) for a in caps] + [(1, math.sin(a), math.cos(a)) for a in caps]
    ring = np.arange(SIDES)
    faces = []
    for number in range(len(profile) - 1):
        low, high = number * SIDES + ring, (number + 1) * SIDES + ring
        after_low, after_high = number * SIDES + (ring + 1) % SIDES, (number + 1) * SIDES + (ring + 1) % SIDES
        faces += [np.stack([low, after_low, high], 1), np.stack([after_low, after_high, high], 1)]
    first, last = len(profile) * SIDES, len(profile) * SIDES + 1
    faces.append(np.stack([np.full(SIDES, first), (ring + 1) % SIDES, ring], 1))
    end = (len(profile) - 1) * SIDES
    faces.append(np.stack([np.full(SIDES, last), end + ring, end + (ring + 1) % SIDES], 1))
    topology = np.concatenate(faces)
    all_vertices, all_faces, offset = [], [], 0
    for part in parts:
        axis = unit(part.end - part.start)
        across = part.normal - (part.normal @ axis) * axis
        if np.linalg.norm(across) < 1e-3:
            across = np.cross(axis, UP if abs(axis[1]) < 0.9 else SIDE)
        normal = unit(across)
        other = np.cross(axis, normal)
        norm = (np.abs(np.cos(angles)) ** part.power + np.abs(np.sin(angles)) ** part.power) ** (1 / part.power)
        circle = (part.flat * np.cos(angles)[:, None] * normal + np.sin(angles)[:, None] * other) / norm[:, None]
        points = []
        for side, along, width in profile:
            radius, centre = part.radii[side], (part.start, part.end)[side]
            wide = width ** (2 / part.power)
            points.append(centre + radius * (along * axis + wide * circle))
        tips = [part.start - part.radii[0] * axis, part.end + part.radii[1] * axis]
        vertices = np.concatenate([*points, np.stack(tips)])
        all_vertices.append(vertices)
        all_faces.append(topology + offset)
        offset += len(vertices)
    owner = np.repeat(np.arange(len(parts)), [len(vertices) for vertices in all_vertices])
    return np.concatenate(all_vertices), np.concatenate(all_faces), owner


@kernel("f8[:,::1], f8[::1], f8, i8[::1], f8", ahead=False)
def _union_field(parts, origin, cell, shape, sharpness):  # pragma: no cover
    """Sum over parts of exp(-sharpness * distance) on a lattice of the given shape; parts (P, 12) as in ``_rows``."""
    field = np.zeros((shape[0], shape[1], shape[2]))
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for p in range(len(parts)):
        a, b, normal = parts[p, 0:3], parts[p, 3:6], parts[p, 8:11]
        widest = max(parts[p, 6], parts[p, 7]) + 4.0 / sharpness
        for k in range(3):
            low[k] = max(int((min(a[k], b[k]) - widest - origin[k]) / cell), 0)
            high[k] = min(int((max(a[k], b[k]) + widest - origin[k]) / cell) + 1, shape[k] - 1)
        dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        square = max(dx * dx + dy * dy + dz * dz, 1e-12)
        stretch = 1.0 / parts[p, 11] - 1.0
        for i in range(low[0], high[0] + 1):
            x = origin[0] + i * cell - a[0]
            for j in range(low[1], high[1] + 1):
                y = origin[1] + j * cell - a[1]
                for k in range(low[2], high[2] + 1):
                    z = origin[2] + k * cell - a[2]
                    t = min(max((x * dx + y * dy + z * dz) / square, 0.0), 1.0)
                    u, v, w = x - t * dx, y - t * dy, z - t * dz
                    along = (u * normal[0] + v * normal[1] + w * normal[2]) * stretch
                    u, v, w = u + along * normal[0], v + along * normal[1], w + along * normal[2]
                    distance = np.sqrt(u * u + v * v + w * w) - (parts[p, 6] + t * (parts[p, 7] - parts[p, 6]))
                    field[i, j, k] += np.exp(-sharpness * min(max(distance, -1.0), 1.0))
    return field


def smooth_union(parts: list[Part], sharpness: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One surface about all parts: vertices (V, 3), faces (F, 3), and the part (V,) nearest to each vertex.

    Args:
        parts: of a creature.
        sharpness: inverse width of the blend between parts.
    """
    rows = np.array([[*p.start, *p.end, *p.radii, *p.normal, p.flat] for p in parts])
    margin = rows[:, 6:8].max() + 0.1
    low = np.minimum(rows[:, :3], rows[:, 3:6]).min(0) - margin
    high = np.maximum(rows[:, :3], rows[:, 3:6]).max(0) + margin
    cell = float((high - low).max()) / VOXELS
    shape = np.ceil((high - low) / cell).astype(np.int64) + 1
    field = _union_field(rows, low, cell, shape, sharpness)
    level = np.log(np.maximum(field, 1e-8))
    level[[0, -1]] = level[:, [0, -1]] = level[:, :, [0, -1]] = -8
    points, faces, _, _ = marching_cubes(level, 0.0, gradient_direction="ascent")
    vertices = points * cell + low
    return vertices, faces.astype(np.int64), part_distances(parts, vertices).argmin(1)


def part_distances(parts: list[Part], points: np.ndarray) -> np.ndarray:
    """Signed distances (V, P) of points (V, 3) to the parts, taken as round tapered capsules; negative inside."""
    start, end = np.stack([part.start for part in parts]), np.stack([part.end for part in parts])
    radii, edge = np.array([part.radii for part in parts]), end - start
    relative = points[:, None] - start
    along = np.clip((relative * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12), 0, 1)
    distance = np.linalg.norm(relative - along[..., None] * edge, axis=-1)
    return distance - (radii[:, 0] + along * (radii[:, 1] - radii[:, 0]))
