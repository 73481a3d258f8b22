"""Numba kernels for antialiasing: where an outline passes between pixel centres, the blend there, and its gradient.

After Laine et al., "Modular primitives for high-performance differentiable rendering" (2020), section 3.4, with one
change. Between two neighbouring pixels that show different triangles, the nearer surface is followed from its pixel's
centre towards the other, triangle by triangle, along the row (or column) of pixels; where that path turns back or ends,
there is the outline. The paper looks only at the edges of the visible triangle itself and so misses outlines of meshes
whose triangles are smaller than a pixel.

A crossing at distance t in [0, 1] from the nearer pixel (colour n) to the other (colour f) adds (t - 1/2) (n - f) to
the other pixel if t > 1/2, else to the nearer one. Rows handle steep edges and columns flat ones, so that each edge
counts once.
"""

import math

from v2m4.kernels import kernel

MAX_STEPS = 64  # triangles traversed between two pixel centres


@kernel
def _trace_outline(screen, view, tri, across, f, other, axis, line, start, sign):  # noqa: PLR0911, PLR0912
    """Traverse the surface from triangle f along axis (0: x, 1: y) at cross coordinate `line`, from `start` on.

    `sign` (1 or -1) is the direction. Returns (state, t, i, j): state 1 if outline edge (i, j) is crossed at distance
    t <= 1; 0 if triangle `other` is reached, where the surface continues; -1 if neither.
    """
    cross = 1 - axis
    edge, t = -1, -math.inf
    for e in range(3):
        i, j = tri[f, e], tri[f, (e + 1) % 3]
        if not (screen[view, i, 2] > 0.0):
            return -1, 0.0, 0, 0
        si, sj = screen[view, i, cross] - line, screen[view, j, cross] - line
        if (si >= 0.0) != (sj >= 0.0):
            at = screen[view, i, axis] + (screen[view, j, axis] - screen[view, i, axis]) * si / (si - sj)
            distance = (at - start) * sign
            if distance > t:
                edge, t = e, distance
    if edge < 0:
        return -1, 0.0, 0, 0
    for _ in range(MAX_STEPS):
        if t > 1.0:
            return -1, 0.0, 0, 0
        i, j = tri[f, edge], tri[f, (edge + 1) % 3]
        beyond = across[f, edge]
        if beyond < 0:
            return 1, max(t, 0.0), i, j
        g, d = beyond // 3, beyond % 3
        if g == other:
            return 0, 0.0, 0, 0
        a, b, c = tri[g, d], tri[g, (d + 1) % 3], tri[g, (d + 2) % 3]
        if not (screen[view, c, 2] > 0.0):
            return -1, 0.0, 0, 0
        sb, sc = screen[view, b, cross] - line, screen[view, c, cross] - line
        if (sb >= 0.0) != (sc >= 0.0):
            next_edge = (d + 1) % 3
        else:
            next_edge, b = (d + 2) % 3, a
            sb = screen[view, b, cross] - line
        at = screen[view, b, axis] + (screen[view, c, axis] - screen[view, b, axis]) * sb / (sb - sc)
        distance = (at - start) * sign
        if distance < t:
            return 1, max(t, 0.0), i, j
        f, edge, t = g, next_edge, distance
    return -1, 0.0, 0, 0


@kernel
def _crossing(screen, view, tri, across, rast, y, x, axis):
    """The outline between pixel (y, x) and its successor along the axis.

    Returns (found, from_successor, t, i, j).
    """
    y1, x1 = (y, x + 1) if axis == 0 else (y + 1, x)
    f0, f1 = int(rast[view, y, x, 3]) - 1, int(rast[view, y1, x1, 3]) - 1
    line, start = (float(y), float(x)) if axis == 0 else (float(x), float(y))
    successor_nearer = f0 < 0 or (f1 >= 0 and rast[view, y1, x1, 2] < rast[view, y, x, 2])
    for attempt in range(2):
        from_successor = successor_nearer if attempt == 0 else not successor_nearer
        f, other = (f1, f0) if from_successor else (f0, f1)
        if f < 0 or f >= len(tri):
            break
        origin, sign = (start + 1.0, -1.0) if from_successor else (start, 1.0)
        state, t, i, j = _trace_outline(screen, view, tri, across, f, other, axis, line, origin, sign)
        if state == 1:
            dx = abs(screen[view, i, 0] - screen[view, j, 0])
            dy = abs(screen[view, i, 1] - screen[view, j, 1])
            mine = dy >= dx if axis == 0 else dx > dy
            return mine, from_successor, t, i, j
        if state == 0:
            break
    return False, False, 0.0, 0, 0


@kernel
def _find_band(screen, view, tri, across, rast, row0, row1, mask_only, slot, cap, items, distances):
    height, width = rast.shape[1], rast.shape[2]
    count = 0
    for y in range(row0, row1):
        for x in range(width):
            f = rast[view, y, x, 3]
            for axis in range(2):
                y1, x1 = (y, x + 1) if axis == 0 else (y + 1, x)
                if y1 >= height or x1 >= width:
                    continue
                g = rast[view, y1, x1, 3]
                if f == g or (mask_only and f > 0.0 and g > 0.0):
                    continue
                found, from_successor, t, i, j = _crossing(screen, view, tri, across, rast, y, x, axis)
                if not found:
                    continue
                if count < cap:
                    here, there = y * width + x, y1 * width + x1
                    items[slot, count, 0] = there if from_successor else here
                    items[slot, count, 1] = here if from_successor else there
                    items[slot, count, 2] = i
                    items[slot, count, 3] = j
                    distances[slot, count] = t
                count += 1
    return count


