"""The silhouette of a frame: soft alpha on a lattice, its half-way contour, and the flat triangulation inside it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

MARGIN = 3  # lattice nodes of background kept around the object
MIN_PIXELS = 16  # a smaller foreground is noise, not an object
MIN_PART = 0.004  # parts smaller than this share of the largest one are dropped, holes smaller than it are filled
CONTOUR_BLUR = 0.6  # cells
BAND = 3  # how far outside the contour distances are exact, cells
MIN_NODES = 12  # the same in lattice nodes: below this neither has a shape
# Lattice cells are cut along one diagonal, so nodes have six neighbours, background nodes too.
NEIGHBOURS = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]])


@dataclass(frozen=True)
class Silhouette:
    """Signed distance from an object's contour on the nodes of a square lattice that covers it.

    Attributes:
        level: (h, w) float64, in cells, positive inside, never zero, negative on the whole border.
        origin: pixel coordinates (x, y) of node (0, 0); the picture's first pixel is centred at (0.5, 0.5).
        cell: pixels between neighbouring nodes.
    """

    level: np.ndarray
    origin: np.ndarray
    cell: float


def read_silhouette(alpha: np.ndarray, grid: int) -> Silhouette:
    """Find the contour on a lattice whose longer side over the object has ``grid`` cells.

    Alpha is averaged over each cell; its half-way contour, smoothed by less than a cell, is the object's.

    Args:
        alpha: (H, W) uint8.
        grid: cells along the longer side of the object's bounding box.

    Raises:
        ValueError: there is next to no foreground.
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
    soft = alpha / np.float64(255)
    if cell < 2:  # the lattice is as fine as the pixels: take the pixels' corners off
        pad = 4
        soft = np.pad(soft, pad)
        soft = ndimage.gaussian_filter(soft, 0.6)
    else:
        pad = 0
    width = max(cell, 1.0)
    x = left - MARGIN * cell + cell * (0.5 + np.arange(int(np.ceil((right - left) / cell)) + 2 * MARGIN))
    y = top - MARGIN * cell + cell * (0.5 + np.arange(int(np.ceil((bottom - top) / cell)) + 2 * MARGIN))
    values = _box_average(soft, x + pad, y + pad, width) - 0.5
    values[[0, -1]] = values[:, [0, -1]] = -0.5
    values = _clean(_away_from_zero(values))
    return Silhouette(_clean(_smooth_contour(values)), np.array([x[0], y[0]]), float(cell))


def _box_average(picture: np.ndarray, x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Exact means of a picture (H, W), zero outside, over squares of that width centred at columns x and rows y."""
    total = np.zeros((picture.shape[0] + 1, picture.shape[1] + 1))
    total[1:, 1:] = picture.cumsum(0).cumsum(1)

    def at(array: np.ndarray, where: np.ndarray) -> np.ndarray:
        where = np.clip(where, 0, len(array) - 1)
        low = np.minimum(where.astype(np.int64), len(array) - 2)
        part = (where - low)[:, None]
        return array[low] * (1 - part) + array[low + 1] * part

    strips = at(total, y + width / 2) - at(total, y - width / 2)
    strips = np.ascontiguousarray(strips.T)
    return (at(strips, x + width / 2) - at(strips, x - width / 2)).T / width**2


def _clean(values: np.ndarray) -> np.ndarray:
    """Drop small parts and fill small holes."""
    for sign in (1.0, -1.0):  # parts first, so that a hole is measured against what stays
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
    """Marching triangles: the part of the lattice inside the zero level, its border on the level.

    No border-to-border edge runs through the inside, so two copies sewn along the border are a manifold.

    Args:
        values: (h, w), non-zero, negative on the border.

    Returns:
        points (V, 2) as (x, y) in lattice units, faces (F, 3) anti-clockwise with y up, i.e. clockwise in a picture
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
    """Directed edges (E, 2) that belong to one face only."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    single = ~np.isin(directed[:, 0] * size + directed[:, 1], directed[:, 1] * size + directed[:, 0])
    return directed[single]


def _away_from_zero(values: np.ndarray) -> np.ndarray:
    """No node nearer to the zero level than a fiftieth, so that no triangle there is a needle."""
    return np.where(values > 0, np.maximum(values, 0.02), np.minimum(values, -0.02))


def _smooth_contour(values: np.ndarray) -> np.ndarray:
    """Signed distance from the zero level in cells, smooth near it, positive inside.

    Args:
        values: (h, w), non-zero, positive inside.
    """
    points, faces, _ = triangulate(values)
    edges = points[border_edges(faces)]
    steps = (np.arange(8) / 8)[:, None, None]  # an eighth of a cell apart: the distance is off by 1% of a cell at most
    contour = (edges[:, 0] * (1 - steps) + edges[:, 1] * steps).reshape(-1, 2)
    inside = values > 0
    distance = 0.5 - ndimage.distance_transform_edt(~inside)  # good enough far outside
    rows, columns = np.nonzero(distance > -BAND)
    found = cKDTree(contour, balanced_tree=False, compact_nodes=False).query(np.stack([columns, rows], 1))[0]
    distance[rows, columns] = np.where(inside[rows, columns], found, -found)
    smooth = ndimage.gaussian_filter(distance, CONTOUR_BLUR)
    return _away_from_zero(np.where(distance < 2, smooth, distance))


def bleed(rgba: np.ndarray, solid: int = 250, inset: int = 1) -> np.ndarray:
    """Colours carried outwards past the silhouette, so that no background shows at its rim.

    Args:
        rgba: (H, W, 4) uint8.
        solid: pixels of at least this alpha, and ``inset`` pixels away from any other, keep their colour.
        inset: pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    alpha = rgba[..., 3]
    kept = (alpha >= min(solid, int(alpha.max()))).astype(np.uint8)
    eroded = cv2.erode(kept, np.ones((2 * inset + 1, 2 * inset + 1), np.uint8), borderValue=1)
    # Parts thinner than the inset keep what they have.
    thin = kept & ~cv2.dilate(eroded, np.ones((2 * inset + 3, 2 * inset + 3), np.uint8))
    source = eroded | (thin & 1)
    if not source.any():
        source = (alpha >= alpha.max()).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(1 - source, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((labels.max() + 1, 3), np.float32)
    at = source > 0
    colours[labels[at]] = rgba[..., :3][at].astype(np.float32) / 255
    picture = colours[labels]
    # Nearest colours leave streaks outside; blur them, and only them.
    blurred = cv2.GaussianBlur(picture, (0, 0), 2.0)
    return np.where(at[..., None], picture, blurred)
