"""Height field over a silhouette: half the thickness of the object along the line of sight at every point.

The thickness follows from the medial axis transform: the maximal inscribed discs of the silhouette are the sections of
balls, whose union is the object, scaled in depth by the elongation of each part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from v2m4.kernels import kernel

# Depth of a part over its width, by its elongation; fitted to true meshes: heads and other compact parts are as deep as
# long, trunks are less deep than wide (of an animal from the side, a person from the front).
DEPTH_ELONGATIONS = (1.2, 2.0, 2.6, 3.2, 6.0)
DEPTH = (1.0, 1.3, 1.1, 0.75, 1.0)
DEPTH_BLUR = 0.03  # of the lattice's longer side: standard deviation of the blur of depth ratios between parts
PART_THICKNESS_RATIO = 0.6  # a part ends where its thickness falls below this share
AXIS_OFFSET = 0.2  # cells: mean deficit in radius of discs centred on nodes against those centred on the medial axis
DISTANCE_PENALTY = 0.1  # of radius per distance, when the covering disc of a node is chosen
RADIUS_RATIO = 1.2  # of neighbouring radii in ``elongation``
SMOOTHING = (1.0, 2.0, 4.0)  # standard deviations of the smoothing, cells
PART_BLUR = 4.0  # cells: standard deviation of the blur of radii and centres between parts


@kernel
def _lower_envelope(costs: np.ndarray, out: np.ndarray) -> None:  # pragma: no cover
    """Write min over q of costs[q] + (p - q)^2 to ``out``, for every p (Felzenszwalb & Huttenlocher 2012, 2.1)."""
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
            intersection = ((costs[q] + q * q) - (costs[last] + last * last)) / (2.0 * (q - last))
            if intersection > start[top]:
                top += 1
                site[top], start[top] = q, intersection
                break
            top -= 1
    if top < 0:
        for p in range(count):
            out[p] = 1e13
        return
    start[top + 1] = 1e30
    envelope_index = 0
    for p in range(count):
        while start[envelope_index + 1] < p:
            envelope_index += 1
        out[p] = costs[site[envelope_index]] + (p - site[envelope_index]) ** 2


@kernel("f8[:,::1]")
def _union_of_balls(distance: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Squared height (h, w) of the union of balls: max over q of distance[q]^2 - |p - q|^2."""
    height, width = distance.shape
    rows, costs = np.empty((height, width)), np.empty(width)
    for i in range(height):
        for j in range(width):
            costs[j] = -(distance[i, j] ** 2) if distance[i, j] > 0 else 1e13
        _lower_envelope(costs, rows[i])
    result = np.empty((height, width))
    line, column = np.empty(height), np.empty(height)
    for j in range(width):
        for i in range(height):
            line[i] = rows[i, j]
        _lower_envelope(line, column)
        for i in range(height):
            result[i, j] = -column[i]
    return result


