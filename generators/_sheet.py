"""Numba kernels on the sheet z^2 = level(x, y) factor(x, y) and on its triangles; see ``_remesh``."""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel

MIN_HEIGHT = 0.02  # least height of an inner vertex, cells


@kernel("f8[:,::1], f8, f8", ahead=False)
def sample(grid: np.ndarray, x: float, y: float) -> tuple[float, float, float]:  # pragma: no cover
    """Value of a grid (h, w) at column x, row y, and its derivatives along x and y.

    Linear on the two triangles of each cell, as ``triangulate`` cuts them, so that the zero level is their border.
    """
    height, width = grid.shape
    column, row = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
    s, t = x - column, y - row
    a, b = grid[row, column], grid[row, column + 1]
    c, d = grid[row + 1, column], grid[row + 1, column + 1]
    along_x, along_y = (d - c, c - a) if t > s else (b - a, d - b)
    return a + s * along_x + t * along_y, along_x, along_y


@kernel
def project_to_sheet(point: np.ndarray, level: np.ndarray, factor: np.ndarray) -> None:  # pragma: no cover
    """Project a point to the sheet in place: Newton steps along the gradient of z^2 - level * factor."""
    for _ in range(3):
        value, along_x, along_y = sample(level, point[0], point[1])
        scale, more_x, more_y = sample(factor, point[0], point[1])
        residual = point[2] * point[2] - value * scale
        slope_x, slope_y, slope_z = along_x * scale + value * more_x, along_y * scale + value * more_y, 2 * point[2]
        slope = slope_x * slope_x + slope_y * slope_y + slope_z * slope_z
        if slope < 1e-12:
            return
        point[0] += residual / slope * slope_x
        point[1] += residual / slope * slope_y
        point[2] -= residual / slope * slope_z
    point[2] = max(point[2], MIN_HEIGHT)


@kernel
def project_to_contour(point: np.ndarray, level: np.ndarray) -> None:  # pragma: no cover
    """Project a point to the zero level in the plane in place, by Newton steps."""
    for _ in range(3):
        value, along_x, along_y = sample(level, point[0], point[1])
        slope = along_x * along_x + along_y * along_y
        if slope < 1e-6:
            return
        point[0] -= value * along_x / slope
        point[1] -= value * along_y / slope


@kernel("f8[:,::1], b1[::1], f8[:,::1], f8[:,::1]")
def lift(points: np.ndarray, border: np.ndarray, level: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Points of the plane lifted to the sheet, those of the border projected to the contour.

    Args:
        points: (V, 2) in lattice units.
        border: (V,) bool.
        level: (h, w).
        factor: (h, w).

    Returns:
        (V, 3).
    """
    result = np.zeros((len(points), 3))
    for v in range(len(points)):
        result[v, 0], result[v, 1] = points[v, 0], points[v, 1]
        if border[v]:
            project_to_contour(result[v], level)
        else:
            square = sample(level, points[v, 0], points[v, 1])[0] * sample(factor, points[v, 0], points[v, 1])[0]
            result[v, 2] = np.sqrt(max(square, MIN_HEIGHT**2))
    return result


@kernel
def incident_faces(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Faces around each vertex, in compressed rows: those of v are items[start[v]:start[v + 1]]."""
    start = np.zeros(count + 1, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            start[faces[f, k] + 1] += 1
    for v in range(count):
        start[v + 1] += start[v]
    fill = start[:-1].copy()
    items = np.empty(3 * len(faces), np.int64)
    for f in range(len(faces)):
        for k in range(3):
            v = faces[f, k]
            items[fill[v]] = f
            fill[v] += 1
    return start, items


@kernel
def signed_area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Twice the signed area of the triangle's projection to the plane, positive for upward faces (y points down)."""
    return -((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


@kernel
def face_normal(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[float, float, float]:  # pragma: no cover
    """Cross product of two edges."""
    px, py, pz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    qx, qy, qz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx


@kernel
def dot(a, b):  # pragma: no cover
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def edge_length(a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    return np.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)


@kernel
def target_length(size: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    """Target length of an edge between two points."""
    return sample(size, 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]))[0]
