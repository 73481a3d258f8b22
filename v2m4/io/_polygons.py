"""Cut polygons of any number of corners into triangles, concave ones by ear clipping."""

from __future__ import annotations

import mapbox_earcut
import numpy as np

FLAT = 1e-5  # sine of the angle between two edges up to which a reflex corner counts as straight


def triangulate(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cut polygons into triangles; the orientation of each is kept.

    Convex polygons become fans about their first corner, concave quadrilaterals are cut from their reflex corner, other
    concave polygons by ear clipping (mapbox earcut) in the plane of their Newell normal.

    Args:
        points: (N, 3) the corners of all polygons, one polygon after the other.
        sizes: (P,) corners of each; polygons of fewer than three are left out.

    Returns:
        (F, 3) int64 indices into ``points``, in the order of the polygons.
    """
    starts = np.cumsum(sizes) - sizes
    pieces, owners = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes > 2]):
        polygons = np.flatnonzero(sizes == size)
        corners = starts[polygons][:, None] + np.arange(size)
        faces, polygon = _of_one_size(np.asarray(points, np.float64)[corners])
        pieces.append(np.take_along_axis(corners[polygon], faces, 1))
        owners.append(polygons[polygon])
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(pieces)[order]


def _of_one_size(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons (P, S, 3) of S corners: (F, 3) corner numbers, and (F,) the polygon of each."""
    count, size = points.shape[:2]
    steps = np.arange(1, size - 1)
    fan = np.stack([np.zeros_like(steps), steps, steps + 1], 1)
    faces, polygon = np.tile(fan, (count, 1)), np.repeat(np.arange(count), size - 2)
    if size == 3:
        return faces, polygon
    normals, crosses = _normals(points)
    turns = np.einsum("psc,pc->ps", crosses, normals)
    concave = np.flatnonzero((turns < -FLAT).any(1))
    if size == 4:  # both triangles meet at the reflex corner
        shift = np.zeros(count, np.int64)
        shift[concave] = turns[concave].argmin(1)
        return (faces + shift[polygon][:, None]) % 4, polygon
    clipped = [_clip_ears(points[each], normals[each], fan) for each in concave]
    convex = ~np.isin(polygon, concave)
    owners = np.repeat(concave, [len(each) for each in clipped])
    return np.concatenate([faces[convex], *clipped]), np.concatenate([polygon[convex], owners])


def _normals(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit Newell normals (P, 3), 0 where degenerate, and (P, S, 3) cross products of each corner's unit edges."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        edges = np.roll(points, -1, 1) - points
        centred = points - points.mean(1, keepdims=True)
        area = np.cross(centred, np.roll(centred, -1, 1)).sum(1)
        units = np.nan_to_num(edges / np.linalg.norm(edges, axis=2, keepdims=True))
        normals = np.nan_to_num(area / np.linalg.norm(area, axis=1, keepdims=True))
    return normals, np.cross(np.roll(units, 1, 1), units)


def _clip_ears(points: np.ndarray, normal: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """Triangles of one polygon (S, 3) by ear clipping; its fan where that finds none (a polygon without an area)."""
    axis = np.eye(3)[np.abs(normal).argmin()]
    across = np.cross(axis, normal)
    across /= max(np.linalg.norm(across), 1e-300)
    flat = (points - points[0]) @ np.stack([across, np.cross(normal, across)], 1)
    scale = np.abs(flat).max()
    if not np.isfinite(flat).all() or scale == 0:
        return fan
    flat = np.ascontiguousarray(flat / scale, np.float64)
    rings = np.array([len(points)], np.uint32)
    faces = np.asarray(mapbox_earcut.triangulate_float64(flat, rings), np.int64).reshape(-1, 3)
    if len(faces) == 0:
        return fan
    first, second, third = flat[faces].transpose(1, 0, 2)
    one, two = second - first, third - first
    if (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).sum() < 0:  # the orientation differs from version to version
        faces = faces[:, ::-1]
    return faces
