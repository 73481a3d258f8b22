"""Numba kernels for vertex attributes over rasterised pixels, and their gradient.

One kernel serves `interpolate` and the fused path: before the attributes, `lead` channels may stand for the coverage
mask (one) and what others fill in (the texture's colour); three channels from `unit` on may be scaled to unit length
after interpolation (normals).
"""

import math

from v2m4.kernels import kernel


@kernel
def _interpolate_row(attr, batch, tri, rast, view, y, lead, unit, out):
    channels = attr.shape[2]
    for x in range(rast.shape[2]):
        f = int(rast[view, y, x, 3]) - 1
        if f < 0 or f >= len(tri):
            for c in range(lead + channels):
                out[view, y, x, c] = 0.0
            continue
        if lead > 0:
            out[view, y, x, 0] = 1.0
        i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
        u, v = rast[view, y, x, 0], rast[view, y, x, 1]
        t = 1.0 - u - v
        for c in range(channels):
            out[view, y, x, lead + c] = u * attr[batch, i, c] + v * attr[batch, j, c] + t * attr[batch, k, c]
        if unit >= 0:
            s = lead + unit
            nx, ny, nz = out[view, y, x, s], out[view, y, x, s + 1], out[view, y, x, s + 2]
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            scale = 1.0 / length if length > 1e-12 else 0.0
            out[view, y, x, s] = nx * scale
            out[view, y, x, s + 1] = ny * scale
            out[view, y, x, s + 2] = nz * scale


@kernel("i8, i8, f4[:,:,::1], i4[:,::1], f4[:,:,:,::1], i8, i8, f4[:,:,:,::1]")
def interpolate(first, last, attr, tri, rast, lead, unit, out):
    """Fill out (B, H, W, lead + C) from attr (1 or B, V, C), tri (F, 3) and rast (B, H, W, 4). Tasks: B * H."""
    height = rast.shape[1]
    for task in range(first, last):
        view = task // height
        _interpolate_row(attr, view if attr.shape[0] > 1 else 0, tri, rast, view, task % height, lead, unit, out)


@kernel
def _scatter_row(grad, attr, batch, tri, rast, view, y, lead, unit, slot, want_attr, want_bary, dattr, dbary):
    channels = attr.shape[2]
    for x in range(rast.shape[2]):
        f = int(rast[view, y, x, 3]) - 1
        du, dv = 0.0, 0.0
        if 0 <= f < len(tri):
            i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
            u, v = rast[view, y, x, 0], rast[view, y, x, 1]
            t = 1.0 - u - v
            nx, ny, nz, along, scale = 0.0, 0.0, 0.0, 0.0, 0.0
            if unit >= 0:  # normalisation passes on the part of the gradient across the vector
                nx = u * attr[batch, i, unit] + v * attr[batch, j, unit] + t * attr[batch, k, unit]
                ny = u * attr[batch, i, unit + 1] + v * attr[batch, j, unit + 1] + t * attr[batch, k, unit + 1]
                nz = u * attr[batch, i, unit + 2] + v * attr[batch, j, unit + 2] + t * attr[batch, k, unit + 2]
                length = math.sqrt(nx * nx + ny * ny + nz * nz)
                scale = 1.0 / length if length > 1e-12 else 0.0
                s = lead + unit
                nx, ny, nz = nx * scale, ny * scale, nz * scale
                along = nx * grad[view, y, x, s] + ny * grad[view, y, x, s + 1] + nz * grad[view, y, x, s + 2]
            for c in range(channels):
                g = grad[view, y, x, lead + c]
                if unit <= c < unit + 3 and unit >= 0:
                    g = scale * (g - along * (nx if c == unit else (ny if c == unit + 1 else nz)))
                if g == 0.0:
                    continue
                if want_attr:
                    dattr[slot, i, c] += g * u
                    dattr[slot, j, c] += g * v
                    dattr[slot, k, c] += g * t
                if want_bary:
                    du += g * (attr[batch, i, c] - attr[batch, k, c])
                    dv += g * (attr[batch, j, c] - attr[batch, k, c])
        if want_bary:
            dbary[view, y, x, 0] = du
            dbary[view, y, x, 1] = dv


@kernel("i8, i8, f4[:,:,:,::1], f4[:,:,::1], i4[:,::1], f4[:,:,:,::1], i8, i8, i8, b1, b1, f4[:,:,::1], f4[:,:,:,::1]")
def interpolate_backward(first, last, grad, attr, tri, rast, lead, unit, groups, want_attr, want_bary, dattr, dbary):
    """Gradient of `interpolate`. Tasks: groups.

    The B * H rows are split into `groups` runs, each with its own buffer in dattr (groups, V, C), to be added up in
    order; dbary (B, H, W, >=2) takes dL/du and dL/dv of every pixel.
    """
    views, height = rast.shape[0], rast.shape[1]
    rows = views * height
    for group in range(first, last):
        for row in range(group * rows // groups, (group + 1) * rows // groups):
            view = row // height
            batch = view if attr.shape[0] > 1 else 0
            _scatter_row(
                grad, attr, batch, tri, rast, view, row % height, lead, unit, group, want_attr, want_bary, dattr, dbary
            )
