"""Crossings of camera rays with a triangle mesh, and the winding number along each ray."""
# ruff: noqa: PLR0912 - a kernel: a branch costs less than a call with an array argument

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2m4.kernels import kernel

LIMIT = 32  # crossings kept per ray


@dataclass(frozen=True)
class Crossings:
    """Where the rays of a picture enter and leave a mesh.

    A ray is inside where its winding number (crossings of front faces minus those of back faces) is not zero. A ray
    whose winding number does not return to zero, at an open mesh, ends at its last crossing.

    Attributes:
        hit: (H, W) bool, the ray meets the mesh.
        depth: (H, W, 4) float32 along the optical axis: first entry, first exit, last entry, last exit; 0 elsewhere.
        face: (H, W, 2) int32, the faces of the first entry and of the last exit; -1 elsewhere.
        barycentric: (H, W, 2, 2) float32, the first two barycentric coordinates there.
    """

    hit: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray


@kernel("f8[:,::1], i8[:,::1], i8, i8", ahead=False)
def _cross(points, faces, height, width):  # pragma: no cover
    """See ``ray_crossings``; returns depth, face and barycentric."""
    count = np.zeros((height, width), np.int64)
    depths = np.empty((height, width, LIMIT), np.float64)
    owners = np.empty((height, width, LIMIT), np.int64)  # face + 1, negative for back faces
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        inverse_a, inverse_b, inverse_c = 1.0 / points[a, 2], 1.0 / points[b, 2], 1.0 / points[c, 2]
        for i in range(top, bottom + 1):
            y = i + 0.5
            for j in range(left, right + 1):
                x = j + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0 or count[i, j] == LIMIT:
                    continue
                k = count[i, j]
                depth = 1.0 / (u * inverse_a + v * inverse_b + w * inverse_c)
                owner = f + 1 if area < 0.0 else -(f + 1)
                while k > 0 and depths[i, j, k - 1] > depth:  # insertion, ascending
                    depths[i, j, k], owners[i, j, k] = depths[i, j, k - 1], owners[i, j, k - 1]
                    k -= 1
                depths[i, j, k], owners[i, j, k] = depth, owner
                count[i, j] += 1
    depth_maps = np.zeros((height, width, 4), np.float32)
    face_maps = np.full((height, width, 2), -1, np.int32)
    weights = np.zeros((height, width, 2, 2), np.float32)
    for i in range(height):
        for j in range(width):
            total = count[i, j]
            if total == 0:
                continue
            winding = 0
            first_exit = last_entry = -1
            for k in range(total):
                before = winding
                winding += 1 if owners[i, j, k] > 0 else -1
                if before == 0:
                    last_entry = k
                if winding == 0 and first_exit < 0:
                    first_exit = k
            if first_exit < 0:
                first_exit = total - 1
            depth_maps[i, j, 0], depth_maps[i, j, 3] = depths[i, j, 0], depths[i, j, total - 1]
            depth_maps[i, j, 1], depth_maps[i, j, 2] = depths[i, j, first_exit], depths[i, j, last_entry]
            x, y = j + 0.5, i + 0.5
            for side in range(2):
                f = abs(owners[i, j, 0 if side == 0 else total - 1]) - 1
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
                cx, cy = points[c, 0], points[c, 1]
                area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area / points[a, 2]
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area / points[b, 2]
                w = ((ax - x) * (by - y) - (ay - y) * (bx - x)) / area / points[c, 2]
                face_maps[i, j, side] = f
                weights[i, j, side, 0], weights[i, j, side, 1] = u / (u + v + w), v / (u + v + w)
    return depth_maps, face_maps, weights


def ray_crossings(points: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> Crossings:
    """Crossings of the rays through the pixels' centres with a mesh in front of the camera.

    Args:
        points: (V, 3) as column and row in pixels (the first pixel is centred at 0.5) and depth, all depths positive.
        faces: (F, 3), counter-clockwise seen from outside.
        size: (H, W) of the picture.

    Raises:
        ValueError: a vertex is not in front of the camera.
    """
    if len(points) and not points[:, 2].min() > 0:
        raise ValueError("ray_crossings: a vertex is not in front of the camera")
    depth, face, weights = _cross(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(faces, np.int64), size[0], size[1]
    )
    return Crossings(face[..., 0] >= 0, depth, face, weights)
