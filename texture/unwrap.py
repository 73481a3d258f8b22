"""Charts: a texture atlas for a welded mesh, cut by xatlas."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import xatlas

from v2m4.geometry import connected_components

logger = logging.getLogger(__name__)

PACKING_ROUNDS = 3
MAX_COST, ITERATIONS = 8.0, 3  # of growing charts: half the charts of xatlas's own (2, 1) on inflated figures


@dataclass(frozen=True)
class Atlas:
    """Texture coordinates beside a topology that stays welded.

    Attributes:
        uvs: (U, 2) float32 in [0, 1], row 0 of the texture at v = 0.
        uv_faces: (F, 3) int64 indices into ``uvs``; corner k of a face is corner k of the mesh's face.
    """

    uvs: np.ndarray
    uv_faces: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, size: int, padding: float = 4.0) -> Atlas:
    """Cut a mesh into charts and pack them into the unit square.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        size: texels (side) of the texture that the charts are meant for.
        padding: texels, at least, between two charts at that size; half of it is left free along the borders, so that
            a lookup that wraps round reads nothing foreign.

    Raises:
        ValueError: there is no face, or so many charts that ``size`` cannot hold them with that padding.
    """
    if len(faces) == 0:
        raise ValueError("unwrap: the mesh has no faces")
    positions = np.ascontiguousarray(vertices, dtype=np.float32)
    indices = np.ascontiguousarray(faces, dtype=np.uint32)
    # xatlas takes ``resolution`` as a wish and ``padding`` in texels of what comes out, which is often wider.
    pixels = math.ceil(1.4 * padding)
    for _ in range(PACKING_ROUNDS):
        atlas = xatlas.Atlas()
        atlas.add_mesh(positions, indices)
        pack = xatlas.PackOptions()
        pack.resolution, pack.padding, pack.bilinear = size, pixels, True
        chart = xatlas.ChartOptions()
        chart.max_cost, chart.max_iterations = MAX_COST, ITERATIONS
        atlas.generate(chart, pack)
        longest = max(atlas.width, atlas.height)
        logger.debug("unwrap: %d charts in %d x %d", atlas.chart_count, atlas.width, atlas.height)
        if pixels * (size - padding) >= padding * longest:
            break
        pixels = math.ceil(1.2 * padding * longest / max(size - padding, 1))
    else:
        raise ValueError(
            f"unwrap: {atlas.chart_count} charts, {padding} texels apart, do not fit {size}^2; ask for more texels"
        )
    origin, uv_faces, uvs = atlas[0]  # the Python binding has divided by width and height, each by its own
    uv_faces, uvs = uv_faces.astype(np.int64), (uvs * (size - padding) + padding / 2) / size
    if not np.array_equal(origin[uv_faces], faces):
        raise ValueError("unwrap: xatlas returned faces in another order")
    return _attach_collapsed(positions, faces, np.ascontiguousarray(uvs, dtype=np.float32), uv_faces)


def _attach_collapsed(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, uv_faces: np.ndarray) -> Atlas:
    """Lay faces without an area, which xatlas leaves at the origin, along an edge of a neighbour that has a chart.

    They show nothing in the rest pose, but another pose may open them, and they must not count as seams.
    """
    corners = uvs[uv_faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    waiting = np.flatnonzero(
        (first[:, 0] * second[:, 1] == first[:, 1] * second[:, 0]) & (corners == corners.min((0, 1))).all((1, 2))
    )
    if len(waiting) == 0:
        return Atlas(uvs, uv_faces)
    uv_faces, added = uv_faces.copy(), list(uvs)
    placed = np.ones(len(faces), dtype=bool)
    placed[waiting] = False
    owners: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face in np.flatnonzero(np.isin(faces, faces[waiting]).sum(1) >= 2):
        for corner in range(3):
            a, b = sorted((int(faces[face, corner]), int(faces[face, (corner + 1) % 3])))
            owners.setdefault((a, b), []).append((int(face), corner))
    pending = list(waiting)
    while pending:
        left = []
        for face in pending:
            points = vertices[faces[face]].astype(np.float64)
            lengths = np.linalg.norm(points - np.roll(points, -1, 0), axis=1)
            for start in np.argsort(-lengths, kind="stable"):
                ends = [int(faces[face, start]), int(faces[face, (start + 1) % 3])]
                neighbours = [other for other, _ in owners[min(ends), max(ends)] if placed[other]]
                if not neighbours:
                    continue
                match = [list(faces[neighbours[0]]).index(end) for end in ends]
                at = uv_faces[neighbours[0]][match]
                edge = points[(start + 1) % 3] - points[start]
                along = float((points[(start + 2) % 3] - points[start]) @ edge / max(edge @ edge, 1e-30))
                along = min(max(along, 0.0), 1.0)
                added.append((added[at[0]] * (1 - along) + added[at[1]] * along).astype(np.float32))
                uv_faces[face, [start, (start + 1) % 3, (start + 2) % 3]] = [*at, len(added) - 1]
                placed[face] = True
                break
            else:
                left.append(face)
        if len(left) == len(pending):
            raise ValueError(f"unwrap: {len(left)} faces without area touch no other face; remove them from the mesh")
        pending = left
    return Atlas(np.asarray(added, dtype=np.float32), uv_faces)


def face_charts(uv_faces: np.ndarray) -> np.ndarray:
    """Chart number of every face, (F,) int32: faces that hang together by shared texture coordinates."""
    return connected_components(uv_faces, int(uv_faces.max()) + 1)[uv_faces[:, 0]].astype(np.int32)


def seam_edges(faces: np.ndarray, uv_faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the surface along which the atlas is cut, as both sides see them.

    Args:
        faces: (F, 3) welded.
        uv_faces: (F, 3).

    Returns:
        uv indices of the edge's two ends on one side (S, 2) and on the other (S, 2), ends in the same order. An edge
        of more than two faces is given as the pairs of its first face with each other one.
    """
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    uv_ends = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]], uv_faces[:, [2, 0]]])
    turned = ends[:, 0] > ends[:, 1]
    ends[turned], uv_ends[turned] = ends[turned][:, ::-1], uv_ends[turned][:, ::-1]
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    ends, uv_ends = ends[order], uv_ends[order]
    starts = np.r_[True, (ends[1:] != ends[:-1]).any(1)]
    leader = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    cut = (leader != np.arange(len(ends))) & (uv_ends[leader] != uv_ends).any(1)
    return uv_ends[leader[cut]], uv_ends[cut]
