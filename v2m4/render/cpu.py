"""The differentiable rasteriser on the CPU: nvdiffrast's four operations, and all of them fused for optimisation loops.

Same meaning and signature as nvdiffrast (Laine et al. 2020), less the context object. Image row 0 is clip y = -1 and texture
row 0 is v = 0. Every sum runs in an order set by the shapes alone, so equal input gives equal bytes, whatever the thread count
(`numba.set_num_threads`). All tensors are float32 on the CPU; triangles are int32.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from v2m4.render import _interpolation, _raster, _silhouette, _texture
from v2m4.render._checks import check_attributes, check_floats, check_positions, check_resolution, check_triangles
from v2m4.render._topology import Topology, topology

# Numba's fallback threading layer ("workqueue") aborts when two Python threads use it at once.
_launch = threading.Lock()


def _bands(views: int, height: int) -> int:
    """How many runs of rows each view is drawn in: enough work for several threads; the result does not depend on it."""
    return max(1, min(-(-8 // max(views, 1)), height // 8))


def _slots(views: int) -> int:
    """How many gradient buffers each view has. Sets the order of sums, so it follows from the number of views alone."""
    return -(-4 // max(views, 1))


def _mesh(tri: Tensor, vertices: int) -> Topology:
    check_triangles(tri)
    known = topology(tri.detach().contiguous().numpy())
    if known.lowest < 0 or known.highest >= vertices:
        raise ValueError(
            f"tri names vertices {known.lowest} to {known.highest}, but there are {vertices} (0 to {vertices - 1})"
        )
    return known


def _project(pos: np.ndarray, height: int, width: int) -> np.ndarray:
    screen = np.empty((pos.shape[0], pos.shape[1], 3))
    _raster.project(pos, width, height, screen)
    return screen


def _draw(pos: np.ndarray, mesh: Topology, screen: np.ndarray, cull: bool, rast: np.ndarray) -> None:
    _raster.rasterize(pos, mesh.tri, screen, _bands(*rast.shape[:2]), cull, rast)


def _scatter_bary(dbary: np.ndarray, rast: np.ndarray, tri: np.ndarray, screen: np.ndarray, dpos: np.ndarray) -> None:
    _raster.rasterize_backward(dbary, rast, tri, screen, len(dpos) // len(rast), dpos)


def _folded(parts: np.ndarray, count: int) -> Tensor:
    """Add up runs of equal length: (count * n, V, C) -> (count, V, C)."""
    if len(parts) == count:
        return torch.from_numpy(parts)
    total = np.empty((count, *parts.shape[1:]), np.float32)
    _raster.fold(parts, len(parts) // count, total)
    return torch.from_numpy(total)


class _Outline:
    """The blends that antialiasing made in one picture stack, kept for the backward pass."""

    def __init__(self, screen: np.ndarray, mesh: Topology, rast: np.ndarray, mask_only: bool) -> None:
        views, height, width = rast.shape[:3]
        self.screen, self.size = screen, (height, width)
        bands = _bands(views, height)
        counts = np.zeros(views * bands, np.int64)
        cap = 256 + height * width // (8 * bands)
        while True:
            items = np.empty((views * bands, cap, 4), np.int32)
            distances = np.empty((views * bands, cap), np.float32)
            _silhouette.find(screen, mesh.tri, mesh.across, rast, mask_only, bands, cap, counts, items, distances)
            most = int(counts.max(initial=0))
            if most <= cap:
                break
            cap = most
        self._found = (counts, items, distances, bands)
        self.starts = np.zeros(views + 1, np.int64)
        np.cumsum(counts.reshape(views, bands).sum(1), out=self.starts[1:])

    def blend(self, out: np.ndarray, channels: int) -> None:
        """Blend the leading channels of out (B, H * W, C) in place."""
        total = int(self.starts[-1])
        self.kept = np.empty((total, 4), np.int32)
        self.kept_t = np.empty(total, np.float32)
        self.contrast = np.empty((total, channels), np.float32)
        counts, items, distances, bands = self._found
        _silhouette.blend(
            counts, items, distances, bands, self.starts, channels, out, self.kept, self.kept_t, self.contrast
        )
        del self._found

    def backward(self, grad: np.ndarray, dcolor: np.ndarray, dpos: np.ndarray | None) -> None:
        """See `_silhouette.blend_backward`; dpos None asks for no gradient of the positions."""
        height, width = self.size
        slots = len(dpos) // len(grad) if dpos is not None else 1
        buffer = dpos if dpos is not None else np.empty((0, 0, 4), np.float32)
        _silhouette.blend_backward(
            grad, self.screen, self.kept, self.kept_t, self.contrast, self.starts, width, height, slots,
            dpos is not None, dcolor, buffer,
        )  # fmt: skip


def _position_buffers(pos_shape: tuple[int, ...]) -> np.ndarray:
    views, vertices = pos_shape[:2]
    return np.zeros((views * _slots(views), vertices, 4), np.float32)


def _attribute_buffers(attr: np.ndarray, views: int) -> np.ndarray:
    """One buffer per run of rows; fewer where they would not fit in about 256 MB."""
    batch, vertices, channels = attr.shape
    if batch > 1:
        return np.zeros((views * _slots(views), vertices, channels), np.float32)
    room = max(1, (64 << 20) // max(1, vertices * channels))
    return np.zeros((max(1, min(views * _slots(views), 16, room)), vertices, channels), np.float32)


class _Rasterize(Function):
    @staticmethod
    def forward(ctx, pos: Tensor, mesh: Topology, size: tuple[int, int], cull: bool) -> Tensor:
        pos = pos.contiguous()
        rast = torch.empty((len(pos), *size, 4), dtype=torch.float32)
        vertices, pixels = pos.numpy(), rast.numpy()
        with _launch:
            screen = _project(vertices, *size)
            _draw(vertices, mesh, screen, cull, pixels)
        ctx.mesh, ctx.screen = mesh, screen
        ctx.save_for_backward(pos, rast)
        return rast

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        pos, rast = ctx.saved_tensors
        dpos = _position_buffers(pos.shape)
        with _launch:
            _scatter_bary(grad.contiguous().numpy(), rast.detach().numpy(), ctx.mesh.tri, ctx.screen, dpos)
            return _folded(dpos, len(pos)), None, None, None


class _Interpolate(Function):
    @staticmethod
    def forward(ctx, attr: Tensor, rast: Tensor, mesh: Topology) -> Tensor:
        attr, rast = attr.contiguous(), rast.contiguous()
        out = torch.empty((*rast.shape[:3], attr.shape[2]), dtype=torch.float32)
        with _launch:
            _interpolation.interpolate(attr.numpy(), mesh.tri, rast.numpy(), 0, -1, out.numpy())
        ctx.mesh = mesh
        ctx.save_for_backward(attr, rast)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        attr, rast = (t.detach() for t in ctx.saved_tensors)
        want_attr, want_rast = ctx.needs_input_grad[:2]
        values, pixels = attr.numpy(), rast.numpy()
        dattr = _attribute_buffers(values, len(rast))
        drast = torch.zeros_like(rast)
        with _launch:
            _interpolation.interpolate_backward(
                grad.contiguous().numpy(), values, ctx.mesh.tri, pixels, 0, -1, len(dattr), want_attr, want_rast, dattr,
                drast.numpy(),
            )  # fmt: skip
            return _folded(dattr, len(attr)) if want_attr else None, drast if want_rast else None, None


class _Antialias(Function):
    @staticmethod
    def forward(ctx, color: Tensor, pos: Tensor, rast: Tensor, mesh: Topology) -> Tensor:
        out = color.contiguous().clone()
        views, height, width, channels = out.shape
        vertices = pos.contiguous().numpy()
        with _launch:
            outline = _Outline(_project(vertices, height, width), mesh, rast.contiguous().numpy(), False)
            outline.blend(out.numpy().reshape(views, height * width, channels), channels)
        ctx.outline, ctx.vertices = outline, pos.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        dcolor = grad.contiguous().clone()
        flat = (dcolor.shape[0], -1, dcolor.shape[3])
        dpos = _position_buffers(ctx.vertices) if ctx.needs_input_grad[1] else None
        with _launch:
            ctx.outline.backward(grad.contiguous().numpy().reshape(flat), dcolor.numpy().reshape(flat), dpos)
            return dcolor, _folded(dpos, len(dcolor)) if dpos is not None else None, None, None


class _Texture(Function):
    @staticmethod
    def forward(ctx, tex: Tensor, uv: Tensor, wrap: bool) -> Tensor:
        tex, uv = tex.contiguous(), uv.contiguous()
        out = torch.empty((*uv.shape[:3], tex.shape[3]), dtype=torch.float32)
        with _launch:
            _texture.sample(tex.numpy(), uv.numpy(), wrap, out.numpy())
        ctx.wrap = wrap
        ctx.save_for_backward(tex, uv)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        tex, uv = (t.detach() for t in ctx.saved_tensors)
        want_tex, want_uv = ctx.needs_input_grad[:2]
        values = grad.contiguous().numpy()
        dtex = torch.zeros_like(tex) if want_tex else None
        duv = torch.empty_like(uv) if want_uv else None
        with _launch:
            if dtex is not None:
                stripes = max(1, min(tex.shape[1], -(-8 // len(tex))))
                _texture.sample_backward_tex(values, uv.numpy(), ctx.wrap, stripes, dtex.numpy())
            if duv is not None:
                _texture.sample_backward_uv(values, tex.numpy(), uv.numpy(), ctx.wrap, duv.numpy())
        return dtex, duv, None


class _RenderAttributes(Function):
    @staticmethod
    def forward(ctx, pos: Tensor, attr: Tensor, mesh: Topology, size, unit: int, smooth: int, cull: bool):
        pos, attr = pos.contiguous(), attr.contiguous()
        views, channels = len(pos), 1 + attr.shape[2]
        rast = torch.empty((views, *size, 4), dtype=torch.float32)
        out = torch.empty((views, *size, channels), dtype=torch.float32)
        vertices, pixels, picture = pos.numpy(), rast.numpy(), out.numpy()
        outline = None
        with _launch:
            screen = _project(vertices, *size)
            _draw(vertices, mesh, screen, cull, pixels)
            _interpolation.interpolate(attr.numpy(), mesh.tri, pixels, 1, unit, picture)
            if smooth:
                outline = _Outline(screen, mesh, pixels, smooth == 1)
                outline.blend(picture.reshape(views, -1, channels), smooth)
        ctx.mesh, ctx.screen, ctx.outline, ctx.unit = mesh, screen, outline, unit
        ctx.save_for_backward(pos, attr, rast)
        ctx.mark_non_differentiable(rast)
        ctx.set_materialize_grads(False)
        return out, rast

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor | None, _):
        if grad is None:
            return (None,) * 7
        pos, attr, rast = (t.detach() for t in ctx.saved_tensors)
        want_pos, want_attr = ctx.needs_input_grad[:2]
        pixels, values = rast.numpy(), attr.numpy()
        flat = (len(pos), -1, grad.shape[3])
        given = grad.contiguous().numpy()
        dpos = _position_buffers(pos.shape) if want_pos else None
        dattr = _attribute_buffers(values, len(pos))
        with _launch:
            if ctx.outline is not None:
                dcolor = given.copy()
                ctx.outline.backward(given.reshape(flat), dcolor.reshape(flat), dpos)
                given = dcolor
            if values.shape[2]:
                dbary = np.empty((*pixels.shape[:3], 2), np.float32)
                _interpolation.interpolate_backward(
                    given, values, ctx.mesh.tri, pixels, 1, ctx.unit, len(dattr), want_attr, want_pos, dattr, dbary
                )
                if want_pos:
                    _scatter_bary(dbary, pixels, ctx.mesh.tri, ctx.screen, dpos)
            return (
                _folded(dpos, len(pos)) if want_pos else None,
                _folded(dattr, len(attr)) if want_attr else None,
                *(None,) * 5,
            )


def rasterize(
    pos: Tensor,  # (B, V, 4) clip space
    tri: Tensor,  # (F, 3) int32
    resolution: tuple[int, int],  # (H, W)
    *,
    cull_backfaces: bool = False,
) -> Tensor:
    """Draw triangles.

    Pixels with w <= 0 or z/w outside [-1, 1] are not drawn. Of two triangles at the same depth the first in `tri` is seen.

    Args:
        pos: Vertices in clip space, (B, V, 4) float32.
        tri: Triangles, (F, 3) int32.
        resolution: Height and width in pixels.
        cull_backfaces: Leave out triangles whose corners run clockwise as seen in the picture.

    Returns:
        (B, H, W, 4) float32: u, v (perspective-correct weights of corners 0 and 1), z/w and triangle + 1; all zero where empty.
        Differentiable in `pos` through u and v.

    Raises:
        ValueError: For a wrong shape, dtype, device or vertex index.
    """
    check_positions(pos)
    return _Rasterize.apply(pos, _mesh(tri, pos.shape[1]), check_resolution(resolution), cull_backfaces)


def interpolate(attr: Tensor, rast: Tensor, tri: Tensor) -> Tensor:
    """Interpolate vertex attributes over pixels.

    Args:
        attr: (B or 1, V, C) float32.
        rast: (B, H, W, 4), from `rasterize`.
        tri: (F, 3) int32, the triangles drawn (or others of the same number, such as texture coordinates' triangles).

    Returns:
        (B, H, W, C) float32, zero where empty. Differentiable in `attr` and `rast`.
    """
    check_floats("rast", rast, "B", "H", "W", 4)
    check_attributes(attr, len(rast))
    mesh = _mesh(tri, attr.shape[1])
    return _Interpolate.apply(attr, rast, mesh)


def texture(tex: Tensor, uv: Tensor, *, boundary_mode: str = "wrap") -> Tensor:
    """Look a texture up, bilinearly.

    Args:
        tex: (B or 1, Ht, Wt, C) float32; row 0 is v = 0.
        uv: (B, H, W, 2) float32.
        boundary_mode: "wrap" repeats the texture, "clamp" repeats its border.

    Returns:
        (B, H, W, C) float32. Differentiable in `tex` and `uv`.
    """
    check_floats("uv", uv, "B", "H", "W", 2)
    check_floats("tex", tex, "B", "Ht", "Wt", "C")
    if len(tex) not in (1, len(uv)) or not (tex.shape[1] and tex.shape[2]):
        raise ValueError(f"tex must be (1 or {len(uv)}, Ht, Wt, C) and not empty, got {tuple(tex.shape)}")
    if boundary_mode not in ("wrap", "clamp"):
        raise ValueError(f"boundary_mode must be 'wrap' or 'clamp', got {boundary_mode!r}")
    return _Texture.apply(tex, uv, boundary_mode == "wrap")


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
    """Smooth outlines by how far each passes between two pixel centres, so that pictures follow the outlines.

    Args:
        color: (B, H, W, C) float32.
        rast: (B, H, W, 4), from `rasterize`.
        pos: (B, V, 4) float32, as given to `rasterize`.
        tri: (F, 3) int32.

    Returns:
        (B, H, W, C) float32. Differentiable in `color` and `pos`.
    """
    check_floats("rast", rast, "B", "H", "W", 4)
    check_floats("color", color, *rast.shape[:3], "C")
    check_positions(pos)
    if len(pos) != len(rast):
        raise ValueError(f"pos and rast must have one batch size, got {tuple(pos.shape)} and {tuple(rast.shape)}")
    return _Antialias.apply(color, pos, rast.detach(), _mesh(tri, pos.shape[1]))


def render_attributes(
    pos: Tensor,  # (B, V, 4) clip space
    tri: Tensor,  # (F, 3) int32
    attr: Tensor | None,  # (B or 1, V, C)
    resolution: tuple[int, int],  # (H, W)
    *,
    antialias: bool | int = True,
    unit: int | None = None,
    cull_backfaces: bool = False,
) -> tuple[Tensor, Tensor]:
    """Rasterise, interpolate and antialias in one step, with a coverage mask: the fast path for optimisation loops.

    Args:
        pos: Vertices in clip space, (B, V, 4) float32.
        tri: Triangles, (F, 3) int32.
        attr: Vertex attributes, (B or 1, V, C) float32; None for the mask alone.
        resolution: Height and width in pixels.
        antialias: True smooths all channels, False none; a number smooths the mask and that many leading attributes.
        unit: First of three attributes that are scaled to unit length in every pixel (normals).
        cull_backfaces: As in `rasterize`.

    Returns:
        Picture (B, H, W, 1 + C), the mask first, and rast (B, H, W, 4). The picture is differentiable in `pos` and `attr`; rast is
        not.
    """
    check_positions(pos)
    if attr is None:
        attr = pos.new_empty((1, pos.shape[1], 0))
    check_attributes(attr, len(pos), pos.shape[1])
    channels = attr.shape[2]
    if unit is not None and not 0 <= unit <= channels - 3:
        raise ValueError(f"unit must name three of the {channels} attributes by their first, got {unit}")
    if antialias is True:
        smooth = 1 + channels
    else:
        smooth = 1 + min(int(antialias), channels) if antialias is not False else 0
    return _RenderAttributes.apply(
        pos, attr, _mesh(tri, pos.shape[1]), check_resolution(resolution), -1 if unit is None else unit, smooth,
        cull_backfaces,
    )  # fmt: skip
