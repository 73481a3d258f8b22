"""Isotropic remeshing of a height field that is vertical at its border.

The sheet is the part z >= 0 of z^2 = level(x, y) factor(x, y), a height field that becomes vertical at its border, the
zero of level. Edges that are too long are split, short ones collapsed, others flipped to the better diagonal, and
vertices moved along the surface (Botsch & Kobbelt 2004, "A Remeshing Approach to Multiresolution Modeling", section 4).
Every step keeps each triangle's orientation over the plane, so the sheet cannot fold, and no edge but the border's
joins two border vertices, so the sheet and its mirror image can be joined to a manifold.
"""
# ruff: noqa: PLR0912 - kernels: a branch costs less than a call with an array argument

from __future__ import annotations

import numpy as np

from generators._edge_collapse import CORNER_COSINE, MAX_EDGE_RATIO, collapse_short_edges, keeps_orientation
from generators._sheet import (
    dot,
    edge_length,
    face_normal,
    incident_faces,
    project_to_contour,
    project_to_sheet,
    sample,
    signed_area,
    target_length,
)
from v2m4.kernels import kernel

MAX_CHORD_ERROR = 0.12  # distance of a border edge from the contour allowed, cells


@kernel("f8[:,::1], i8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[:,::1]")
def _split(points, faces, border, level, factor, size):  # pragma: no cover
    """Split every too long edge that is the longest of both its faces.

    Faces are changed in place; returns the points and the faces to add.
    """
    start, items = incident_faces(faces, len(points))
    longest = np.empty(len(faces), np.int64)
    for f in range(len(faces)):
        best = -1.0
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            length = edge_length(points[a], points[b])
            if length > best:
                best, longest[f] = length, k
    new_points, new_faces = np.empty((len(faces), 3)), np.empty((2 * len(faces), 3), np.int64)
    added, more = 0, 0
    done = np.zeros(len(faces), np.bool_)
    middle = np.empty(3)
    for f in range(len(new_points)):
        if done[f]:
            continue
        k = longest[f]
        a, b, c = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if (border[a] and border[b]) or edge_length(points[a], points[b]) <= MAX_EDGE_RATIO * target_length(
            size, points[a], points[b]
        ):
            continue
        for i in range(start[a], start[a + 1]):
            g = items[i]
            m = longest[g]
            if g > f and not done[g] and faces[g, m] == b and faces[g, (m + 1) % 3] == a:
                d = faces[g, (m + 2) % 3]
                # At the border the height is the root of the distance: half the height is at a quarter of it.
                part = 0.25 if border[a] else (0.75 if border[b] else 0.5)
                for n in range(3):
                    middle[n] = points[a, n] + part * (points[b, n] - points[a, n])
                if border[a] or border[b]:
                    middle[2] = 0.5 * (points[a, 2] + points[b, 2])
                project_to_sheet(middle, level, factor)
                v = len(points) + added
                if not (
                    signed_area(points[a], middle, points[c]) > 0
                    and signed_area(middle, points[b], points[c]) > 0
                    and signed_area(points[b], middle, points[d]) > 0
                    and signed_area(middle, points[a], points[d]) > 0
                ):
                    break
                for n in range(3):
                    new_points[added, n] = middle[n]
                added += 1
                faces[f, 0], faces[f, 1], faces[f, 2] = a, v, c
                faces[g, 0], faces[g, 1], faces[g, 2] = b, v, d
                new_faces[more, 0], new_faces[more, 1], new_faces[more, 2] = v, b, c
                new_faces[more + 1, 0], new_faces[more + 1, 1], new_faces[more + 1, 2] = v, a, d
                more += 2
                done[f] = done[g] = True
                break
    return new_points[:added], new_faces[:more]


@kernel
def _cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Cosine of the angle at a."""
    dot = one = two = 0.0
    for k in range(3):
        p, q = b[k] - a[k], c[k] - a[k]
        dot += p * q
        one += p * p
        two += q * q
    return dot / max(np.sqrt(one * two), 1e-300)


@kernel
def _largest_cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Cosine of the triangle's smallest angle."""
    return max(_cosine(a, b, c), _cosine(b, c, a), _cosine(c, a, b))


@kernel("f8[:,::1], i8[:,::1], b1[::1]")
def _flip(points, faces, border):  # pragma: no cover
    """Flip inner edges in place where the smallest angle grows; returns their number."""
    start, items = incident_faces(faces, len(points))
    locked = np.zeros(len(faces), np.bool_)
    flipped = 0
    for f in range(len(faces)):
        for k in range(3):
            a, b, c = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if locked[f]:
                break
            if a > b or (border[a] and border[b]):
                continue
            for i in range(start[a], start[a + 1]):
                g = items[i]
                m = 0 if faces[g, 0] == b else (1 if faces[g, 1] == b else 2)
                if g == f or locked[g] or faces[g, m] != b or faces[g, (m + 1) % 3] != a:
                    continue
                d = faces[g, (m + 2) % 3]
                if border[c] and border[d]:
                    break
                p, q, r, s = points[a], points[b], points[c], points[d]
                # Oriented over the plane: a, d, c and b, c, d.
                if signed_area(p, s, r) < 1e-7 or signed_area(q, r, s) < 1e-7:
                    break
                current = max(_largest_cosine(p, q, r), _largest_cosine(q, p, s))
                if max(_largest_cosine(p, s, r), _largest_cosine(q, r, s)) > current - 1e-6:
                    break
                now_one, now_two = face_normal(p, q, r), face_normal(q, p, s)
                before = (now_one[0] + now_two[0], now_one[1] + now_two[1], now_one[2] + now_two[2])
                if dot(face_normal(p, s, r), before) <= 0 or dot(face_normal(q, r, s), before) <= 0:
                    break
                joined = False
                for j in range(start[c], start[c + 1]):
                    for n in range(3):
                        joined |= faces[items[j], n] == d
                if joined:
                    break
                for h in (f, g):  # faces around all four vertices change: lock them until the next pass
                    for n in range(3):
                        v = faces[h, n]
                        for j in range(start[v], start[v + 1]):
                            locked[items[j]] = True
                faces[f, 0], faces[f, 1], faces[f, 2] = a, d, c
                faces[g, 0], faces[g, 1], faces[g, 2] = b, c, d
                flipped += 1
                break
    return flipped


