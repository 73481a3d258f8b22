"""Numba kernels that turn clip-space triangles into (u, v, z/w, id) pixels, and their gradient.

A triangle is kept in homogeneous pixel coordinates p_i = (x_i w_i, y_i w_i, w_i), where (x_i, y_i) is the projected
vertex in pixels and pixel centres lie on whole numbers. The rows of the inverse of [p_0 p_1 p_2] are edge functions:
e = M^-1 (x, y, 1) is proportional to the perspective-correct barycentric coordinates, so a triangle that crosses the
camera plane needs no clipping (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997).

The arithmetic is float64 without contraction: two triangles that share an edge compute exactly opposite edge values, so
no pixel between them is lost. A pixel's result does not depend on how rows are split over threads.
"""

import math

import numpy as np

from v2m4.kernels import kernel

TINY_W = 1e-12  # a vertex on the camera plane is moved this far off it
SLACK = 1e-6  # pixels added to bounding boxes against rounding
TINY_AREA = 1e-12  # square pixels below which a triangle passes no gradient on


@kernel
def _project_range(pos, view, start, stop, width, height, screen):
    for i in range(start, stop):
        w = float(pos[view, i, 3])
        if abs(w) < TINY_W:
            w = TINY_W if w >= 0.0 else -TINY_W
        screen[view, i, 0] = (pos[view, i, 0] / w + 1.0) * (0.5 * width) - 0.5
        screen[view, i, 1] = (pos[view, i, 1] / w + 1.0) * (0.5 * height) - 0.5
        screen[view, i, 2] = w


