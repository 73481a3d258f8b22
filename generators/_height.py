"""How thick the object is behind every point of its silhouette."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from v2m4.kernels import kernel

# Depth of a part over its width, against how elongated it is; measured against true meshes: heads and other compact
# parts are as deep as long, trunks are less deep than wide (of an animal seen from the side, a person from the front).
DEPTH_AT = (1.2, 2.0, 2.6, 3.2, 6.0)
DEPTH = (1.0, 1.3, 1.1, 0.75, 1.0)
DEPTH_BLUR = 0.03  # of the lattice's longer side: how softly one part's depth gives way to the next's
NARROWER = 0.6  # a place this much narrower is the end of a part
OFF_AXIS = 0.2  # cells: how far balls centred on nodes fall short of those centred on the axis, on average
NEAREST = 0.1  # how much smaller a ball may be, per distance, to be preferred for being nearer
LADDER = 1.2  # ratio of neighbouring radii that are told apart
SMOOTHING = (1.0, 2.0, 4.0)  # cells
PART_BLUR = 4.0  # cells: how softly one part's place in depth gives way to the next's


@kernel
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
        for p in range(count):
            out[p] = 1e13
        return
    start[top + 1] = 1e30
    at = 0
    for p in range(count):
        while start[at + 1] < p:
            at += 1
        out[p] = costs[site[at]] + (p - site[at]) ** 2


@kernel("f8[:,::1]")
def _balls(distance: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Max over q of distance[q]^2 - |p - q|^2, (h, w)."""
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
def _widest(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """The largest inscribed ball that covers each node: radius (h, w), and its centre seen from there (h, w, 2).

    The radius is called local thickness; the centre's offset is (columns, rows), of a ball a little smaller if nearer.
    """
    height, width = distance.shape
    result = distance.copy()
    nearest = np.full((height, width), -1e30)
    offset = np.zeros((height, width, 2))
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            radius = distance[i, j]
            # Balls off the medial axis lie within larger ones.
            if radius <= 0 or radius < distance[i - 1 : i + 2, j - 1 : j + 2].max() - 0.35:
                continue
            reach = int(radius)
            for k in range(max(i - reach, 0), min(i + reach + 1, height)):
                half = int(np.sqrt(max(radius * radius - (k - i) ** 2, 0.0)))
                for m in range(max(j - half, 0), min(j + half + 1, width)):
                    if distance[k, m] <= 0:
                        continue
                    result[k, m] = max(result[k, m], radius)
                    # Of the many equal balls along a limb, the nearest.
                    preference = radius - NEAREST * np.sqrt((k - i) ** 2 + (m - j) ** 2)
                    if preference > nearest[k, m]:
                        nearest[k, m] = preference
                        offset[k, m, 0], offset[k, m, 1] = j - m, i - k
    return result, offset


def elongation(thickness: np.ndarray) -> np.ndarray:
    """How long the part around each node is for its width, (h, w): 1 for a disc, more for strips, large for limbs.

    The part is what can be reached without passing a place much narrower than here; its area is compared with that of
    the disc that fits in. A limb reaches the body, so it counts as long however short it is.

    Args:
        thickness: (h, w) radius of the largest inscribed ball over each node, in cells, 0 outside.
    """
    result = np.ones(thickness.shape)
    radius = thickness.max()
    while radius > 1:
        here = (thickness > radius / LADDER) & (thickness <= radius)
        labels, _ = ndimage.label(thickness > NARROWER * radius)
        areas = np.bincount(labels.ravel())
        result[here] = areas[labels[here]] / (math.pi * radius**2 / LADDER)
        radius /= LADDER
    return np.maximum(result, 1)


@dataclass(frozen=True)
class Relief:
    """Half the object's thickness z as seen from its silhouette: z^2 = distance from the contour * factor.

    Interpolating the two keeps what interpolating z^2 would lose: the thickness vanishes exactly on the contour.

    Attributes:
        factor: (h, w) positive, cells.
        thickness: (h, w) radius of the largest inscribed ball over each node, cells; 0 outside.
        radius: (h, w) the same, smooth, and carried on outwards.
        middle: (h, w, 2) where that ball's centre is, seen from the node, as (columns, rows); smooth too.
    """

    factor: np.ndarray
    thickness: np.ndarray
    radius: np.ndarray
    middle: np.ndarray


def relief(distance: np.ndarray, foreshortening: float = 1.0) -> Relief:
    """How thick the object is, as far as a silhouette tells.

    A limb is as deep as it is wide: the balls inscribed along its axis make a cylinder. A compact part has a width and
    a height, and its depth is likely to be of either, so one that is longer than wide is deeper than its inscribed
    balls; a long one turns into a trunk, a very long one into a limb.

    Args:
        distance: (h, w) signed distance from the contour in cells, positive inside.
        foreshortening: how many times longer parts are than they look, for they recede from the picture.
    """
    inside = distance > 0
    within = distance.clip(0)
    thickness, offset = _widest(within)
    depth = np.interp(np.log(foreshortening * elongation(thickness)), np.log(DEPTH_AT), DEPTH)
    depth = depth * (1 + OFF_AXIS / thickness.clip(2))
    depth = _spread(depth, inside, DEPTH_BLUR * max(distance.shape))
    square = depth**2 * _balls(within)
    # z^2 / distance + distance is the width of a part: carried on outwards, it continues the profile there.
    known = distance > 0.75
    square = np.where(known, square, distance * (_carried_on(square, distance, known) - distance))
    # Where balls of different parts meet they leave creases: smooth them, more inside than near the contour. Twicing
    # (2 G - G G) leaves balls and cylinders as they are, for their squared heights are quadratic.
    for sigma in SMOOTHING:
        blurred = ndimage.gaussian_filter(square, sigma)
        smooth = 2 * blurred - ndimage.gaussian_filter(blurred, sigma)
        part = np.clip(distance / (3 * sigma), 0, 1)
        square = np.where(inside, (1 - part) * square + part * np.maximum(smooth, 0.25 * square), square)
    factor = (_carried_on(square, distance, known) - distance).clip(1e-3)
    radius = _spread(thickness, inside, PART_BLUR)
    middle = np.stack([_spread(offset[..., axis], inside, PART_BLUR) for axis in (0, 1)], -1)
    return Relief(factor, thickness, radius, middle)


def _carried_on(square: np.ndarray, distance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The sum square / distance + distance where known, (h, w), and smoothly the same elsewhere."""
    width = np.where(known, square, 0) / np.where(known, distance, 1) + distance
    for sigma in (1.0, 2.0, 8.0, 64.0):
        width = np.where(known, width, _spread(width, known, sigma))
        known = known | (width > 0)
    return width


def _spread(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of the known values around every node, (h, w); 0 where none is near."""
    weight = ndimage.gaussian_filter(known * 1.0, sigma)
    total = ndimage.gaussian_filter(np.where(known, values, 0), sigma)
    return np.where(weight > 1e-4, total / weight.clip(1e-4), 0)
