"""Isotropic remeshing of a sheet that lies over the plane and meets it upright along its border.

The sheet is the part z >= 0 of z^2 = square(x, y), a height field that becomes vertical at its border. Edges that are too
long are split, short ones collapsed, others flipped to the better diagonal, and vertices moved along the surface
(Botsch & Kobbelt 2004, "A Remeshing Approach to Multiresolution Modeling", section 4). Every step keeps each triangle's
orientation over the plane, so the sheet cannot fold, and no edge but the border's joins two border vertices, so the
sheet and its mirror image can be sewn.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SHORT, LONG = 0.75, 1.35  # in target lengths; the paper's 4/5 and 4/3, with a little hysteresis
CHORD = 0.12  # how far a border edge may leave the contour, in cells
CORNER = 0.75  # cosine of the turn from which on a border vertex stays where it is
FLOOR = 0.02  # least height of an inner vertex, in cells


@njit(cache=True)
def sample(grid: np.ndarray, x: float, y: float) -> tuple[float, float, float]:  # pragma: no cover
    """Bilinear value of (h, w) at column x, row y, and its derivatives along x and y."""
    height, width = grid.shape
    column, row = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
    s, t = x - column, y - row
    a, b = grid[row, column], grid[row, column + 1]
    c, d = grid[row + 1, column], grid[row + 1, column + 1]
    top, bottom = a + s * (b - a), c + s * (d - c)
    return top + t * (bottom - top), (1 - t) * (b - a) + t * (d - c), bottom - top


@njit(cache=True)
def _onto_sheet(point: np.ndarray, square: np.ndarray) -> None:  # pragma: no cover
    """Newton steps along the gradient of z^2 - square(x, y), in place; well-conditioned at the border too."""
    for _ in range(3):
        value, along_x, along_y = sample(square, point[0], point[1])
        off = point[2] * point[2] - value
        slope = along_x * along_x + along_y * along_y + 4 * point[2] * point[2]
        if slope < 1e-12:
            return
        step = off / slope
        point[0] += step * along_x
        point[1] += step * along_y
        point[2] -= step * 2 * point[2]
    point[2] = max(point[2], FLOOR)


@njit(cache=True)
def _onto_contour(point: np.ndarray, level: np.ndarray) -> None:  # pragma: no cover
    """Newton steps to the zero level in the plane, in place."""
    for _ in range(3):
        value, along_x, along_y = sample(level, point[0], point[1])
        slope = along_x * along_x + along_y * along_y
        if slope < 1e-6:
            return
        point[0] -= value * along_x / slope
        point[1] -= value * along_y / slope


@njit(cache=True)
def _incident(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Faces around each vertex: those of v are items[start[v]:start[v + 1]]."""
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


@njit(cache=True)
def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Twice the area of the triangle over the plane, positive for faces that look up (y runs down)."""
    return -((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


@njit(cache=True)
def _normal(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Cross product of two edges."""
    p, q = b - a, c - a
    return np.array([p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]])


@njit(cache=True)
def _length(a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    return np.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)


@njit(cache=True)
def _target(size: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover
    """Length that an edge between two points should have."""
    return sample(size, 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]))[0]


@njit(cache=True)
def _split(points, faces, border, square, size):  # pragma: no cover
    """Split every edge that is too long and is the longest of both its faces; returns points, faces, border."""
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
    faces = faces.copy()
    for f in range(len(new_points)):
        if done[f]:
            continue
        k = longest[f]
        a, b, c = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        if (border[a] and border[b]) or _length(points[a], points[b]) <= LONG * _target(size, points[a], points[b]):
            continue
        for i in range(start[a], start[a + 1]):
            g = items[i]
            m = longest[g]
            if g > f and not done[g] and faces[g, m] == b and faces[g, (m + 1) % 3] == a:
                d = faces[g, (m + 2) % 3]
                # From the border the height grows with the root of the distance: a quarter of the way is half the height.
                part = 0.25 if border[a] else (0.75 if border[b] else 0.5)
                middle = points[a] + part * (points[b] - points[a])
                if border[a] or border[b]:
                    middle[2] = np.sqrt(max(sample(square, middle[0], middle[1])[0], FLOOR**2))
                else:
                    _onto_sheet(middle, square)
                v = len(points) + added
                if not (
                    _turn(points[a], middle, points[c]) > 0
                    and _turn(middle, points[b], points[c]) > 0
                    and _turn(points[b], middle, points[d]) > 0
                    and _turn(middle, points[a], points[d]) > 0
                ):
                    break
                new_points[added] = middle
                added += 1
                faces[f, 0], faces[f, 1], faces[f, 2] = a, v, c
                faces[g, 0], faces[g, 1], faces[g, 2] = b, v, d
                new_faces[more, 0], new_faces[more, 1], new_faces[more, 2] = v, b, c
                new_faces[more + 1, 0], new_faces[more + 1, 1], new_faces[more + 1, 2] = v, a, d
                more += 2
                done[f] = done[g] = True
                break
    points = np.concatenate((points, new_points[:added]))
    faces = np.concatenate((faces, new_faces[:more]))
    return points, faces, np.concatenate((border, np.zeros(added, np.bool_)))