@kernel("i8, i8, f4[:,:,::1], i8, i8, i8, f8[:,:,::1]")
def project(first, last, pos, parts, width, height, screen):
    """Write pixel x, pixel y and w of every vertex: pos (B, V, 4) float32 -> screen (B, V, 3) float64.

    Tasks: B * parts, each with a run of a view's vertices.
    """
    count = pos.shape[1]
    for task in range(first, last):
        view, part = task // parts, task % parts
        _project_range(pos, view, part * count // parts, (part + 1) * count // parts, width, height, screen)


@kernel
def _near_clipped_box(pos, view, corners, screen):
    """Pixel bounds of the part of a triangle in front of the near plane; an endless box where that is not bounded."""
    x_low, x_high, y_low, y_high = np.inf, -np.inf, np.inf, -np.inf
    for e in range(3):
        i, j = corners[e], corners[(e + 1) % 3]
        di = float(pos[view, i, 2]) + pos[view, i, 3]
        dj = float(pos[view, j, 2]) + pos[view, j, 3]
        if di >= 0.0:
            if screen[view, i, 2] <= 0.0:
                return -np.inf, np.inf, -np.inf, np.inf
            x, y = screen[view, i, 0], screen[view, i, 1]
            x_low, x_high, y_low, y_high = min(x_low, x), max(x_high, x), min(y_low, y), max(y_high, y)
        if (di >= 0.0) != (dj >= 0.0):
            s = di / (di - dj)
            wi, wj = screen[view, i, 2], screen[view, j, 2]
            w = wi + s * (wj - wi)
            if w <= 0.0:
                return -np.inf, np.inf, -np.inf, np.inf
            x = ((1.0 - s) * screen[view, i, 0] * wi + s * screen[view, j, 0] * wj) / w
            y = ((1.0 - s) * screen[view, i, 1] * wi + s * screen[view, j, 1] * wj) / w
            x_low, x_high, y_low, y_high = min(x_low, x), max(x_high, x), min(y_low, y), max(y_high, y)
    return x_low, x_high, y_low, y_high


@kernel
def _edges(screen, view, i, j, k):
    """The nine edge coefficients (cross products of the homogeneous corners) and the signed determinant."""
    xi, yi, wi = screen[view, i, 0], screen[view, i, 1], screen[view, i, 2]
    xj, yj, wj = screen[view, j, 0], screen[view, j, 1], screen[view, j, 2]
    xk, yk, wk = screen[view, k, 0], screen[view, k, 1], screen[view, k, 2]
    jk, ki, ij = wj * wk, wk * wi, wi * wj
    area = (xj - xi) * (yk - yi) - (xk - xi) * (yj - yi)
    return (
        (yj - yk) * jk, (xk - xj) * jk, (xj * yk - xk * yj) * jk,
        (yk - yi) * ki, (xi - xk) * ki, (xk * yi - xi * yk) * ki,
        (yi - yj) * ij, (xj - xi) * ij, (xi * yj - xj * yi) * ij,
        area * ij * wk,
    )  # fmt: skip


@kernel
def _draw_band(pos, tri, screen, view, row0, row1, cull, rast):  # noqa: PLR0912 (one loop, kept flat for speed)
    width = rast.shape[2]
    depth = np.full((row1 - row0, width), np.inf)
    ids = np.full((row1 - row0, width), -1, np.int32)
    corners = np.empty(3, np.int64)
    row_low, row_high = row0 - SLACK, row1 - 1 + SLACK
    column_high = width - 1 + SLACK
    for f in range(tri.shape[0]):
        i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
        wi, wj, wk = screen[view, i, 2], screen[view, j, 2], screen[view, k, 2]
        yi, yj, yk = screen[view, i, 1], screen[view, j, 1], screen[view, k, 1]
        in_front = wi > 0.0 and wj > 0.0 and wk > 0.0
        if in_front:
            y_low, y_high = min(yi, yj, yk), max(yi, yj, yk)
            if not (y_high >= row_low and y_low <= row_high):
                continue
            xi, xj, xk = screen[view, i, 0], screen[view, j, 0], screen[view, k, 0]
            x_low, x_high = min(xi, xj, xk), max(xi, xj, xk)
        else:
            if not (wi > 0.0 or wj > 0.0 or wk > 0.0):
                continue
            corners[0], corners[1], corners[2] = i, j, k
            x_low, x_high, y_low, y_high = _near_clipped_box(pos, view, corners, screen)
            if not (y_high >= row_low and y_low <= row_high):
                continue
        if not (x_high >= -SLACK and x_low <= column_high):
            continue
        first_row = math.ceil(max(y_low - SLACK, float(row0)))
        last_row = math.floor(min(y_high + SLACK, float(row1 - 1)))
        first = math.ceil(max(x_low - SLACK, 0.0))
        last = math.floor(min(x_high + SLACK, width - 1.0))
        if first > last or first_row > last_row:
            continue
        a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edges(screen, view, i, j, k)
        if not (det > 0.0 or det < 0.0) or (cull and det > 0.0):
            continue
        if det < 0.0:
            a0, b0, c0, a1, b1, c1, a2, b2, c2, det = -a0, -b0, -c0, -a1, -b1, -c1, -a2, -b2, -c2, -det
        z0, z1, z2 = pos[view, i, 2] / det, pos[view, j, 2] / det, pos[view, k, 2] / det
        low, high = -1.0, 1.0
        if in_front:  # keeps the depth plane of a sliver within its corners
            n0, n1, n2 = pos[view, i, 2] / wi, pos[view, j, 2] / wj, pos[view, k, 2] / wk
            nearest, farthest = min(n0, n1, n2), max(n0, n1, n2)
            if nearest > 1.0 or farthest < -1.0:
                continue
        else:
            nearest, farthest = -np.inf, np.inf
        for y in range(first_row, last_row + 1):
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            for x in range(first, last + 1):
                e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                if e0 >= 0.0 and e1 >= 0.0 and e2 >= 0.0 and e0 + e1 + e2 > 0.0:
                    z = min(max(e0 * z0 + e1 * z1 + e2 * z2, nearest), farthest)
                    if z < depth[y - row0, x] and low <= z <= high:
                        depth[y - row0, x] = z
                        ids[y - row0, x] = f
    for y in range(row0, row1):
        previous = -1
        for x in range(width):
            f = ids[y - row0, x]
            if f < 0:
                rast[view, y, x, 0] = 0.0
                rast[view, y, x, 1] = 0.0
                rast[view, y, x, 2] = 0.0
                rast[view, y, x, 3] = 0.0
                continue
            if f != previous:
                a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edges(screen, view, tri[f, 0], tri[f, 1], tri[f, 2])
                previous = f
            e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
            scale = 1.0 / (e0 + e1 + e2)
            rast[view, y, x, 0] = e0 * scale
            rast[view, y, x, 1] = e1 * scale
            rast[view, y, x, 2] = depth[y - row0, x]
            rast[view, y, x, 3] = f + 1


@kernel("i8, i8, f4[:,:,::1], i4[:,::1], f8[:,:,::1], i8, b1, f4[:,:,:,::1]")
def rasterize(first, last, pos, tri, screen, bands, cull, rast):
    """Draw all views. pos (B, V, 4), tri (F, 3), screen (B, V, 3) from `project`; writes rast (B, H, W, 4).

    Tasks: B * bands.
    """
    height = rast.shape[1]
    half = (bands + 1) // 2
    for task in range(first, last):
        view, turn = task // bands, task % bands
        band = 2 * turn if turn < half else 2 * (turn - half) + 1  # neighbours to different threads: even load
        _draw_band(pos, tri, screen, view, band * height // bands, (band + 1) * height // bands, cull, rast)


@kernel
def _scatter_rows(grad, rast, tri, screen, view, row0, row1, slot, dpos):
    height, width = rast.shape[1], rast.shape[2]
    half_w, half_h = 0.5 * width, 0.5 * height
    for y in range(row0, row1):
        for x in range(width):
            f = int(rast[view, y, x, 3]) - 1
            if f < 0:
                continue
            gu, gv = float(grad[view, y, x, 0]), float(grad[view, y, x, 1])
            if gu == 0.0 and gv == 0.0:
                continue
            i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
            a0, b0, c0, a1, b1, c1, a2, b2, c2, det = _edges(screen, view, i, j, k)
            area = det / (screen[view, i, 2] * screen[view, j, 2] * screen[view, k, 2])
            if not abs(area) > TINY_AREA:
                continue
            u, v = float(rast[view, y, x, 0]), float(rast[view, y, x, 1])
            # d(u, v)/dM: with e = M^-1 q and (u, v, .) = e / sum(e), dL/dp_i = -bary_i M^-T (g - g.bary)
            mean = gu * u + gv * v
            g0, g1, g2 = (gu - mean) / det, (gv - mean) / det, -mean / det
            dx = g0 * a0 + g1 * a1 + g2 * a2
            dy = g0 * b0 + g1 * b1 + g2 * b2
            dw = g0 * c0 + g1 * c1 + g2 * c2 + dx * (half_w - 0.5) + dy * (half_h - 0.5)
            dx, dy = dx * half_w, dy * half_h
            t = 1.0 - u - v
            dpos[slot, i, 0] -= u * dx
            dpos[slot, i, 1] -= u * dy
            dpos[slot, i, 3] -= u * dw
            dpos[slot, j, 0] -= v * dx
            dpos[slot, j, 1] -= v * dy
            dpos[slot, j, 3] -= v * dw
            dpos[slot, k, 0] -= t * dx
            dpos[slot, k, 1] -= t * dy
            dpos[slot, k, 3] -= t * dw


@kernel("i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], i4[:,::1], f8[:,:,::1], i8, f4[:,:,::1]")
def rasterize_backward(first, last, grad, rast, tri, screen, slots, dpos):
    """Add the gradient of (u, v) to dpos (B * slots, V, 4); each view's rows are split over `slots` buffers.

    grad (B, H, W, >=2) holds dL/du and dL/dv. Tasks: B * slots.
    """
    height = rast.shape[1]
    for task in range(first, last):
        view, part = task // slots, task % slots
        _scatter_rows(grad, rast, tri, screen, view, part * height // slots, (part + 1) * height // slots, task, dpos)


@kernel("i8, i8, f4[:,:,::1], i8, i8, f4[:,:,::1]")
def fold(first, last, parts, groups, pieces, total):
    """Sum parts (G * groups, V, C) over each run of `groups` buffers, in order, into total (G, V, C).

    Tasks: G * pieces, each with a run of vertices.
    """
    count, channels = parts.shape[1], parts.shape[2]
    for task in range(first, last):
        g, piece = task // pieces, task % pieces
        for i in range(piece * count // pieces, (piece + 1) * count // pieces):
            for c in range(channels):
                value = parts[g * groups, i, c]
                for part in range(1, groups):
                    value += parts[g * groups + part, i, c]
                total[g, i, c] = value
