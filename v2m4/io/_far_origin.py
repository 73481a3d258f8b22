"""Origin about which a mesh far from its file's origin (in UTM coordinates, say) is stored and computed in float32."""

from __future__ import annotations

import numpy as np

FLOAT32_ROUNDING = 2.0**-24  # of a number: half a unit in the last place
MAX_LOSS = 1e-5  # of the mesh's size: the largest rounding of a position for which the file's own origin is kept


def far_origin(positions: np.ndarray) -> np.ndarray:
    """Middle (3,) float64 of a mesh's bounding box where float32 would lose MAX_LOSS of its size; else the file's 0.

    Args:
        positions: (N, 3) in the file's world.
    """
    points = np.asarray(positions, dtype=np.float64)
    points = points[np.isfinite(points).all(1)]
    if len(points) == 0:
        return np.zeros(3)
    lower, upper = points.min(0), points.max(0)
    farthest = max(float(np.abs(lower).max()), float(np.abs(upper).max()))
    if farthest * FLOAT32_ROUNDING <= MAX_LOSS * float((upper - lower).max()):
        return np.zeros(3)
    return (lower + upper) / 2
