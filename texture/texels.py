"""Texels: which point of the surface each of them holds, and how a lookup reads them.

A lookup at (u, v) is bilinear between the four texels round (u W - 0.5, v H - 0.5), as in ``v2m4.render.texture``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from texture.unwrap import Atlas, face_charts, seam_edges
from v2m4.kernels import kernel

REACH = 1.9  # texels past its border that belong to a chart: lookups touch sqrt(2), the padding is 4 or more


@dataclass(frozen=True)
class TexelMap:
    """The surface as the texels see it.

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
        """(H, W) bool, texels that belong to a chart."""
        return self.face >= 0

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Vertex values (V, C) at the valid texels, (N, C) in row order; ``faces`` (F, 3) indexes ``values``."""
        inside = self.valid
        corners = values[faces[self.face[inside]]]
        return (corners * self.weights[inside][..., None]).sum(1)


@dataclass(frozen=True)
class Lookups:
    """Bilinear reads of a texture, one row each.

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
    """Assign the texels of a square texture to the faces.

    Args:
        atlas: charts at least four texels apart at ``size``.
        size: texels (side).
    """
    face = np.full((size, size), -1, dtype=np.int32)
    weights = np.zeros((size, size, 3), dtype=np.float32)
    corners = (atlas.uvs * size - 0.5).astype(np.float64)[atlas.uv_faces]
    _claim_texels(corners, REACH, face, weights, np.full((size, size), np.inf))
    chart = np.where(face >= 0, face_charts(atlas.uv_faces)[face], -1).astype(np.int32)
    return TexelMap(face, weights, chart)


def lookups(uvs: np.ndarray, size: int) -> Lookups:
    """The texels that lookups at (N, 2) read in a square texture; coordinates are clamped to its border."""
    position = np.clip(uvs.astype(np.float32) * np.float32(size) - np.float32(0.5), 0, size - 1)
    corner = np.minimum(position.astype(np.int32), size - 2)
    fraction = position - corner
    base = (corner[:, 1] * size + corner[:, 0]).astype(np.int32)
    return Lookups(base, np.ascontiguousarray(fraction[:, 0]), np.ascontiguousarray(fraction[:, 1]))


def sample(texture: np.ndarray, rows: Lookups) -> np.ndarray:
    """Read a texture (H, W, C) at lookups, (N, C)."""
    flat = texture.reshape(-1, texture.shape[2])
    width = texture.shape[1]
    right, lower = rows.right[:, None], rows.lower[:, None]
    upper_row = flat[rows.base] * (1 - right) + flat[rows.base + 1] * right
    lower_row = flat[rows.base + width] * (1 - right) + flat[rows.base + width + 1] * right
    return upper_row * (1 - lower) + lower_row * lower


def seam_lookups(atlas: Atlas, faces: np.ndarray, size: int, spacing: float = 0.7) -> tuple[Lookups, Lookups]:
    """Pairs of lookups that meet the same point of the surface from both sides of a seam.

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
    along = ((step + 0.5) / counts[edge])[:, None].astype(np.float32)
    sides = [ends[edge, 0] * (1 - along) + ends[edge, 1] * along for ends in (one_ends, other_ends)]
    return lookups(sides[0], size), lookups(sides[1], size)


@kernel
def _nearest_on_segment(x, y, ax, ay, bx, by):
    """Squared distance from (x, y) to a segment, and where along it the nearest point lies, in [0, 1]."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    along = 0.0
    if length > 0.0:
        along = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / length))
    ex, ey = x - ax - along * dx, y - ay - along * dy
    return ex * ex + ey * ey, along


@kernel("f8[:,:,::1], f8, i4[:,::1], f4[:,:,::1], f8[:,::1]")
def _claim_texels(corners, reach, face, weights, distance):
    """Give every texel centre within ``reach`` of a triangle to the nearest one; ties go to the lower index.

    Args:
        corners: (F, 3, 2) float64, texel coordinates with centres on whole numbers.
        reach: texels.
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
        x_first = max(0, int(np.ceil(min(ax, bx, cx) - reach)))
        x_last = min(width - 1, int(np.floor(max(ax, bx, cx) + reach)))
        y_first = max(0, int(np.ceil(min(ay, by, cy) - reach)))
        y_last = min(height - 1, int(np.floor(max(ay, by, cy) + reach)))
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
                squared, along = _nearest_on_segment(x, y, ax, ay, bx, by)
                if squared < best:
                    best, wa, wb, wc = squared, 1.0 - along, along, 0.0
                squared, along = _nearest_on_segment(x, y, bx, by, cx, cy)
                if squared < best:
                    best, wa, wb, wc = squared, 0.0, 1.0 - along, along
                squared, along = _nearest_on_segment(x, y, cx, cy, ax, ay)
                if squared < best:
                    best, wa, wb, wc = squared, along, 0.0, 1.0 - along
                if best <= reach * reach and best < distance[row, column]:
                    distance[row, column] = best
                    face[row, column] = f
                    weights[row, column, 0], weights[row, column, 1], weights[row, column, 2] = wa, wb, wc
