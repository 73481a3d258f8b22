"""Binary labelling of a picture with contrast-weighted total variation, the continuous form of a graph cut.

Minimises sum_x (-evidence(x) u(x) + weight(x) |grad u(x)|) over u in [0, 1] by the primal-dual algorithm of Chambolle
and Pock (2011), algorithm 1. The problem is convex, and thresholding u gives a minimiser over binary labels (Chan,
Esedoglu and Nikolova 2006), so that there is no local optimum and no preferred axis, as there is in a cut of a grid.
"""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel

STEP = 0.35  # of both variables; the product must be below 1 / 8
LEAST_WEIGHT = 0.1  # of an edge across the strongest contrast, relative to one in a uniform region


@kernel("f4[:,::1], f4[:,::1], f4[:,::1], i8")
def _minimise(evidence, weight, labels, iterations):
    """Iterate in place on ``labels`` (h, w), the start and the result."""
    height, width = evidence.shape
    step = np.float32(STEP)
    ahead = labels.copy()
    dual_x = np.zeros((height, width), np.float32)
    dual_y = np.zeros((height, width), np.float32)
    for _ in range(iterations):
        for y in range(height):
            below = min(y + 1, height - 1)
            for x in range(width - 1):
                here = ahead[y, x]
                across = dual_x[y, x] + step * (ahead[y, x + 1] - here)
                down = dual_y[y, x] + step * (ahead[below, x] - here)
                excess = np.sqrt(across * across + down * down) / weight[y, x]
                scale = np.float32(1) / max(np.float32(1), excess)
                dual_x[y, x] = across * scale
                dual_y[y, x] = down * scale
            down = dual_y[y, width - 1] + step * (ahead[below, width - 1] - ahead[y, width - 1])
            bound = weight[y, width - 1]
            dual_y[y, width - 1] = min(max(down, -bound), bound)
        for y in range(height):
            for x in range(width):
                divergence = dual_x[y, x] + dual_y[y, x]
                if x > 0:
                    divergence -= dual_x[y, x - 1]
                if y > 0:
                    divergence -= dual_y[y - 1, x]
                before = labels[y, x]
                value = min(max(before + step * (divergence + evidence[y, x]), np.float32(0)), np.float32(1))
                labels[y, x] = value
                ahead[y, x] = value + value - before


def edge_weights(picture: np.ndarray, strength: float) -> np.ndarray:
    """Weight (h, w) float32 of the total variation at each pixel: small across contrast, as in GrabCut.

    Args:
        picture: (h, w, 3) uint8.
        strength: weight in a uniform region.
    """
    values = picture.astype(np.float32)
    across, down = np.zeros_like(values), np.zeros_like(values)
    across[:, :-1], down[:-1] = values[:, 1:] - values[:, :-1], values[1:] - values[:-1]
    contrast = (across * across + down * down).sum(2)
    typical = max(float(contrast.mean()), 1.0)
    return np.float32(strength) * (LEAST_WEIGHT + (1 - LEAST_WEIGHT) * np.exp(-contrast / (2 * typical)))


def labelled(evidence: np.ndarray, weight: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """The minimising labels (h, w) float32 in [0, 1]; nearly all are 0 or 1.

    Args:
        evidence: (h, w) log-odds of the foreground.
        weight: (h, w) > 0, of the total variation.
        start: (h, w) labels to begin with.
        iterations: of the primal-dual algorithm.
    """
    labels = np.ascontiguousarray(start, np.float32).copy()
    _minimise(np.ascontiguousarray(evidence, np.float32), np.ascontiguousarray(weight, np.float32), labels, iterations)
    return labels