@kernel("f8[:,::1], i8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[:,::1]")
def _relax(points, faces, border, level, factor, size):  # pragma: no cover
    """Tangential relaxation: move every vertex in place towards the weighted centroid of its faces."""
    start, items = incident_faces(faces, len(points))
    centre, normal, middle, position = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    displacement, ends = np.empty(3), np.zeros((2, 3))
    for v in range(len(points)):
        weight = 0.0
        for n in range(3):
            centre[n], normal[n] = 0.0, 0.0
        border_count = 0
        for i in range(start[v], start[v + 1]):
            f = items[i]
            k = 0 if faces[f, 0] == v else (1 if faces[f, 1] == v else 2)
            p, q = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if border[v]:
                for n in (p, q):
                    if border[n] and border_count < 2:
                        for m in range(3):
                            ends[border_count, m] = points[n, m]
                        border_count += 1
                continue
            cross = face_normal(points[v], points[p], points[q])
            # Centroids weighted by area over target area give the density of the target lengths.
            for n in range(3):
                normal[n] += cross[n]
                middle[n] = (points[v, n] + points[p, n] + points[q, n]) / 3
            w = np.sqrt(dot(cross, cross)) / sample(size, middle[0], middle[1])[0] ** 2
            for n in range(3):
                centre[n] += w * middle[n]
            weight += w
        if border[v]:
            if border_count < 2 or _cosine(points[v], ends[0], ends[1]) > -CORNER_COSINE:
                continue
            for n in range(3):
                position[n] = 0.5 * points[v, n] + 0.25 * (ends[0, n] + ends[1, n])
            project_to_contour(position, level)
            position[2] = 0.0
        else:
            if weight <= 0:
                continue
            for n in range(3):
                displacement[n] = centre[n] / weight - points[v, n]
            norm = max(dot(normal, normal), 1e-300)
            along = dot(displacement, normal) / norm
            for n in range(3):
                position[n] = points[v, n] + displacement[n] - along * normal[n]
            project_to_sheet(position, level, factor)
        if keeps_orientation(v, np.int64(-1), position, points, faces, start, items, size, False):
            for n in range(3):
                points[v, n] = position[n]


def remesh(
    points: np.ndarray,
    faces: np.ndarray,
    border: np.ndarray,
    level: np.ndarray,
    factor: np.ndarray,
    size: np.ndarray,
    max_faces: int,
    rounds: int = 4,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sheet of well-shaped triangles of given size on the same surface.

    Args:
        points: (V, 3) as (x, y, z), lattice units, z = 0 on the border.
        faces: (F, 3), positively oriented over the plane with y down.
        border: (V,) bool.
        level: (h, w) on the lattice, zero on the border, positive inside.
        factor: (h, w), positive; the sheet's squared height is level * factor.
        size: (h, w) target edge lengths, cells.
        max_faces: at most this many faces.
        rounds: of splitting, collapsing, flipping and relaxing.

    Returns:
        points, faces, border of the new sheet.

    Raises:
        ValueError: the sheet's holes and parts need more than ``max_faces`` faces.
    """
    points, faces = points.astype(np.float64), faces.astype(np.int64)
    for round_index in range(rounds):
        for _ in range(4 if round_index == 0 else 1):
            more_points, more_faces = _split(points, faces, border, level, factor, size)
            points, faces = np.concatenate([points, more_points]), np.concatenate([faces, more_faces])
            border = np.concatenate([border, np.zeros(len(more_points), bool)])
        for _ in range(14 if round_index == 0 else 4):
            before = len(faces)
            points, faces, border = collapse_short_edges(points, faces, border, level, factor, size, MAX_CHORD_ERROR)
            if before - len(faces) < 0.002 * before:
                break
        _flip_and_relax(points, faces, border, level, factor, size)
    size_factor = 1.0
    while len(faces) > max_faces:
        size_factor *= 1.1
        if size_factor > 100:
            raise ValueError(
                f"its outline needs {2 * len(faces)} faces, {2 * max_faces} are allowed; raise --max_faces"
            )
        points, faces, border = collapse_short_edges(
            points, faces, border, level, factor, size_factor * size, size_factor**2 * MAX_CHORD_ERROR
        )
        _flip_and_relax(points, faces, border, level, factor, size_factor * size)
    return points, faces, border


def _flip_and_relax(points, faces, border, level, factor, size) -> None:
    """Three passes of edge flips and relaxation, in place."""
    for _ in range(3):
        for _ in range(3):
            if _flip(points, faces, border) < 0.002 * len(faces):
                break
        _relax(points, faces, border, level, factor, size)
    _flip(points, faces, border)
