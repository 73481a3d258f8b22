"""Silhouette of a frame: signed distance on a lattice, triangulation of its inside, colours extrapolated past it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

BACKGROUND_MARGIN = 3  # lattice nodes of background around the object
MIN_PIXELS = 16  # least area of the foreground, pixels
MIN_PART = 0.004  # of the largest part's area: smaller parts are removed, smaller holes are filled
CONTOUR_BLUR = 0.6  # standard deviation, cells
EXACT_BAND = 3  # width of the band outside the contour with exact distances, cells
MIN_NODES = 12  # least area of parts and holes, lattice nodes
# Connectivity of nodes: cells are cut along one diagonal, so foreground and background nodes have six neighbours.
NEIGHBOURS = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]])


@dataclass(frozen=True)
class SilhouetteLevelSet:
    """Signed distance from an object's contour on the nodes of a square lattice that covers it.

    Attributes:
        level: (h, w) float64, in cells, positive inside, never zero, negative on the whole border.
        origin: pixel coordinates (x, y) of node (0, 0); the image's first pixel is centred at (0.5, 0.5).
        cell: pixels between neighbouring nodes.
    """

    level: np.ndarray
    origin: np.ndarray
    cell: float


def read_silhouette(alpha: np.ndarray, grid: int) -> SilhouetteLevelSet:
    """Silhouette of a mask on a lattice with ``grid`` cells along the object's longer side.

    Alpha is averaged over each cell; the contour is its level 1/2, smoothed by less than a cell.

    Args:
        alpha: (H, W) uint8.
        grid: cells along the longer side of the object's bounding box.

    Raises:
        ValueError: the foreground has fewer than ``MIN_PIXELS`` pixels.
    """
    _, _, parts, _ = cv2.connectedComponentsWithStats((alpha > 127).astype(np.uint8), connectivity=4)
    parts = parts[1:]  # the first is the background; columns: left, top, width, height, area
    largest = parts[:, 4].max(initial=0)
    if largest < MIN_PIXELS:
        raise ValueError(
            f"no foreground: the largest part with alpha above one half has {largest} pixels, {MIN_PIXELS} needed"
        )
    parts = parts[parts[:, 4] >= MIN_PART * largest]
    left, top = parts[:, :2].min(0)
    right, bottom = (parts[:, :2] + parts[:, 2:4]).max(0)
    cell = max(bottom - top, right - left) / grid
    coverage = alpha / np.float64(255)
    if cell < 2:  # the lattice resolves single pixels: smooth their corners
        pad = 4
        coverage = np.pad(coverage, pad)
        coverage = ndimage.gaussian_filter(coverage, 0.6)
    else:
        pad = 0
    width = max(cell, 1.0)
    x = (
        left
        - BACKGROUND_MARGIN * cell
        + cell * (0.5 + np.arange(int(np.ceil((right - left) / cell)) + 2 * BACKGROUND_MARGIN))
    )
    y = (
        top
        - BACKGROUND_MARGIN * cell
        + cell * (0.5 + np.arange(int(np.ceil((bottom - top) / cell)) + 2 * BACKGROUND_MARGIN))
    )
    values = _box_average(coverage, x + pad, y + pad, width) - 0.5
    values[[0, -1]] = values[:, [0, -1]] = -0.5
    values = _without_small_parts(_away_from_zero(values))
    return SilhouetteLevelSet(_without_small_parts(_smooth_contour(values)), np.array([x[0], y[0]]), float(cell))


def _box_average(image: np.ndarray, x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Exact box filter: means of an image (H, W), 0 outside, over squares centred at columns x and rows y."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    total[1:, 1:] = image.cumsum(0).cumsum(1)

    def at(array: np.ndarray, where: np.ndarray) -> np.ndarray:
        where = np.clip(where, 0, len(array) - 1)
        low = np.minimum(where.astype(np.int64), len(array) - 2)
        part = (where - low)[:, None]
        return array[low] * (1 - part) + array[low + 1] * part

    strips = at(total, y + width / 2) - at(total, y - width / 2)
    strips = np.ascontiguousarray(strips.T)
    return (at(strips, x + width / 2) - at(strips, x - width / 2)).T / width**2


def _without_small_parts(values: np.ndarray) -> np.ndarray:
    """Level set (h, w) with small parts removed and small holes filled."""
    for sign in (1.0, -1.0):  # parts first, since the area of holes is compared with that of the remaining parts
        labels, count = ndimage.label(sign * values > 0, NEIGHBOURS)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        if sign > 0:
            largest = areas.max(initial=0)
        small = areas < max(MIN_PART * largest, MIN_NODES)
        if sign > 0:
            small[np.argmax(areas)] = False
        values = np.where(np.concatenate([[False], small])[labels], -sign * 0.1, values)
    return values


def triangulate(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangulation of the inside of the zero level set by marching triangles.

    No inner edge joins two border vertices, so two copies joined along the border are a manifold.

    Args:
        values: (h, w), non-zero, negative on the border.

    Returns:
        points (V, 2) as (x, y) in lattice units, faces (F, 3) anti-clockwise with y up, i.e. clockwise in an image
        with y down; and whether a point is on the border (V,).
    """
    height, width = values.shape
    flat = values.ravel()
    corner = (np.arange(height - 1)[:, None] * width + np.arange(width - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + width, corner + width + 1
    cells = np.concatenate([np.stack([a, c, d], 1), np.stack([a, d, b], 1)])
    inside = flat[cells] > 0
    count = inside.sum(1)

    def odd_first(which: np.ndarray, odd: bool) -> np.ndarray:
        first = np.argmax(inside[which] == odd, 1)
        return np.take_along_axis(cells[which], (first[:, None] + np.arange(3)) % 3, 1)

    one, two = odd_first(count == 1, True), odd_first(count == 2, False)
    crossed = np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [0, 1]], two[:, [0, 2]]])
    crossed.sort(1)
    keys, inverse = np.unique(crossed[:, 0] * len(flat) + crossed[:, 1], return_inverse=True)
    ids = np.split(len(flat) + inverse.ravel(), np.cumsum([len(one), len(one), len(two)]))
    faces = np.concatenate(
        [
            cells[count == 3],
            np.stack([one[:, 0], ids[0], ids[1]], 1),
            np.stack([ids[2], two[:, 1], two[:, 2]], 1),
            np.stack([ids[2], two[:, 2], ids[3]], 1),
        ]
    )
    low, high = keys // len(flat), keys % len(flat)
    part = np.clip(flat[low] / (flat[low] - flat[high]), 0.02, 0.98)[:, None]
    nodes = np.stack([np.tile(np.arange(width), height), np.repeat(np.arange(height), width)], 1).astype(np.float64)
    points = np.concatenate([nodes, nodes[low] * (1 - part) + nodes[high] * part])
    used, faces = np.unique(faces, return_inverse=True)
    return points[used], faces.reshape(-1, 3), used >= len(flat)


