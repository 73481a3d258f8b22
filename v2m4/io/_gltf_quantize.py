"""Quantise positions and normals to small integers (KHR_mesh_quantization)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from v2m4.geometry import vertex_normals

SHORT_MAX = 32767
# Integer types for normal deltas, smallest first, each with the smallest length of "rest normal + delta" at which the
# direction's rounding error is still about a degree.
NORMAL_DELTA_TYPES = ((np.int8, 0.5), (np.int16, 0.02))


@dataclass(frozen=True)
class QuantizationGrid:
    """The grid of 16-bit positions: position = centre + half_range * integer / 32767.

    Attributes:
        centre: (3,) float64.
        half_range: the same along each axis, so that normals need no correction.
    """

    centre: np.ndarray
    half_range: float

    @classmethod
    def covering(cls, poses: np.ndarray, rest: np.ndarray) -> QuantizationGrid:
        """The finest grid that covers the rest pose (V, 3) and the offset from it of each of the poses (T, V, 3)."""
        if len(rest) == 0:
            raise ValueError("the mesh has no vertices")
        centre = (rest.min(0).astype(np.float64) + rest.max(0)) / 2
        # A margin of two steps, so that rounding never exceeds the largest integer.
        extent = max(float(np.abs(rest - centre).max()), *(float(np.abs(pose - rest).max()) for pose in poses))
        return cls(centre, max(extent, 1e-12) * (1 + 2 / SHORT_MAX))

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Values in [-half_range, half_range] as int16."""
        return np.round(values / self.half_range * SHORT_MAX).astype(np.int16)

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """The inverse of ``quantize``, float64."""
        return integers.astype(np.float64) * (self.half_range / SHORT_MAX)


def unit_normals(vertices: np.ndarray, faces: torch.Tensor) -> np.ndarray:
    """Vertex normals (V, 3); +z where undefined, since glTF forbids normals of length 0."""
    normals = vertex_normals(torch.from_numpy(vertices), faces).numpy()
    undefined = np.linalg.norm(normals, axis=1) < 0.5
    return np.where(undefined[:, None], np.array([0, 0, 1], np.float32), normals)


def normal_deltas(rest: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Normal deltas (V, 3) in the smallest integer type of sufficient precision, else float32.

    Normalised integers cover [-1, 1], but a normal that rotates by more than 90 degrees changes by up to 2. Only the
    direction of "rest normal + delta" counts, so a normal is shortened until its delta fits.

    Args:
        rest: (V, 3) rest normals as stored.
        normals: (V, 3) unit normals of the pose.
    """
    available = 1 + np.where(normals < 0, -rest, rest)
    length = np.minimum((available / np.maximum(np.abs(normals), 1e-12)).min(1), 1.0)
    for kind, min_length in NORMAL_DELTA_TYPES:
        if length.min() >= min_length:
            max_integer = np.iinfo(kind).max
            deltas = np.clip(length[:, None] * normals - rest, -1, 1)
            return np.round(deltas * max_integer).astype(kind)
    return normals - rest
