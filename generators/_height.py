"""How thick the object is behind every point of its silhouette."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage


@njit(cache=True)
def _lower_envelope(costs: np.ndarray, out: np.ndarray) -> None:  # pragma: no cover
    """Min over q of costs[q] + (p - q)^2 for every p (Felzenszwalb & Huttenlocher 2012, section 2.1)."""
    count = len(costs)
    site = np.empty(count, np.int64)
    start = np.empty(count + 1)
    top = -1
    for q in range(count):
        if costs[q] >= 1e12:
            continue
        while True:
            if top < 0:
                top, site[0], start[0] = 0, q, -1e30
                break
            last = site[top]
            cross = ((costs[q] + q * q) - (costs[last] + last * last)) / (2.0 * (q - last))
            if cross > start[top]:
                top += 1
                site[top], start[top] = q, cross
                break
            top -= 1
    if top < 0:
        out[:] = 1e13
        return
    start[top + 1] = 1e30
    at = 0
    for p in range(count):
        while start[at + 1] < p:
            at += 1
        out[p] = costs[site[at]] + (p - site[at]) ** 2


@njit(cache=True)
def _balls(distance: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Max over q of distance[q]^2 - |p - q|^2, (h, w)."""
    height, width = distance.shape
    rows = np.empty((height, width))
    for i in range(height):
        costs = np.where(distance[i] > 0, -(distance[i] ** 2), 1e13)
        _lower_envelope(costs, rows[i])
    result = np.empty((height, width))
    column = np.empty(height)
    for j in range(width):
        _lower_envelope(rows[:, j].copy(), column)
        result[:, j] = -column
    return result


def squared_height(distance: np.ndarray) -> np.ndarray:
    """Squared half thickness on the lattice, in squared cells; 0 outside.

    Args:
        distance: (h, w) distance from the contour inside, 0 outside, in cells.
    """
    inside = distance > 0
    balls = np.where(inside, np.maximum(_balls(distance), 0), 0)
    weight = ndimage.gaussian_filter(inside.astype(np.float64), 1.5)
    smooth = ndimage.gaussian_filter(balls, 1.5) / np.maximum(weight, 1e-9)
    # Blurring lifts the rim; along the contour the profile stays that of the balls.
    blend = np.clip(distance / 4, 0, 1)
    return np.where(inside, blend * smooth + (1 - blend) * balls, 0)
