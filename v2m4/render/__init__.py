"""Differentiable rasterisation: nvdiffrast's operations on the device of their tensors, and pictures of meshes on top.

`rasterize`, `interpolate`, `texture`, `antialias` and the fused `render_attributes` go to `cpu.py` (numba) or `cuda.py`
(nvdiffrast); their arguments are described in `cpu.py`. `render` and `render_mesh` are what most callers want.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from torch import Tensor


def _backend(tensor: Tensor) -> ModuleType:
    if tensor.device.type not in ("cpu", "cuda"):
        raise ValueError(f"rendering runs on cpu or cuda, got a tensor on {tensor.device}")
    return import_module(f"v2m4.render.{tensor.device.type}")


def rasterize(pos: Tensor, tri: Tensor, resolution: tuple[int, int], *, cull_backfaces: bool = False) -> Tensor:
    """Draw triangles: (B, V, 4), (F, 3) -> (B, H, W, 4) as (u, v, z/w, triangle + 1). See `cpu.rasterize`."""
    return _backend(pos).rasterize(pos, tri, resolution, cull_backfaces=cull_backfaces)


def interpolate(attr: Tensor, rast: Tensor, tri: Tensor) -> Tensor:
    """Vertex attributes over pixels: (1 or B, V, C), (B, H, W, 4), (F, 3) -> (B, H, W, C). See `cpu.interpolate`."""
    return _backend(rast).interpolate(attr, rast, tri)


def texture(tex: Tensor, uv: Tensor, *, boundary_mode: str = "wrap") -> Tensor:
    """Bilinear lookup: (1 or B, Ht, Wt, C), (B, H, W, 2) -> (B, H, W, C). See `cpu.texture`."""
    return _backend(uv).texture(tex, uv, boundary_mode=boundary_mode)


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
    """Smooth outlines: (B, H, W, C), (B, H, W, 4), (B, V, 4), (F, 3) -> (B, H, W, C). See `cpu.antialias`."""
    return _backend(rast).antialias(color, rast, pos, tri)


def render_attributes(
    pos: Tensor,
    tri: Tensor,
    attr: Tensor | None,
    resolution: tuple[int, int],
    *,
    textured: tuple[Tensor, Tensor, Tensor] | None = None,
    antialias: bool | int = True,
    unit: int | None = None,
    cull_backfaces: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mask, texture and attributes at once: (B, H, W, 1 + Ct + C) and rast. See `cpu.render_attributes`."""
    return _backend(pos).render_attributes(
        pos, tri, attr, resolution, textured=textured, antialias=antialias, unit=unit, cull_backfaces=cull_backfaces
    )


from v2m4.render.renderer import CHANNELS, Rendering, render, render_mesh  # noqa: E402  (it uses the operations above)

__all__ = [
    "CHANNELS",
    "Rendering",
    "antialias",
    "interpolate",
    "rasterize",
    "render",
    "render_attributes",
    "render_mesh",
    "texture",
]
