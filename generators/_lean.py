"""A silhouette's inscribed balls moved into depth: what a body that recedes from the picture looks like from there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from v2m4.kernels import kernel

AXIS = 0.35  # cells: balls smaller than a neighbour's by more lie within it
SMOOTH = 2.0  # cells


@dataclass(frozen=True)
class Lean:
    """How a receding body differs from one that is parallel to the picture.

    Attributes:
        shift: (h, w) how much nearer its middle is, cells.
        gain: (h, w) how many times deeper it is along the line of sight.
    """

    shift: np.ndarray
    gain: np.ndarray


@kernel("f8[:,::1], f8[::1]", ahead=False)
def _moved_balls(distance: np.ndarray, place: np.ndarray):  # pragma: no cover
    """Nearest and farthest depth of all inscribed balls over each node, and the farthest had they not been moved.

    Args:
        distance: (h, w) radius of the ball about each node.
        place: (w,) how much nearer the centres in each column are.
    """
    height, width = distance.shape
    front, back = np.full((height, width), -np.inf), np.full((height, width), np.inf)
    still = np.zeros((height, width))
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            radius = distance[i, j]
            if radius <= 0 or radius < distance[i - 1 : i + 2, j - 1 : j + 2].max() - AXIS:
                continue
            reach = int(radius)
            for k in range(max(i - reach, 0), min(i + reach + 1, height)):
                half = int(np.sqrt(max(radius * radius - (k - i) ** 2, 0.0)))
                for m in range(max(j - half, 0), min(j + half + 1, width)):
                    if distance[k, m] <= 0:
                        continue
                    deep = np.sqrt(max(radius * radius - (k - i) ** 2 - (m - j) ** 2, 0.0))
                    still[k, m] = max(still[k, m], deep)
                    front[k, m] = max(front[k, m], place[j] + deep)
                    back[k, m] = min(back[k, m], place[j] - deep)
    return front, back, still


def lean_back(distance: np.ndarray, tangent: float) -> Lean:
    """The union of inscribed balls whose centres lie on a plane that recedes to the right.

    Balls stay balls, so the silhouette stays what it is: a strip becomes a cylinder about an axis in that plane.

    Args:
        distance: (h, w) signed distance from the contour in cells, positive inside.
        tangent: how fast the plane recedes; it crosses the picture at the middle of the silhouette.
    """
    inside = distance > 0
    if tangent == 0:
        return Lean(np.zeros(distance.shape), np.ones(distance.shape))
    middle = float(np.nonzero(inside)[1].mean())
    place = -tangent * (np.arange(distance.shape[1]) - middle)
    front, back, still = _moved_balls(distance.clip(0), place)
    known = (still > 0.5) & (distance > 1)
    shift = np.where(known, 0.5 * (np.where(known, front, 0) + np.where(known, back, 0)), 0)
    gain = np.where(known, 0.5 * (np.where(known, front, 0) - np.where(known, back, 0)) / still.clip(0.5), 1)
    # No cylinder is cut more than 1 / cos deep; what exceeds it are steps between balls of a thin part.
    return Lean(_everywhere(shift, known), _everywhere(gain.clip(1, math.hypot(1, tangent)), known))


def _everywhere(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Known values smoothed, and carried on to the other nodes."""
    weight = ndimage.gaussian_filter(known * 1.0, SMOOTH)
    found = weight > 1e-3
    if not found.any():
        return np.full(values.shape, values[known].mean() if known.any() else 0.0)
    smooth = ndimage.gaussian_filter(np.where(known, values, 0), SMOOTH) / weight.clip(1e-3)
    nearest = ndimage.distance_transform_edt(~found, return_distances=False, return_indices=True)
    return smooth[tuple(nearest)]