@kernel("i8, i8, f8[:,:,::1], i4[:,::1], i4[:,::1], f4[:,:,:,::1], b1, i8, i8, i8[::1], i4[:,:,::1], f4[:,::1]")
def find(first, last, screen, tri, across, rast, mask_only, bands, cap, counts, items, distances):
    """Find the outline crossings of every view. Tasks: B * bands.

    Args:
        first: task to begin with.
        last: task to end before.
        screen: (B, V, 3) float64 from `project`.
        tri: (F, 3) int32.
        across: (F, 3) int32, the half-edge across each edge (`Topology.across`).
        rast: (B, H, W, 4).
        mask_only: Look only between covered and empty pixels.
        bands: Runs of rows per view, each writing its own list.
        cap: Room in each list; a larger count says that it was too little.
        counts: (B * bands) int64, written.
        items: (B * bands, cap, 4) int32, written: nearer pixel, other pixel, and the edge's two vertices.
        distances: (B * bands, cap) float32, written: t, from the nearer pixel.
    """
    height = rast.shape[1]
    half = (bands + 1) // 2
    for task in range(first, last):
        view, turn = task // bands, task % bands
        band = 2 * turn if turn < half else 2 * (turn - half) + 1
        counts[view * bands + band] = _find_band(
            screen, view, tri, across, rast, band * height // bands, (band + 1) * height // bands, mask_only,
            view * bands + band, cap, items, distances,
        )  # fmt: skip


@kernel("i8, i8, i8[::1], i4[:,:,::1], f4[:,::1], i8, i8[::1], i8, f4[:,:,::1], i4[:,::1], f4[::1], f4[:,::1]")
def blend(first, last, counts, items, distances, bands, starts, channels, out, kept, kept_t, contrast):
    """Blend the crossings into `out` in place; keep lists without gaps for the backward pass. Tasks: B.

    Args:
        first: task to begin with.
        last: task to end before.
        counts: From `find`, as the next three.
        items: (B * bands, cap, 4).
        distances: (B * bands, cap).
        bands: Lists per view.
        starts: (B + 1) int64, where each view's crossings begin in the lists without gaps.
        channels: How many leading channels of `out` are blended.
        out: (B, H * W, C), the colours.
        kept: (N, 4) int32, written: the items.
        kept_t: (N) float32, written: the distances.
        contrast: (N, channels) float32, written: nearer minus other colour, before blending.
    """
    for view in range(first, last):
        n = starts[view]
        for band in range(view * bands, (view + 1) * bands):
            for m in range(counts[band]):
                for c in range(4):
                    kept[n, c] = items[band, m, c]
                kept_t[n] = distances[band, m]
                for c in range(channels):
                    contrast[n, c] = out[view, kept[n, 0], c] - out[view, kept[n, 1], c]
                n += 1
        for n in range(starts[view], starts[view + 1]):
            weight = kept_t[n] - 0.5
            target = kept[n, 1] if weight > 0.0 else kept[n, 0]
            for c in range(channels):
                out[view, target, c] += weight * contrast[n, c]


@kernel
def _move_edge(screen, view, i, j, line, axis, half, half_cross, push, dpos, slot):
    """Add to dpos the gradient of the place where edge (i, j) crosses `line`, times push."""
    cross = 1 - axis
    span = screen[view, j, cross] - screen[view, i, cross]
    if span == 0.0:
        return
    share = min(max((line - screen[view, i, cross]) / span, 0.0), 1.0)
    slope = (screen[view, j, axis] - screen[view, i, axis]) / span
    for end in range(2):
        vertex, part = (i, 1.0 - share) if end == 0 else (j, share)
        d_axis, d_cross = push * part, -push * part * slope
        w = screen[view, vertex, 2]
        d_axis, d_cross = d_axis / w, d_cross / w
        dpos[slot, vertex, axis] += d_axis * half
        dpos[slot, vertex, cross] += d_cross * half_cross
        dpos[slot, vertex, 3] -= (
            d_axis * (screen[view, vertex, axis] + 0.5 - half)
            + d_cross * (screen[view, vertex, cross] + 0.5 - half_cross)
        )  # fmt: skip


@kernel(
    "i8, i8, f4[:,:,::1], f8[:,:,::1], i4[:,::1], f4[::1], f4[:,::1], i8[::1], i8, i8, i8, b1, f4[:,:,::1], f4[:,:,::1]"
)
def blend_backward(
    first, last, grad, screen, kept, kept_t, contrast, starts, width, height, slots, want_pos, dcolor, dpos
):
    """Gradient of `blend`, given grad (B, H * W, C). Tasks: B.

    dcolor (B, H * W, C) holds a copy of grad on entry and the gradient before blending on return; each view adds to the
    first of its `slots` buffers in dpos (B * slots, V, 4).
    """
    channels = contrast.shape[1]
    for view in range(first, last):
        for n in range(starts[view], starts[view + 1]):
            near, far = kept[n, 0], kept[n, 1]
            weight = kept_t[n] - 0.5
            target = far if weight > 0.0 else near
            push = 0.0
            for c in range(channels):
                g = grad[view, target, c]
                push += float(g) * contrast[n, c]
                dcolor[view, near, c] += weight * g
                dcolor[view, far, c] -= weight * g
            if want_pos and push != 0.0:
                axis = 0 if near // width == far // width else 1
                line = near // width if axis == 0 else near % width
                half, half_cross = 0.5 * width, 0.5 * height
                if axis == 1:
                    half, half_cross = half_cross, half
                sign = 1.0 if far > near else -1.0
                _move_edge(
                    screen, view, kept[n, 2], kept[n, 3], float(line), axis, half, half_cross, push * sign, dpos,
                    view * slots,
                )  # fmt: skip