@njit(cache=True)
def _collapsible(a, b, place, points, faces, border, start, items, size, chord):  # pragma: no cover
    """Whether vertex b may be merged into a at ``place`` without folds, holes, long edges or a worse contour."""
    rim = border[a] and border[b]
    shared = 0
    after = before = -1  # the border's vertices beyond b and before a or the other way round
    for i in range(start[b], start[b + 1]):
        for k in range(3):
            v = faces[items[i], k]
            if v == b:
                continue
            in_a, seen_before = False, False
            for j in range(start[b], i):
                for m in range(3):
                    seen_before |= faces[items[j], m] == v
            if seen_before or v == a:
                continue
            for j in range(start[a], start[a + 1]):
                for m in range(3):
                    in_a |= faces[items[j], m] == v
            if in_a:
                shared += 1
            elif border[v]:
                if rim:
                    after = v
                elif border[a]:
                    return False  # an inner edge would join two border vertices
    if shared != (1 if rim else 2):
        return False
    if rim:
        for i in range(start[a], start[a + 1]):
            for k in range(3):
                v = faces[items[i], k]
                if border[v] and v not in (a, b):
                    before = v
        if after < 0 or before < 0 or after == before:
            return False
        # The chord from a to the vertex beyond must pass by the one that goes.
        p, q, r = points[a], points[after], points[b]
        along = max(np.sqrt((q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2), 1e-9)
        if abs((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])) / along > chord:
            return False
    for turn in range(2):
        centre, other = (b, a) if turn == 0 else (a, b)
        if turn == 1 and border[a]:
            break  # a stays where it is
        for i in range(start[centre], start[centre + 1]):
            f = items[i]
            k = 0 if faces[f, 0] == centre else (1 if faces[f, 1] == centre else 2)
            p, q = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if other in (p, q):
                continue
            if _turn(place, points[p], points[q]) < 1e-7:
                return False
            old, new = _normal(points[centre], points[p], points[q]), _normal(place, points[p], points[q])
            if (old * new).sum() < 0.4 * np.sqrt((old * old).sum() * (new * new).sum()):
                return False
            if _length(place, points[p]) > LONG * _target(size, place, points[p]):
                return False
    return True


@njit(cache=True)
def _collapse(points, faces, border, square, size, limit, chord):  # pragma: no cover
    """Merge the ends of edges shorter than ``limit`` target lengths, shortest first, in independent places.

    Returns the faces that are left; points are moved in place.
    """
    start, items = _incident(faces, len(points))
    ratio, edge = np.empty(3 * len(faces)), np.empty((3 * len(faces), 2), np.int64)
    count = 0
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            if a < b or (border[a] and border[b]):
                r = _length(points[a], points[b]) / _target(size, points[a], points[b])
                if r < limit:
                    ratio[count], edge[count, 0], edge[count, 1] = r, a, b
                    count += 1
    order = np.argsort(ratio[:count], kind="mergesort")
    locked = np.zeros(len(points), np.bool_)
    alive = np.ones(len(faces), np.bool_)
    faces = faces.copy()
    for at in order:
        a, b = edge[at, 0], edge[at, 1]
        if locked[a] or locked[b]:
            continue
        if border[b] and not border[a]:
            a, b = b, a
        place = points[a].copy()
        if not border[a]:
            place = 0.5 * (points[a] + points[b])
            _onto_sheet(place, square)
        if not _collapsible(a, b, place, points, faces, border, start, items, size, chord):
            if not border[b] or not _collapsible(b, a, points[b], points, faces, border, start, items, size, chord):
                continue
            a, b = b, a
            place = points[a].copy()
        for centre in (a, b):
            for i in range(start[centre], start[centre + 1]):
                for k in range(3):
                    locked[faces[items[i], k]] = True
        points[a] = place
        for i in range(start[b], start[b + 1]):
            f = items[i]
            for k in range(3):
                if faces[f, k] == a:
                    alive[f] = False
            for k in range(3):
                if faces[f, k] == b:
                    faces[f, k] = a
    return faces[alive]


@njit(cache=True)
def _cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Cosine of the angle at a."""
    p, q = b - a, c - a
    return (p * q).sum() / max(np.sqrt((p * p).sum() * (q * q).sum()), 1e-300)


@njit(cache=True)
def _largest_cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:  # pragma: no cover
    """Cosine of the triangle's smallest angle."""
    return max(_cosine(a, b, c), _cosine(b, c, a), _cosine(c, a, b))


