"""The operations of `cpu.py` as autograd functions: what each keeps for its gradient, and which kernels it runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from v2m4.render import _interpolation, _raster, _silhouette, _texture
from v2m4.render._topology import Topology
from v2m4.threads import share

_EVERYWHERE = np.empty((0, 0, 0, 4), np.float32)  # in place of a rast: no pixel is passed over


def _bands(views: int, height: int) -> int:
    """How many runs of rows each view is drawn in: work for several threads; the result does not depend on it.

    Every run looks at every triangle, so small pictures are cut into few.
    """
    return max(1, min(-(-8 // max(views, 1)), max(2, height // 64), height // 8))


def _rows(pixels: np.ndarray | Tensor) -> int:
    """Rows of all views (B, H, W, ...) together."""
    return pixels.shape[0] * pixels.shape[1]


def _slots(views: int) -> int:
    """How many gradient buffers each view has. Sets the order of sums, so it follows from the number of views alone."""
    return -(-4 // max(views, 1))


def _project(pos: np.ndarray, height: int, width: int) -> np.ndarray:
    screen = np.empty((pos.shape[0], pos.shape[1], 3))
    parts = 1 + pos.shape[1] // 8192
    share(_raster.project, len(pos) * parts, pos, parts, width, height, screen)
    return screen


def _draw(pos: np.ndarray, mesh: Topology, screen: np.ndarray, cull: bool, rast: np.ndarray) -> None:
    bands = _bands(*rast.shape[:2])
    share(_raster.rasterize, len(rast) * bands, pos, mesh.tri, screen, bands, cull, rast)


def _scatter_bary(dbary: np.ndarray, rast: np.ndarray, tri: np.ndarray, screen: np.ndarray, dpos: np.ndarray) -> None:
    share(_raster.rasterize_backward, len(dpos), dbary, rast, tri, screen, len(dpos) // len(rast), dpos)


def _folded(parts: np.ndarray, count: int) -> Tensor:
    """Add up runs of equal length: (count * n, V, C) -> (count, V, C)."""
    if len(parts) == count:
        return torch.from_numpy(parts)
    total = np.empty((count, *parts.shape[1:]), np.float32)
    pieces = 1 + parts.shape[1] // 1024
    share(_raster.fold, count * pieces, parts, len(parts) // count, pieces, total)
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
            share(
                _silhouette.find, views * bands, screen, mesh.tri, mesh.across, rast, mask_only, bands, cap, counts,
                items, distances,
            )  # fmt: skip
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
        share(
            _silhouette.blend, len(out), counts, items, distances, bands, self.starts, channels, out, self.kept,
            self.kept_t, self.contrast,
        )  # fmt: skip
        del self._found

    def backward(self, grad: np.ndarray, dcolor: np.ndarray, dpos: np.ndarray | None) -> None:
        """See `_silhouette.blend_backward`; dpos None asks for no gradient of the positions."""
        height, width = self.size
        slots = len(dpos) // len(grad) if dpos is not None else 1
        buffer = dpos if dpos is not None else np.empty((0, 0, 4), np.float32)
        share(
            _silhouette.blend_backward, len(grad), grad, self.screen, self.kept, self.kept_t, self.contrast,
            self.starts, width, height, slots, dpos is not None, dcolor, buffer,
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


class Rasterize(Function):
    @staticmethod
    def forward(ctx, pos: Tensor, mesh: Topology, size: tuple[int, int], cull: bool) -> Tensor:
        pos = pos.contiguous()
        rast = torch.empty((len(pos), *size, 4), dtype=torch.float32)
        vertices, pixels = pos.numpy(), rast.numpy()
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
        _scatter_bary(grad.contiguous().numpy(), rast.detach().numpy(), ctx.mesh.tri, ctx.screen, dpos)
        return _folded(dpos, len(pos)), None, None, None


class Interpolate(Function):
    @staticmethod
    def forward(ctx, attr: Tensor, rast: Tensor, mesh: Topology) -> Tensor:
        attr, rast = attr.contiguous(), rast.contiguous()
        out = torch.empty((*rast.shape[:3], attr.shape[2]), dtype=torch.float32)
        share(_interpolation.interpolate, _rows(rast), attr.numpy(), mesh.tri, rast.numpy(), 0, -1, out.numpy())
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
        share(
            _interpolation.interpolate_backward, len(dattr), grad.contiguous().numpy(), values, ctx.mesh.tri, pixels, 0,
            -1, len(dattr), want_attr, want_rast, dattr, drast.numpy(),
        )  # fmt: skip
        return _folded(dattr, len(attr)) if want_attr else None, drast if want_rast else None, None


class Antialias(Function):
    @staticmethod
    def forward(ctx, color: Tensor, pos: Tensor, rast: Tensor, mesh: Topology) -> Tensor:
        out = color.contiguous().clone()
        views, height, width, channels = out.shape
        vertices = pos.contiguous().numpy()
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
        ctx.outline.backward(grad.contiguous().numpy().reshape(flat), dcolor.numpy().reshape(flat), dpos)
        return dcolor, _folded(dpos, len(dcolor)) if dpos is not None else None, None, None


class Texture(Function):
    @staticmethod
    def forward(ctx, tex: Tensor, uv: Tensor, wrap: bool) -> Tensor:
        tex, uv = tex.contiguous(), uv.contiguous()
        out = torch.empty((*uv.shape[:3], tex.shape[3]), dtype=torch.float32)
        share(_texture.sample, _rows(uv), tex.numpy(), uv.numpy(), wrap, _EVERYWHERE, 0, out.numpy())
        ctx.wrap = wrap
        ctx.save_for_backward(tex, uv)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        tex, uv = (t.detach().numpy() for t in ctx.saved_tensors)
        values = grad.contiguous().numpy()
        return (*_texture_gradients(values, tex, uv, ctx.wrap, _EVERYWHERE, 0, *ctx.needs_input_grad[:2]), None)


def _texture_gradients(
    grad: np.ndarray, tex: np.ndarray, uv: np.ndarray, wrap: bool, rast: np.ndarray, first: int,
    want_tex: bool, want_uv: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of `_texture.sample` in the texture and in uv, each None where not wanted."""
    dtex = torch.zeros(tex.shape, dtype=torch.float32) if want_tex else None
    duv = torch.zeros(uv.shape, dtype=torch.float32) if want_uv else None
    if dtex is not None:
        stripes = max(1, min(tex.shape[1], -(-8 // len(tex))))
        share(_texture.sample_backward_tex, len(tex) * stripes, grad, uv, wrap, rast, first, stripes, dtex.numpy())
    if duv is not None:
        share(_texture.sample_backward_uv, _rows(uv), grad, tex, uv, wrap, rast, first, duv.numpy())
    return dtex, duv


class RenderAttributes(Function):
    @staticmethod
    def forward(
        ctx, pos: Tensor, attr: Tensor, tex: Tensor, uvs: Tensor, mesh: Topology, uv_mesh: Topology | None,
        size: tuple[int, int], unit: int, smooth: int, cull: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        pos, attr, tex, uvs = (value.contiguous() for value in (pos, attr, tex, uvs))
        views, lead = len(pos), 1 + tex.shape[3]
        rast = torch.empty((views, *size, 4), dtype=torch.float32)
        out = torch.empty((views, *size, lead + attr.shape[2]), dtype=torch.float32)
        vertices, pixels, picture = pos.numpy(), rast.numpy(), out.numpy()
        outline, uv = None, None
        screen = _project(vertices, *size)
        _draw(vertices, mesh, screen, cull, pixels)
        share(_interpolation.interpolate, _rows(pixels), attr.numpy(), mesh.tri, pixels, lead, unit, picture)
        if uv_mesh is not None:
            uv = np.empty((views, *size, 2), np.float32)
            share(_interpolation.interpolate, _rows(pixels), uvs.numpy(), uv_mesh.tri, pixels, 0, -1, uv)
            share(_texture.sample, _rows(uv), tex.numpy(), uv, True, pixels, 1, picture)
        if smooth:
            outline = _Outline(screen, mesh, pixels, smooth == 1)
            outline.blend(picture.reshape(views, size[0] * size[1], -1), smooth)
        ctx.mesh, ctx.uv_mesh, ctx.screen, ctx.uv, ctx.outline, ctx.unit = mesh, uv_mesh, screen, uv, outline, unit
        ctx.save_for_backward(pos, attr, tex, uvs, rast)
        ctx.mark_non_differentiable(rast)
        ctx.set_materialize_grads(False)
        return out, rast

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor | None, _):
        if grad is None:
            return (None,) * 10
        pos, attr, tex, uvs, pixels = (value.detach().numpy() for value in ctx.saved_tensors)
        want_pos, want_attr, want_tex, want_uvs = ctx.needs_input_grad[:4]
        given, lead, views = grad.contiguous().numpy(), 1 + tex.shape[3], len(pos)
        dpos = _position_buffers(pos.shape if want_pos else (views, 0))
        dattr, duvs = _attribute_buffers(attr, views), _attribute_buffers(uvs, views)
        dtex, dbary = None, np.zeros((0, 0, 0, 2), np.float32)
        if ctx.outline is not None:
            dcolor = given.copy()
            flat = (views, pixels.shape[1] * pixels.shape[2], grad.shape[3])
            ctx.outline.backward(given.reshape(flat), dcolor.reshape(flat), dpos if want_pos else None)
            given = dcolor
        if attr.shape[2]:
            dbary = np.empty((*pixels.shape[:3], 2), np.float32)
            share(
                _interpolation.interpolate_backward, len(dattr), given, attr, ctx.mesh.tri, pixels, lead, ctx.unit,
                len(dattr), want_attr, want_pos, dattr, dbary,
            )  # fmt: skip
        if ctx.uv_mesh is not None:
            dtex, duv = _texture_gradients(given, tex, ctx.uv, True, pixels, 1, want_tex, want_uvs or want_pos)
            if duv is not None:
                more = np.empty((*pixels.shape[:3], 2), np.float32)
                share(
                    _interpolation.interpolate_backward, len(duvs), duv.numpy(), uvs, ctx.uv_mesh.tri, pixels, 0, -1,
                    len(duvs), want_uvs, want_pos, duvs, more,
                )  # fmt: skip
                dbary = dbary + more if len(dbary) else more
        if want_pos and len(dbary):
            _scatter_bary(dbary, pixels, ctx.mesh.tri, ctx.screen, dpos)
        return (
            _folded(dpos, views) if want_pos else None,
            _folded(dattr, len(attr)) if want_attr else None,
            dtex,
            _folded(duvs, len(uvs)) if want_uvs else None,
            *(None,) * 6,
        )
