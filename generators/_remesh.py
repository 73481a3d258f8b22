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

from v2m4.kernels import kernel

MIN_EDGE_RATIO, MAX_EDGE_RATIO = 0.75, 1.35  # of target lengths; the paper's 4/5 and 4/3 with hysteresis
MAX_CHORD_ERROR = 0.12  # distance of a border edge from the contour allowed, cells
CORNER_COSINE = 0.75  # a border vertex with a smaller cosine of the turning angle is a corner, and stays fixed
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
def _project_to_sheet(point: np.ndarray, level: np.ndarray, factor: np.ndarray) -> None:  # pragma: no cover
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
def _project_to_contour(point: np.ndarray, level: np.ndarray) -> None:  # pragma: no cover
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
            _project_to_contour(result[v], level)
        else:
            square = sample(level, points[v, 0], points[v, 1])[0] * sample(factor, points[v, 0], points[v, 1])[0]
            result[v, 2] = np.sqrt(max(square, MIN_HEIGHT**2))
    return result


@kernel
def _incident(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
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
def _signed_area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Twice the signed area of the triangle's projection to the plane, positive for upward faces (y points down)."""
    return -((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


@kernel
def _normal(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[float, float, float]:  # pragma: no cover
    """Cross product of two edges."""
    px, py, pz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    qx, qy, qz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx


@kernel
def _dot(a, b):  # pragma: no cover
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def _length(a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    return np.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)


@kernel
def _target(size: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    """Target length of an edge between two points."""
    return sample(size, 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]))[0]


@kernel("f8[:,::1], i8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[:,::1]")
def _split(points, faces, border, level, factor, size):  # pragma: no cover
    """Split every too long edge that is the longest of both its faces.

    Faces are changed in place; returns the points and the faces to add.
    """
    start, items = _incident(faces, len(points))
    longest = np.empty(len(faces), np.int64)
    for f in range(len(faces)):
        best = -1.0
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            length = _length(points[a], points[b])
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
        if (border[a] and border[b]) or _length(points[a], points[b]) <= MAX_EDGE_RATIO * _target(
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
                _project_to_sheet(middle, level, factor)
                v = len(points) + added
                if not (
                    _signed_area(points[a], middle, points[c]) > 0
                    and _signed_area(middle, points[b], points[c]) > 0
                    and _signed_area(points[b], middle, points[d]) > 0
                    and _signed_area(middle, points[a], points[d]) > 0
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
def _keeps_orientation(centre, other, position, points, faces, start, items, size, bounded):  # pragma: no cover
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
        if bounded and _length(position, p) > MAX_EDGE_RATIO * _target(size, position, p):
            return False
    return True


@kernel
def _rotates_little(old, new, p, q):  # pragma: no cover
    """Whether triangle (old, p, q) keeps its orientation and rotates by less than 66 degrees as old becomes new."""
    if _signed_area(new, p, q) < 1e-7:
        return False
    before, after = _normal(old, p, q), _normal(new, p, q)
    return _dot(before, after) >= 0.4 * np.sqrt(_dot(before, before) * _dot(after, after))


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
    if not _keeps_orientation(b, a, position, points, faces, start, items, size, True):
        return False
    return border[a] or _keeps_orientation(a, b, position, points, faces, start, items, size, True)


@kernel("f8[:,::1], i8[:,::1], b1[::1], f8[:,::1]")
def _short_edges(points, faces, border, size):  # pragma: no cover
    """Edges shorter than ``MIN_EDGE_RATIO`` target lengths: ratio (E,) to that length, and ends (E, 2)."""
    ratio, edge = np.empty(3 * len(faces)), np.empty((3 * len(faces), 2), np.int64)
    count = 0
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            if a < b or (border[a] and border[b]):
                r = _length(points[a], points[b]) / _target(size, points[a], points[b])
                if r < MIN_EDGE_RATIO:
                    ratio[count], edge[count, 0], edge[count, 1] = r, a, b
                    count += 1
    return ratio[:count], edge[:count]


@kernel("i8[::1], i8[:,::1], f8[:,::1], i8[:,::1], b1[::1], f8[:,::1], f8[:,::1], f8[:,::1], f8")
def _collapse(order, edge, points, faces, border, level, factor, size, chord):  # pragma: no cover
    """Collapse short edges (E, 2) in this order, with disjoint neighbourhoods.

    Points are moved and faces changed in place; returns which faces remain, (F,) bool.
    """
    start, items = _incident(faces, len(points))
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
            _project_to_sheet(position, level, factor)
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
    start, items = _incident(faces, len(points))
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
                if _signed_area(p, s, r) < 1e-7 or _signed_area(q, r, s) < 1e-7:
                    break
                current = max(_largest_cosine(p, q, r), _largest_cosine(q, p, s))
                if max(_largest_cosine(p, s, r), _largest_cosine(q, r, s)) > current - 1e-6:
                    break
                now_one, now_two = _normal(p, q, r), _normal(q, p, s)
                before = (now_one[0] + now_two[0], now_one[1] + now_two[1], now_one[2] + now_two[2])
                if _dot(_normal(p, s, r), before) <= 0 or _dot(_normal(q, r, s), before) <= 0:
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
    start, items = _incident(faces, len(points))
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
            cross = _normal(points[v], points[p], points[q])
            # Centroids weighted by area over target area give the density of the target lengths.
            for n in range(3):
                normal[n] += cross[n]
                middle[n] = (points[v, n] + points[p, n] + points[q, n]) / 3
            w = np.sqrt(_dot(cross, cross)) / sample(size, middle[0], middle[1])[0] ** 2
            for n in range(3):
                centre[n] += w * middle[n]
            weight += w
        if border[v]:
            if border_count < 2 or _cosine(points[v], ends[0], ends[1]) > -CORNER_COSINE:
                continue
            for n in range(3):
                position[n] = 0.5 * points[v, n] + 0.25 * (ends[0, n] + ends[1, n])
            _project_to_contour(position, level)
            position[2] = 0.0
        else:
            if weight <= 0:
                continue
            for n in range(3):
                displacement[n] = centre[n] / weight - points[v, n]
            norm = max(_dot(normal, normal), 1e-300)
            along = _dot(displacement, normal) / norm
            for n in range(3):
                position[n] = points[v, n] + displacement[n] - along * normal[n]
            _project_to_sheet(position, level, factor)
        if _keeps_orientation(v, np.int64(-1), position, points, faces, start, items, size, False):
            for n in range(3):
                points[v, n] = position[n]


def _compact(points: np.ndarray, faces: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, faces and border without the vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    return points[used], inverse.reshape(-1, 3), border[used]


def _collapsed(points, faces, border, level, factor, size, chord):
    """Points, faces and border without the short edges; points are moved and faces changed in place too."""
    ratio, edge = _short_edges(points, faces, border, size)
    order = np.argsort(ratio, kind="stable")
    kept = _collapse(order, edge, points, faces, border, level, factor, size, chord)
    return _compact(points, faces[kept], border)


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
            points, faces, border = _collapsed(points, faces, border, level, factor, size, MAX_CHORD_ERROR)
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
        points, faces, border = _collapsed(
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
