"""Numba kernels for bilinear texture lookup and its gradient.

Texel (r, c) of an (H, W) texture has its centre at v = (r + 1/2) / H, u = (c + 1/2) / W, so row 0 lies at v = 0. Where
`rast` (B, H, W, 4) is given, not empty, pixels without a triangle are passed over. The colours stand in `out` and
`grad` from channel `lead` on.
"""

import math

from v2m4.kernels import kernel


@kernel
def _taps(coordinate, size, wrap):
    """The two texels around a coordinate and the weight of the second."""
    place = coordinate * size - 0.5
    if not abs(place) < 1e9:  # also not-a-number
        place = 0.0
    base = math.floor(place)
    weight = place - base
    low = int(base)
    if wrap:
        low = low % size
        high = low + 1 if low + 1 < size else 0
    else:
        high = min(max(low + 1, 0), size - 1)
        low = min(max(low, 0), size - 1)
    return low, high, weight


@kernel("i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], b1, f4[:,:,:,::1], i8, f4[:,:,:,::1]")
def sample(first, last, tex, uv, wrap, rast, lead, out):
    """Fill out (B, H, W, >= lead + C) from tex (1 or B, Ht, Wt, C) and uv (B, H, W, 2). Tasks: B * H."""
    height, width = uv.shape[1], uv.shape[2]
    rows, columns, channels = tex.shape[1], tex.shape[2], tex.shape[3]
    for task in range(first, last):
        view, y = task // height, task % height
        t = view if tex.shape[0] > 1 else 0
        for x in range(width):
            if len(rast) > 0 and rast[view, y, x, 3] == 0.0:
                continue
            c0, c1, s = _taps(float(uv[view, y, x, 0]), columns, wrap)
            r0, r1, q = _taps(float(uv[view, y, x, 1]), rows, wrap)
            for c in range(channels):
                top = (1.0 - s) * tex[t, r0, c0, c] + s * tex[t, r0, c1, c]
                bottom = (1.0 - s) * tex[t, r1, c0, c] + s * tex[t, r1, c1, c]
                out[view, y, x, lead + c] = (1.0 - q) * top + q * bottom


@kernel("i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], b1, f4[:,:,:,::1], i8, f4[:,:,:,::1]")
def sample_backward_uv(first, last, grad, tex, uv, wrap, rast, lead, duv):
    """Write duv (B, H, W, 2) from grad (B, H, W, >= lead + C). Tasks: B * H."""
    height, width = uv.shape[1], uv.shape[2]
    rows, columns, channels = tex.shape[1], tex.shape[2], tex.shape[3]
    for task in range(first, last):
        view, y = task // height, task % height
        t = view if tex.shape[0] > 1 else 0
        for x in range(width):
            if len(rast) > 0 and rast[view, y, x, 3] == 0.0:
                continue
            c0, c1, s = _taps(float(uv[view, y, x, 0]), columns, wrap)
            r0, r1, q = _taps(float(uv[view, y, x, 1]), rows, wrap)
            du, dv = 0.0, 0.0
            for c in range(channels):
                g = float(grad[view, y, x, lead + c])
                a, b = float(tex[t, r0, c0, c]), float(tex[t, r0, c1, c])
                d, e = float(tex[t, r1, c0, c]), float(tex[t, r1, c1, c])
                du += g * ((1.0 - q) * (b - a) + q * (e - d))
                dv += g * ((1.0 - s) * (d - a) + s * (e - b))
            duv[view, y, x, 0] = du * columns
            duv[view, y, x, 1] = dv * rows


@kernel
def _scatter_stripe(grad, uv, wrap, rast, lead, t, first_view, last_view, row0, row1, dtex):
    rows, columns, channels = dtex.shape[1], dtex.shape[2], dtex.shape[3]
    for view in range(first_view, last_view):
        for y in range(uv.shape[1]):
            for x in range(uv.shape[2]):
                if len(rast) > 0 and rast[view, y, x, 3] == 0.0:
                    continue
                r0, r1, q = _taps(float(uv[view, y, x, 1]), rows, wrap)
                if not (row0 <= r0 < row1 or row0 <= r1 < row1):
                    continue
                active = False
                for c in range(channels):
                    active = active or grad[view, y, x, lead + c] != 0.0
                if not active:
                    continue
                c0, c1, s = _taps(float(uv[view, y, x, 0]), columns, wrap)
                for tap in range(2):
                    r, share = (r0, 1.0 - q) if tap == 0 else (r1, q)
                    if not row0 <= r < row1:
                        continue
                    for c in range(channels):
                        g = grad[view, y, x, lead + c] * share
                        dtex[t, r, c0, c] += g * (1.0 - s)
                        dtex[t, r, c1, c] += g * s


@kernel("i8, i8, f4[:,:,:,::1], f4[:,:,:,::1], b1, f4[:,:,:,::1], i8, i8, f4[:,:,:,::1]", ahead=False)
def sample_backward_tex(first, last, grad, uv, wrap, rast, lead, stripes, dtex):
    """Add to dtex (1 or B, Ht, Wt, C). Tasks: (1 or B) * stripes.

    Each task owns a stripe of texture rows and meets all pixels in order, so that the sums do not depend on how many
    stripes or threads there are.
    """
    textures, rows, views = dtex.shape[0], dtex.shape[1], uv.shape[0]
    for task in range(first, last):
        t, stripe = task // stripes, task % stripes
        from_view, to_view = (t, t + 1) if textures > 1 else (0, views)
        row0, row1 = stripe * rows // stripes, (stripe + 1) * rows // stripes
        _scatter_stripe(grad, uv, wrap, rast, lead, t, from_view, to_view, row0, row1, dtex)