@njit(cache=True)
def _flip(points, faces, border):  # pragma: no cover
    """Flip inner edges whose other diagonal makes the smallest angle larger, in place; returns how many."""
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
                if _turn(p, s, r) < 1e-7 or _turn(q, r, s) < 1e-7:
                    break
                now = max(_largest_cosine(p, q, r), _largest_cosine(q, p, s))
                if max(_largest_cosine(p, s, r), _largest_cosine(q, r, s)) > now - 1e-6:
                    break
                before = _normal(p, q, r) + _normal(q, p, s)
                one, two = _normal(p, s, r), _normal(q, r, s)
                if (one * before).sum() <= 0 or (two * before).sum() <= 0:
                    break
                joined = False
                for j in range(start[c], start[c + 1]):
                    for n in range(3):
                        joined |= faces[items[j], n] == d
                if joined:
                    break
                for h in (f, g):  # faces around all four change hands: leave them for the next pass
                    for n in range(3):
                        v = faces[h, n]
                        for j in range(start[v], start[v + 1]):
                            locked[items[j]] = True
                faces[f, 0], faces[f, 1], faces[f, 2] = a, d, c
                faces[g, 0], faces[g, 1], faces[g, 2] = b, c, d
                flipped += 1
                break
    return flipped


@njit(cache=True)
def _relax(points, faces, border, square, level, size):  # pragma: no cover
    """Move every vertex towards the middle of its neighbours, along the surface, in place."""
    start, items = _incident(faces, len(points))
    for v in range(len(points)):
        centre, weight, normal = np.zeros(3), 0.0, np.zeros(3)
        ends = np.zeros((2, 3))
        found = 0
        for i in range(start[v], start[v + 1]):
            f = items[i]
            k = 0 if faces[f, 0] == v else (1 if faces[f, 1] == v else 2)
            p, q = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if border[v]:
                for n in (p, q):
                    if border[n] and found < 2:
                        ends[found] = points[n]
                        found += 1
                continue
            cross = _normal(points[v], points[p], points[q])
            normal += cross
            # Triangle centres weighted by area over the wished-for area spread the vertices as the size asks.
            middle = (points[v] + points[p] + points[q]) / 3
            w = np.sqrt((cross * cross).sum()) / sample(size, middle[0], middle[1])[0] ** 2
            centre += w * middle
            weight += w
        if border[v]:
            if found < 2 or _cosine(points[v], ends[0], ends[1]) > -CORNER:
                continue
            place = 0.5 * points[v] + 0.25 * (ends[0] + ends[1])
            _onto_contour(place, level)
            place[2] = 0.0
        else:
            if weight <= 0:
                continue
            move = centre / weight - points[v]
            norm = max((normal * normal).sum(), 1e-300)
            place = points[v] + move - (move * normal).sum() / norm * normal
            _onto_sheet(place, square)
        fits = True
        for i in range(start[v], start[v + 1]):
            f = items[i]
            k = 0 if faces[f, 0] == v else (1 if faces[f, 1] == v else 2)
            p, q = points[faces[f, (k + 1) % 3]], points[faces[f, (k + 2) % 3]]
            if _turn(place, p, q) < 1e-7:
                fits = False
                break
            old, new = _normal(points[v], p, q), _normal(place, p, q)
            if (old * new).sum() < 0.4 * np.sqrt((old * old).sum() * (new * new).sum()):
                fits = False
                break
        if fits:
            points[v] = place


def _compact(points: np.ndarray, faces: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    return points[used], inverse.reshape(-1, 3), border[used]


def remesh(
    points: np.ndarray,
    faces: np.ndarray,
    border: np.ndarray,
    square: np.ndarray,
    level: np.ndarray,
    size: np.ndarray,
    max_faces: int,
    rounds: int = 5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sheet of well-shaped triangles on the same surface.

    Args:
        points: (V, 3) as (x, y, z), lattice units, z = 0 on the border.
        faces: (F, 3), positively oriented over the plane with y down.
        border: (V,) bool.
        square: (h, w) squared height on the lattice, negative outside.
        level: (h, w), its zero level is the border.
        size: (h, w) wished-for edge lengths.
        max_faces: at most this many faces.
        rounds: of splitting, collapsing, flipping and relaxing.

    Returns:
        points, faces, border of the new sheet.

    Raises:
        ValueError: the sheet's holes and parts need more than ``max_faces`` faces.
    """
    points, faces = points.astype(np.float64), faces.astype(np.int64)
    for turn in range(rounds):
        for _ in range(4 if turn == 0 else 1):
            points, faces, border = _split(points, faces, border, square, size)
        for _ in range(14 if turn == 0 else 4):
            before = len(faces)
            faces = _collapse(points, faces, border, square, size, SHORT, CHORD)
            points, faces, border = _compact(points, faces, border)
            if before - len(faces) < 0.002 * before:
                break
        _improve(points, faces, border, square, level, size)
    limit, chord = SHORT, CHORD
    while len(faces) > max_faces:
        if limit > 60:
            raise ValueError(f"{len(faces)} faces are left where {max_faces} are allowed; raise --max_faces")
        limit, chord = limit * 1.1, chord * 1.2
        coarse = size * max(1.0, limit / SHORT)
        faces = _collapse(points, faces, border, square, coarse, SHORT, chord)
        points, faces, border = _compact(points, faces, border)
        _improve(points, faces, border, square, level, coarse)
    return points, faces, border


def _improve(points, faces, border, square, level, size) -> None:
    """Flip and relax, in place."""
    for _ in range(3):
        for _ in range(3):
            if _flip(points, faces, border) == 0:
                break
        _relax(points, faces, border, square, level, size)
    _flip(points, faces, border)
