"""Texture atlas of a welded mesh: charts cut and packed by xatlas, and the seams between them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import xatlas

from v2m4.geometry import connected_components

logger = logging.getLogger(__name__)

PACKING_ROUNDS = 3
# Of chart growth: half as many charts as with xatlas's defaults (2, 1) on meshes of the inflate generator.
MAX_CHART_COST, CHART_ITERATIONS = 8.0, 3


@dataclass(frozen=True)
class Atlas:
    """Texture coordinates with faces of their own, beside a topology that stays welded.

    Attributes:
        uvs: (U, 2) float32 in [0, 1], row 0 of the texture at v = 0.
        uv_faces: (F, 3) int64 indices into ``uvs``; corner k of a face is corner k of the mesh's face.
    """

    uvs: np.ndarray
    uv_faces: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, size: int, padding: float = 4.0) -> Atlas:
    """Atlas of a mesh, cut into charts that are packed into the unit square.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        size: texels (side) of the texture.
        padding: texels at least between two charts at that size; half of it stays free along the borders, so that
            a lookup that wraps round reads no other chart.

    Raises:
        ValueError: there is no face, or so many charts that ``size`` cannot hold them with that padding.
    """
    if len(faces) == 0:
        raise ValueError("unwrap: the mesh has no faces")
    positions = np.ascontiguousarray(vertices, dtype=np.float32)
    indices = np.ascontiguousarray(faces, dtype=np.uint32)
    # xatlas may exceed ``resolution``, and measures ``padding`` in texels of its own, often larger, result.
    pixels = math.ceil(1.4 * padding)
    for _ in range(PACKING_ROUNDS):
        atlas = xatlas.Atlas()
        atlas.add_mesh(positions, indices)
        pack = xatlas.PackOptions()
        pack.resolution, pack.padding, pack.bilinear = size, pixels, True
        chart = xatlas.ChartOptions()
        chart.max_cost, chart.max_iterations = MAX_CHART_COST, CHART_ITERATIONS
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
    origin, uv_faces, uvs = atlas[0]  # the Python binding has divided u by the width and v by the height
    uv_faces, uvs = uv_faces.astype(np.int64), (uvs * (size - padding) + padding / 2) / size
    if not np.array_equal(origin[uv_faces], faces):
        raise ValueError("unwrap: xatlas returned faces in another order")
    return _attach_collapsed(positions, faces, np.ascontiguousarray(uvs, dtype=np.float32), uv_faces)


def _attach_collapsed(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, uv_faces: np.ndarray) -> Atlas:
    """Place faces without area, which xatlas leaves at the origin, on an edge of a neighbour that has a chart.

    They are invisible in the rest pose, but may open in another pose, and they must not count as seams.
    """
    corners = uvs[uv_faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    collapsed = np.flatnonzero(
        (first[:, 0] * second[:, 1] == first[:, 1] * second[:, 0]) & (corners == corners.min((0, 1))).all((1, 2))
    )
    if len(collapsed) == 0:
        return Atlas(uvs, uv_faces)
    uv_faces, added = uv_faces.copy(), list(uvs)
    placed = np.ones(len(faces), dtype=bool)
    placed[collapsed] = False
    faces_of_edge: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face in np.flatnonzero(np.isin(faces, faces[collapsed]).sum(1) >= 2):
        for corner in range(3):
            a, b = sorted((int(faces[face, corner]), int(faces[face, (corner + 1) % 3])))
            faces_of_edge.setdefault((a, b), []).append((int(face), corner))
    pending = list(collapsed)
    while pending:
        unplaced = []
        for face in pending:
            points = vertices[faces[face]].astype(np.float64)
            lengths = np.linalg.norm(points - np.roll(points, -1, 0), axis=1)
            for start in np.argsort(-lengths, kind="stable"):
                ends = [int(faces[face, start]), int(faces[face, (start + 1) % 3])]
                neighbours = [other for other, _ in faces_of_edge[min(ends), max(ends)] if placed[other]]
                if not neighbours:
                    continue
                match = [list(faces[neighbours[0]]).index(end) for end in ends]
                uv_ends = uv_faces[neighbours[0]][match]
                edge = points[(start + 1) % 3] - points[start]
                fraction = float((points[(start + 2) % 3] - points[start]) @ edge / max(edge @ edge, 1e-30))
                fraction = min(max(fraction, 0.0), 1.0)
                added.append((added[uv_ends[0]] * (1 - fraction) + added[uv_ends[1]] * fraction).astype(np.float32))
                uv_faces[face, [start, (start + 1) % 3, (start + 2) % 3]] = [*uv_ends, len(added) - 1]
                placed[face] = True
                break
            else:
                unplaced.append(face)
        if len(unplaced) == len(pending):
            raise ValueError(
                f"unwrap: {len(unplaced)} faces without area touch no other face; remove them from the mesh"
            )
        pending = unplaced
    return Atlas(np.asarray(added, dtype=np.float32), uv_faces)


def face_charts(uv_faces: np.ndarray) -> np.ndarray:
    """Chart number of every face, (F,) int32: faces that hang together by shared texture coordinates."""
    return connected_components(uv_faces, int(uv_faces.max()) + 1)[uv_faces[:, 0]].astype(np.int32)


def seam_edges(faces: np.ndarray, uv_faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the surface at which the atlas is cut, in the texture coordinates of both sides.

    Args:
        faces: (F, 3) of the welded mesh.
        uv_faces: (F, 3), as in ``Atlas``.

    Returns:
        uv indices of the edge's two ends on one side (S, 2) and on the other (S, 2), ends in the same order. An edge
        of more than two faces is given as the pairs of its first face with each other one.
    """
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    uv_ends = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]], uv_faces[:, [2, 0]]])
    reversed_edges = ends[:, 0] > ends[:, 1]
    ends[reversed_edges], uv_ends[reversed_edges] = ends[reversed_edges][:, ::-1], uv_ends[reversed_edges][:, ::-1]
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    ends, uv_ends = ends[order], uv_ends[order]
    starts = np.r_[True, (ends[1:] != ends[:-1]).any(1)]
    leader = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    cut = (leader != np.arange(len(ends))) & (uv_ends[leader] != uv_ends).any(1)
    return uv_ends[leader[cut]], uv_ends[cut]
