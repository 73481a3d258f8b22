"""Edge collapses on a sheet that is vertical at its border, which keep it a height field and a manifold."""
# ruff: noqa: PLR0912 - kernels: a branch costs less than a call with an array argument

from __future__ import annotations

import numpy as np

from generators._sheet import (
    dot,
    edge_length,
    face_normal,
    incident_faces,
    project_to_sheet,
    signed_area,
    target_length,
)
from v2m4.kernels import kernel

MIN_EDGE_RATIO, MAX_EDGE_RATIO = 0.75, 1.35  # of target lengths; the paper's 4/5 and 4/3 with hysteresis
CORNER_COSINE = 0.75  # a border vertex with a smaller cosine of the turning angle is a corner, and stays fixed


@kernel
def _is_corner(v, faces, items, first, last):  # pragma: no cover
    """Whether v is a corner of one of the faces items[first:last]."""
    for i in range(first, last):
        f = items[i]
        if v in (faces[f, 0], faces[f, 1], faces[f, 2]):
            return True
    return False


@kernel
def _link_condition(a, b, faces, border, start, items):  # pragma: no cover
    """Whether merging b into a keeps a manifold with a valid border; and b's other border neighbour, or -1."""
    on_border = border[a] and border[b]
    shared, border_neighbor = 0, -1
    for i in range(start[b], start[b + 1]):
        for k in range(3):
            v = faces[items[i], k]
            if v in (a, b) or _is_corner(v, faces, items, start[b], i):
                continue
            if _is_corner(v, faces, items, start[a], start[a + 1]):
                shared += 1
            elif border[v] and on_border:
                border_neighbor = v
            elif border[v] and border[a]:
                return False, -1  # an inner edge would join two border vertices
        f = items[i]
        opposite = a not in (faces[f, 0], faces[f, 1], faces[f, 2])
        if (
            opposite
            and border[a]
            and not on_border
            and border[faces[f, 0]] + border[faces[f, 1]] + border[faces[f, 2]] == 2
        ):
            return False, -1  # the last inner vertex of a part would be removed
    return shared == (1 if on_border else 2) and not (on_border and border_neighbor < 0), border_neighbor


@kernel
def keeps_orientation(centre, other, position, points, faces, start, items, size, bounded):  # pragma: no cover
    """Whether the faces around ``centre`` without ``other`` keep their orientation if it moves to ``position``.

    Where ``bounded``, none of their edges may become too long either.
    """
    for i in range(start[centre], start[centre + 1]):
        f = items[i]
        k = 0 if faces[f, 0] == centre else (1 if faces[f, 1] == centre else 2)
        a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if other in (a, b):
            continue
        p, q = points[a], points[b]
        if not _rotates_little(points[centre], position, p, q):
            return False
        if bounded and edge_length(position, p) > MAX_EDGE_RATIO * target_length(size, position, p):
            return False
    return True


@kernel
def _rotates_little(old, new, p, q):  # pragma: no cover
    """Whether triangle (old, p, q) keeps its orientation and rotates by less than 66 degrees as old becomes new."""
    if signed_area(new, p, q) < 1e-7:
        return False
    before, after = face_normal(old, p, q), face_normal(new, p, q)
    return dot(before, after) >= 0.4 * np.sqrt(dot(before, before) * dot(after, after))


@kernel
def _collapsible(a, b, position, points, faces, border, start, items, size, chord):  # pragma: no cover
    """Whether vertex b may be merged into a at ``position`` without folds, holes, long edges or a worse contour."""
    linked, border_neighbor = _link_condition(a, b, faces, border, start, items)
    if not linked:
        return False
    if border_neighbor >= 0:
        # The chord from a to the other border neighbour must be near the removed vertex.
        p, q, r = points[a], points[border_neighbor], points[b]
        along = max(np.sqrt((q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2), 1e-9)
        if abs((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])) / along > chord:
            return False
    if not keeps_orientation(b, a, position, points, faces, start, items, size, True):
        return False
    return border[a] or keeps_orientation(a, b, position, points, faces, start, items, size, True)


@kernel("f8[:,::1], i8[:,::1], b1[::1], f8[:,::1]")
def _short_edges(points, faces, border, size):  # pragma: no cover
    """Edges shorter than ``MIN_EDGE_RATIO`` target lengths: ratio (E,) to that length, and ends (E, 2)."""
    ratio, edge = np.empty(3 * len(faces)), np.empty((3 * len(faces), 2), np.int64)
    count = 0
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            if a < b or (border[a] and border[b]):
                r = edge_length(points[a], points[b]) / target_length(size, points[a], points[b])
                if r < MIN_EDGE_RATIO:
                    ratio[count], edge[count, 0], edge[count, 1] = r, a, b
                    count += 1
    return ratio[:count], edge[:count]


@kernel("i8[::1], i8[:,::1], f8[:,::1], i8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[:,::1], f8")
def _collapse(order, edge, points, faces, border, level, factor, size, chord):  # pragma: no cover
    """Collapse short edges (E, 2) in this order, with disjoint neighbourhoods.

    Points are moved and faces changed in place; returns which faces remain, (F,) bool.
    """
    start, items = incident_faces(faces, len(points))
    locked = np.zeros(len(points), np.bool_)
    kept = np.ones(len(faces), np.bool_)
    for edge_index in order:
        a, b = edge[edge_index, 0], edge[edge_index, 1]
        if locked[a] or locked[b]:
            continue
        if border[b] and not border[a]:
            a, b = b, a
        position = points[a].copy()
        if not border[a]:
            for n in range(3):
                position[n] = 0.5 * (points[a, n] + points[b, n])
            project_to_sheet(position, level, factor)
        if not _collapsible(a, b, position, points, faces, border, start, items, size, chord):
            if not border[b] or not _collapsible(b, a, points[b], points, faces, border, start, items, size, chord):
                continue
            a, b = b, a
            position = points[a].copy()
        for centre in (a, b):
            for i in range(start[centre], start[centre + 1]):
                for k in range(3):
                    locked[faces[items[i], k]] = True
        for n in range(3):
            points[a, n] = position[n]
        for i in range(start[b], start[b + 1]):
            f = items[i]
            for k in range(3):
                if faces[f, k] == a:
                    kept[f] = False
            for k in range(3):
                if faces[f, k] == b:
                    faces[f, k] = a
    return kept


def _compact(points: np.ndarray, faces: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, faces and border without the vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    return points[used], inverse.reshape(-1, 3), border[used]


def collapse_short_edges(points, faces, border, level, factor, size, chord):
    """Points, faces and border without the short edges; points are moved and faces changed in place too."""
    ratio, edge = _short_edges(points, faces, border, size)
    order = np.argsort(ratio, kind="stable")
    kept = _collapse(order, edge, points, faces, border, level, factor, size, chord)
    return _compact(points, faces[kept], border)