def border_edges(faces: np.ndarray) -> np.ndarray:
    """Directed edges (E, 2) that belong to a single face."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    single = ~np.isin(directed[:, 0] * size + directed[:, 1], directed[:, 1] * size + directed[:, 0])
    return directed[single]


def _away_from_zero(values: np.ndarray) -> np.ndarray:
    """Values with a magnitude of at least 0.02, so that no triangle at the zero level is degenerate."""
    return np.where(values > 0, np.maximum(values, 0.02), np.minimum(values, -0.02))


def _smooth_contour(values: np.ndarray) -> np.ndarray:
    """Signed distance from the zero level in cells, smooth near it, positive inside.

    Args:
        values: (h, w), non-zero, positive inside.
    """
    points, faces, _ = triangulate(values)
    edges = points[border_edges(faces)]
    steps = (np.arange(8) / 8)[
        :, None, None
    ]  # samples an eighth of a cell apart: the error of distances is below 1% of a cell
    contour = (edges[:, 0] * (1 - steps) + edges[:, 1] * steps).reshape(-1, 2)
    inside = values > 0
    distance = 0.5 - ndimage.distance_transform_edt(~inside)  # approximate, outside the band
    rows, columns = np.nonzero(distance > -EXACT_BAND)
    nearest_distance = cKDTree(contour, balanced_tree=False, compact_nodes=False).query(np.stack([columns, rows], 1))[0]
    distance[rows, columns] = np.where(inside[rows, columns], nearest_distance, -nearest_distance)
    smooth = ndimage.gaussian_filter(distance, CONTOUR_BLUR)
    return _away_from_zero(np.where(distance < 2, smooth, distance))


def extrapolate_colors(rgba: np.ndarray, solid: int = 250, erosion: int = 1) -> np.ndarray:
    """Colours extrapolated past the silhouette from the nearest opaque pixels, so that no background shows at its edge.

    Args:
        rgba: (H, W, 4) uint8.
        solid: pixels with at least this alpha, ``erosion`` pixels away from all others, keep their colour.
        erosion: pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    alpha = rgba[..., 3]
    kept = (alpha >= min(solid, int(alpha.max()))).astype(np.uint8)
    eroded = cv2.erode(kept, np.ones((2 * erosion + 1, 2 * erosion + 1), np.uint8), borderValue=1)
    # Parts thinner than the erosion keep their colours.
    thin = kept & ~cv2.dilate(eroded, np.ones((2 * erosion + 3, 2 * erosion + 3), np.uint8))
    source = eroded | (thin & 1)
    if not source.any():
        source = (alpha >= alpha.max()).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(1 - source, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((labels.max() + 1, 3), np.float32)
    at = source > 0
    colours[labels[at]] = rgba[..., :3][at].astype(np.float32) / 255
    image = colours[labels]
    # Nearest colours form streaks outside: blur those only.
    blurred = cv2.GaussianBlur(image, (0, 0), 2.0)
    return np.where(at[..., None], image, blurred)