@kernel("f8[:,::1]")
def _local_thickness(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Local thickness (h, w): radius of the largest inscribed disc that covers each node; and its centre (h, w, 2).

    The centre is an offset from the node as (columns, rows), of a slightly smaller disc if that is nearer.
    """
    height, width = distance.shape
    result = distance.copy()
    nearest = np.full((height, width), -1e30)
    offset = np.zeros((height, width, 2))
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            radius = distance[i, j]
            # Discs away from the medial axis are contained in larger ones.
            if radius <= 0 or radius < distance[i - 1 : i + 2, j - 1 : j + 2].max() - 0.35:
                continue
            rows_within = int(radius)
            for k in range(max(i - rows_within, 0), min(i + rows_within + 1, height)):
                half = int(np.sqrt(max(radius * radius - (k - i) ** 2, 0.0)))
                for m in range(max(j - half, 0), min(j + half + 1, width)):
                    if distance[k, m] <= 0:
                        continue
                    result[k, m] = max(result[k, m], radius)
                    # Of the many equal discs along a limb, the nearest.
                    preference = radius - DISTANCE_PENALTY * np.sqrt((k - i) ** 2 + (m - j) ** 2)
                    if preference > nearest[k, m]:
                        nearest[k, m] = preference
                        offset[k, m, 0], offset[k, m, 1] = j - m, i - k
    return result, offset


def elongation(thickness: np.ndarray) -> np.ndarray:
    """Elongation (h, w) of the part around each node: 1 for a disc, more for strips, large for limbs.

    The part is the connected region without places much narrower than the node's; its area is divided by that of the
    inscribed disc. The region of a limb includes the body, so a limb has a large elongation however short it is.

    Args:
        thickness: (h, w) radius of the largest inscribed disc over each node, cells; 0 outside.
    """
    result = np.ones(thickness.shape)
    radius = thickness.max()
    while radius > 1:
        in_range = (thickness > radius / RADIUS_RATIO) & (thickness <= radius)
        labels, _ = ndimage.label(thickness > PART_THICKNESS_RATIO * radius)
        areas = np.bincount(labels.ravel())
        result[in_range] = areas[labels[in_range]] / (math.pi * radius**2 / RADIUS_RATIO)
        radius /= RADIUS_RATIO
    return np.maximum(result, 1)


@dataclass(frozen=True)
class HeightField:
    """Half the object's thickness z over its silhouette, as z^2 = distance from the contour * factor.

    Stored as a product, since interpolating the factors keeps z exactly 0 on the contour, unlike interpolating z^2.

    Attributes:
        factor: (h, w) positive, cells.
        thickness: (h, w) radius of the largest inscribed disc over each node, cells; 0 outside.
        radius: (h, w) the same, smoothed and extrapolated outwards.
        center_offset: (h, w, 2) offset of that disc's centre from the node, as (columns, rows), smoothed.
    """

    factor: np.ndarray
    thickness: np.ndarray
    radius: np.ndarray
    center_offset: np.ndarray


def height_field(distance: np.ndarray, foreshortening: float = 1.0) -> HeightField:
    """Thickness of the object, estimated from its silhouette.

    A limb is as deep as it is wide: the balls along its axis form a cylinder. The depth of a compact part is likely
    between its width and its length, so one that is longer than wide is deeper than its inscribed balls; with growing
    elongation the depth becomes that of a trunk, then of a limb.

    Args:
        distance: (h, w) signed distance from the contour in cells, positive inside.
        foreshortening: true length of parts over their length in the image, of a body that recedes in depth.
    """
    inside = distance > 0
    inner_distance = distance.clip(0)
    thickness, offset = _local_thickness(inner_distance)
    depth = np.interp(np.log(foreshortening * elongation(thickness)), np.log(DEPTH_ELONGATIONS), DEPTH)
    depth = depth * (1 + AXIS_OFFSET / thickness.clip(2))
    depth = _normalized_blur(depth, inside, DEPTH_BLUR * max(distance.shape))
    square = depth**2 * _union_of_balls(inner_distance)
    # z^2 / distance + distance is the width of a part: extrapolated outwards, it continues the profile there.
    known = distance > 0.75
    square = np.where(known, square, distance * (_extrapolated_width(square, distance, known) - distance))
    # Balls of different parts intersect in creases: smooth them, more inside than near the contour. Twicing (2 G - G G)
    # preserves balls and cylinders, since their squared heights are quadratic.
    for sigma in SMOOTHING:
        blurred = ndimage.gaussian_filter(square, sigma)
        smooth = 2 * blurred - ndimage.gaussian_filter(blurred, sigma)
        part = np.clip(distance / (3 * sigma), 0, 1)
        square = np.where(inside, (1 - part) * square + part * np.maximum(smooth, 0.25 * square), square)
    factor = (_extrapolated_width(square, distance, known) - distance).clip(1e-3)
    radius = _normalized_blur(thickness, inside, PART_BLUR)
    center_offset = np.stack([_normalized_blur(offset[..., axis], inside, PART_BLUR) for axis in (0, 1)], -1)
    return HeightField(factor, thickness, radius, center_offset)


def _extrapolated_width(square: np.ndarray, distance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Width square / distance + distance where known, (h, w), extrapolated smoothly elsewhere."""
    width = np.where(known, square, 0) / np.where(known, distance, 1) + distance
    for sigma in (1.0, 2.0, 8.0, 64.0):
        width = np.where(known, width, _normalized_blur(width, known, sigma))
        known = known | (width > 0)
    return width


def _normalized_blur(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Normalised Gaussian blur of the known values, (h, w); 0 where none is near."""
    weight = ndimage.gaussian_filter(known * 1.0, sigma)
    total = ndimage.gaussian_filter(np.where(known, values, 0), sigma)
    return np.where(weight > 1e-4, total / weight.clip(1e-4), 0)
