"""Depth of a body that leans away from the image plane: the union of its inscribed balls, moved in depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from v2m4.kernels import kernel

AXIS_TOLERANCE = 0.35  # cells: a ball smaller than a neighbouring one by more is contained in it
BLUR = 2.0  # standard deviation of the smoothing, cells


@dataclass(frozen=True)
class DepthShear:
    """Change of the depth of a body by its lean, against one that is parallel to the image plane.

    Attributes:
        shift: (h, w) displacement of its medial surface towards the camera, cells.
        gain: (h, w) factor on its thickness along the line of sight.
    """

    shift: np.ndarray
    gain: np.ndarray


@kernel("f8[:,::1], f8[::1]", ahead=False)
def _depth_of_balls(distance: np.ndarray, center_depth: np.ndarray):  # pragma: no cover
    """Front and back of the union of all inscribed balls at each node, and its half thickness without displacement.

    Args:
        distance: (h, w) radius of the ball about each node.
        center_depth: (w,) displacement of the centres in each column towards the camera, cells.
    """
    height, width = distance.shape
    front, back = np.full((height, width), -np.inf), np.full((height, width), np.inf)
    unmoved = np.zeros((height, width))
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            radius = distance[i, j]
            if radius <= 0 or radius < distance[i - 1 : i + 2, j - 1 : j + 2].max() - AXIS_TOLERANCE:
                continue
            rows_within = int(radius)
            for k in range(max(i - rows_within, 0), min(i + rows_within + 1, height)):
                half = int(np.sqrt(max(radius * radius - (k - i) ** 2, 0.0)))
                for m in range(max(j - half, 0), min(j + half + 1, width)):
                    if distance[k, m] <= 0:
                        continue
                    half_depth = np.sqrt(max(radius * radius - (k - i) ** 2 - (m - j) ** 2, 0.0))
                    unmoved[k, m] = max(unmoved[k, m], half_depth)
                    front[k, m] = max(front[k, m], center_depth[j] + half_depth)
                    back[k, m] = min(back[k, m], center_depth[j] - half_depth)
    return front, back, unmoved


def depth_shear(distance: np.ndarray, tangent: float) -> DepthShear:
    """Union of the inscribed balls with their centres on a plane that recedes to the right.

    Balls remain balls, so the silhouette does not change: a strip becomes a cylinder about an axis in that plane.

    Args:
        distance: (h, w) signed distance from the contour in cells, positive inside.
        tangent: increase of the plane's depth per distance to the right; it meets the image plane at the centroid's
            column.
    """
    inside = distance > 0
    if tangent == 0:
        return DepthShear(np.zeros(distance.shape), np.ones(distance.shape))
    middle = float(np.nonzero(inside)[1].mean())
    center_depth = -tangent * (np.arange(distance.shape[1]) - middle)
    front, back, unmoved = _depth_of_balls(distance.clip(0), center_depth)
    known = (unmoved > 0.5) & (distance > 1)
    shift = np.where(known, 0.5 * (np.where(known, front, 0) + np.where(known, back, 0)), 0)
    gain = np.where(known, 0.5 * (np.where(known, front, 0) - np.where(known, back, 0)) / unmoved.clip(0.5), 1)
    # A section of a cylinder is at most 1 / cos times deeper; more comes from steps between balls of a thin part.
    return DepthShear(
        _smoothed_everywhere(shift, known), _smoothed_everywhere(gain.clip(1, math.hypot(1, tangent)), known)
    )


def _smoothed_everywhere(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Known values (h, w) smoothed, and those of the nearest known node elsewhere."""
    weight = ndimage.gaussian_filter(known * 1.0, BLUR)
    defined = weight > 1e-3
    if not defined.any():
        return np.full(values.shape, values[known].mean() if known.any() else 0.0)
    smooth = ndimage.gaussian_filter(np.where(known, values, 0), BLUR) / weight.clip(1e-3)
    nearest = ndimage.distance_transform_edt(~defined, return_distances=False, return_indices=True)
    return smooth[tuple(nearest)]
