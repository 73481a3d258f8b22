"""Positions and normals as small integers (KHR_mesh_quantization), and the error that this may cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from v2m4.geometry import vertex_normals

SHORT_MAX = 32767
# Integer types for normal deltas, smallest first, with the shortest sum "rest normal + delta" whose direction they
# still hold to about a degree.
NORMAL_DELTA_TYPES = ((np.int8, 0.5), (np.int16, 0.02))


@dataclass(frozen=True)
class Lattice:
    """Where 16-bit positions lie: value = centre + size * stored / 32767.

    Attributes:
        centre: (3,) float64.
        size: half of the range, the same along each axis, so that normals need no correction.
    """

    centre: np.ndarray
    size: float

    @classmethod
    def around(cls, poses: np.ndarray, rest: np.ndarray) -> Lattice:
        """The finest lattice that holds the rest pose (V, 3) and each pose's (T, V, 3) offset from it."""
        if len(rest) == 0:
            raise ValueError("the mesh has no vertices")
        centre = (rest.min(0).astype(np.float64) + rest.max(0)) / 2
        # Two steps to spare, so that rounding never passes the last stored value.
        reach = max(float(np.abs(rest - centre).max()), *(float(np.abs(pose - rest).max()) for pose in poses))
        return cls(centre, max(reach, 1e-12) * (1 + 2 / SHORT_MAX))

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Numbers in [-size, size] as int16."""
        return np.round(values / self.size * SHORT_MAX).astype(np.int16)

    def value(self, stored: np.ndarray) -> np.ndarray:
        """The inverse of ``stored``, float64."""
        return stored.astype(np.float64) * (self.size / SHORT_MAX)


def unit_normals(vertices: np.ndarray, faces: torch.Tensor) -> np.ndarray:
    """Vertex normals (V, 3); vertices without any get +z, since a file may not hold normals of length 0."""
    normals = vertex_normals(torch.from_numpy(vertices), faces).numpy()
    flat = np.linalg.norm(normals, axis=1) < 0.5
    return np.where(flat[:, None], np.array([0, 0, 1], np.float32), normals)


def normal_deltas(rest: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Normal deltas in the smallest type that holds them.

    Stored integers reach only from -1 to 1, but a normal that turns by more than a right angle can change by 2. Only
    the direction of the sum counts, so a normal is shortened until its delta fits.

    Args:
        rest: (V, 3) as stored.
        normals: (V, 3) unit.
    """
    room = 1 + np.where(normals < 0, -rest, rest)
    length = np.minimum((room / np.maximum(np.abs(normals), 1e-12)).min(1), 1.0)
    for kind, shortest in NORMAL_DELTA_TYPES:
        if length.min() >= shortest:
            largest = np.iinfo(kind).max
            deltas = np.clip(length[:, None] * normals - rest, -1, 1)
            return np.round(deltas * largest).astype(kind)
    return normals - rest
