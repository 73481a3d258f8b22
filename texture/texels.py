"""Texels: the surface point of each one, and bilinear lookups.

A lookup at (u, v) interpolates bilinearly between the four texels about (u W - 0.5, v H - 0.5), as in
``v2m4.render.texture``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from texture.unwrap import Atlas, face_charts, seam_edges
from v2m4.kernels import kernel

MARGIN = 1.9  # texels outside its border that belong to a chart; lookups need sqrt(2), the padding is 4 or more


@dataclass(frozen=True)
class TexelMap:
    """The surface point that each texel of a texture holds.

    Attributes:
        face: (H, W) int32, the nearest face of the chart that a texel belongs to, -1 outside all charts.
        weights: (H, W, 3) float32, barycentric weights of the face's point that is nearest to the texel's centre.
        chart: (H, W) int32, the chart's number, -1 outside.
    """

    face: np.ndarray
    weights: np.ndarray
    chart: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Texels that belong to a chart, (H, W) bool."""
        return self.face >= 0

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Values (N, C) at the valid texels, in row order, of vertex values (V, C) indexed by ``faces`` (F, 3)."""
        inside = self.valid
        corners = values[faces[self.face[inside]]]
        return (corners * self.weights[inside][..., None]).sum(1)


@dataclass(frozen=True)
class Lookups:
    """Bilinear reads of a texture, each one row of the linear system.

    Attributes:
        base: (N,) int32, flat index of the upper left texel of the four.
        right: (N,) float32 in [0, 1], weight of the right column.
        lower: (N,) float32 in [0, 1], weight of the lower row.
    """

    base: np.ndarray
    right: np.ndarray
    lower: np.ndarray

    def __len__(self) -> int:
        return len(self.base)


def texel_map(atlas: Atlas, size: int) -> TexelMap:
    """Nearest face and barycentric weights for each texel of a square texture.

    Args:
        atlas: charts at least four texels apart at ``size``.
        size: texels (side).
    """
    face = np.full((size, size), -1, dtype=np.int32)
    weights = np.zeros((size, size, 3), dtype=np.float32)
    corners = (atlas.uvs * size - 0.5).astype(np.float64)[atlas.uv_faces]
    _assign_texels(corners, MARGIN, face, weights, np.full((size, size), np.inf))
    chart = np.where(face >= 0, face_charts(atlas.uv_faces)[face], -1).astype(np.int32)
    return TexelMap(face, weights, chart)


def lookups(uvs: np.ndarray, size: int) -> Lookups:
    """Bilinear lookups of texture coordinates (N, 2) in a square texture, clamped to its border."""
    position = np.clip(uvs.astype(np.float32) * np.float32(size) - np.float32(0.5), 0, size - 1)
    corner = np.minimum(position.astype(np.int32), size - 2)
    fraction = position - corner
    base = (corner[:, 1] * size + corner[:, 0]).astype(np.int32)
    return Lookups(base, np.ascontiguousarray(fraction[:, 0]), np.ascontiguousarray(fraction[:, 1]))


def sample(texture: np.ndarray, rows: Lookups) -> np.ndarray:
    """Values (N, C) that lookups read from a texture (H, W, C)."""
    flat = texture.reshape(-1, texture.shape[2])
    width = texture.shape[1]
    right, lower = rows.right[:, None], rows.lower[:, None]
    upper_row = flat[rows.base] * (1 - right) + flat[rows.base + 1] * right
    lower_row = flat[rows.base + width] * (1 - right) + flat[rows.base + width + 1] * right
    return upper_row * (1 - lower) + lower_row * lower


def seam_lookups(atlas: Atlas, faces: np.ndarray, size: int, spacing: float = 0.7) -> tuple[Lookups, Lookups]:
    """Pairs of lookups of the same surface points on the two sides of the seams.

    Args:
        atlas: the charts.
        faces: (F, 3) welded.
        size: texels (side).
        spacing: texels between points along the longer side of an edge.
    """
    one, other = seam_edges(faces, atlas.uv_faces)
    one_ends, other_ends = atlas.uvs[one], atlas.uvs[other]  # (S, 2, 2)
    lengths = [np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) for ends in (one_ends, other_ends)]
    counts = np.maximum(1, np.ceil(np.maximum(*lengths) * size / spacing)).astype(np.int64)
    edge = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    fraction = ((step + 0.5) / counts[edge])[:, None].astype(np.float32)
    sides = [ends[edge, 0] * (1 - fraction) + ends[edge, 1] * fraction for ends in (one_ends, other_ends)]
    return lookups(sides[0], size), lookups(sides[1], size)


@kernel
def _nearest_on_segment(x, y, ax, ay, bx, by):
    """Squared distance from (x, y) to a segment, and the nearest point's position on it in [0, 1]."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    fraction = 0.0
    if length > 0.0:
        fraction = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / length))
    ex, ey = x - ax - fraction * dx, y - ay - fraction * dy
    return ex * ex + ey * ey, fraction


@kernel("f8[:,:,::1], f8, i4[:,::1], f4[:,:,::1], f8[:,::1]")
def _assign_texels(corners, margin, face, weights, distance):
    """Assign every texel centre within ``margin`` of a triangle to the nearest triangle, of equal ones the lower index.

    Args:
        corners: (F, 3, 2) float64, texel coordinates with centres on whole numbers.
        margin: texels.
        face: (H, W) int32, written.
        weights: (H, W, 3) float32, written.
        distance: (H, W) float64, squared, infinite at first, written.
    """
    height, width = face.shape
    for f in range(corners.shape[0]):
        ax, ay, bx, by, cx, cy = (
            corners[f, 0, 0], corners[f, 0, 1], corners[f, 1, 0], corners[f, 1, 1], corners[f, 2, 0], corners[f, 2, 1],
        )  # fmt: skip
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        x_first = max(0, int(np.ceil(min(ax, bx, cx) - margin)))
        x_last = min(width - 1, int(np.floor(max(ax, bx, cx) + margin)))
        y_first = max(0, int(np.ceil(min(ay, by, cy) - margin)))
        y_last = min(height - 1, int(np.floor(max(ay, by, cy) + margin)))
        for row in range(y_first, y_last + 1):
            for column in range(x_first, x_last + 1):
                x, y = float(column), float(row)
                if abs(area) > 1e-12:
                    wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                    wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                    wc = 1.0 - wa - wb
                    if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                        if distance[row, column] > 0.0:
                            distance[row, column] = 0.0
                            face[row, column] = f
                            weights[row, column, 0], weights[row, column, 1], weights[row, column, 2] = wa, wb, wc
                        continue
                best, wa, wb, wc = np.inf, 0.0, 0.0, 0.0
                squared, fraction = _nearest_on_segment(x, y, ax, ay, bx, by)
                if squared < best:
                    best, wa, wb, wc = squared, 1.0 - fraction, fraction, 0.0
                squared, fraction = _nearest_on_segment(x, y, bx, by, cx, cy)
                if squared < best:
                    best, wa, wb, wc = squared, 0.0, 1.0 - fraction, fraction
                squared, fraction = _nearest_on_segment(x, y, cx, cy, ax, ay)
                if squared < best:
                    best, wa, wb, wc = squared, fraction, 0.0, 1.0 - fraction
                if best <= margin * margin and best < distance[row, column]:
                    distance[row, column] = best
                    face[row, column] = f
                    weights[row, column, 0], weights[row, column, 1], weights[row, column, 2] = wa, wb, wc
