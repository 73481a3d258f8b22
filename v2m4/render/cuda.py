"""The render operations on a GPU, by nvdiffrast (Laine et al. 2020); same signatures as `cpu.py`.

nvdiffrast is imported here only, when a CUDA tensor first arrives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from v2m4.render._checks import check_attributes, check_floats, check_positions, check_resolution, check_triangles

try:
    import nvdiffrast.torch as dr
except ImportError as error:
    raise ImportError(
        "rendering on a GPU needs nvdiffrast: pip install git+https://github.com/NVlabs/nvdiffrast.git "
        "(see Install.md), or run with --device cpu"
    ) from error

_contexts: dict[torch.device, dr.RasterizeCudaContext] = {}


def _context(device: torch.device) -> dr.RasterizeCudaContext:
    if device not in _contexts:
        _contexts[device] = dr.RasterizeCudaContext(device=device)
    return _contexts[device]


def rasterize(pos: Tensor, tri: Tensor, resolution: tuple[int, int], *, cull_backfaces: bool = False) -> Tensor:
    """See `cpu.rasterize`. (B, V, 4), (F, 3) -> (B, H, W, 4)."""
    check_positions(pos)
    check_triangles(tri)
    size = check_resolution(resolution)
    if cull_backfaces:
        raise NotImplementedError("cull_backfaces: nvdiffrast draws both sides")
    if not (len(pos) and len(tri)):
        return pos.new_zeros((len(pos), *size, 4))
    rast, _ = dr.rasterize(_context(pos.device), pos.contiguous(), tri.contiguous(), size, grad_db=False)
    return rast


def interpolate(attr: Tensor, rast: Tensor, tri: Tensor) -> Tensor:
    """See `cpu.interpolate`. (1 or B, V, C), (B, H, W, 4), (F, 3) -> (B, H, W, C)."""
    check_floats("rast", rast, "B", "H", "W", 4)
    check_attributes(attr, len(rast))
    check_triangles(tri)
    if not (attr.numel() and len(tri)):
        return attr.new_zeros((*rast.shape[:3], attr.shape[2]))
    out, _ = dr.interpolate(attr.contiguous(), rast.contiguous(), tri.contiguous())
    return out


def texture(tex: Tensor, uv: Tensor, *, boundary_mode: str = "wrap") -> Tensor:
    """See `cpu.texture`. (1 or B, Ht, Wt, C), (B, H, W, 2) -> (B, H, W, C)."""
    check_floats("uv", uv, "B", "H", "W", 2)
    return dr.texture(tex.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode=boundary_mode)


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
    """See `cpu.antialias`. (B, H, W, C), (B, H, W, 4), (B, V, 4), (F, 3) -> (B, H, W, C)."""
    check_floats("color", color, *rast.shape[:3], "C")
    if not (len(pos) and len(tri)):
        return color
    return dr.antialias(color.contiguous(), rast.contiguous(), pos.contiguous(), tri.contiguous())


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
    """See `cpu.render_attributes`. Returns the picture (B, H, W, 1 + Ct + C) and rast (B, H, W, 4)."""
    rast = rasterize(pos, tri, resolution, cull_backfaces=cull_backfaces)
    mask = (rast[..., 3:] > 0).to(rast.dtype)
    parts = [mask]
    if textured is not None:
        tex, uvs, uv_tri = textured
        parts.append(mask * texture(tex, interpolate(uvs, rast, uv_tri)))
    leading = sum(part.shape[3] for part in parts)
    if attr is not None and attr.shape[2]:
        values = interpolate(attr, rast, tri)
        if unit is not None:
            normal = torch.nn.functional.normalize(values[..., unit : unit + 3], dim=-1, eps=1e-12)
            values = torch.cat([values[..., :unit], normal, values[..., unit + 3 :]], -1)
        parts.append(values)
    picture = torch.cat(parts, -1)
    if antialias is False:
        return picture, rast.detach()
    smooth = picture.shape[3] if antialias is True else min(leading + int(antialias), picture.shape[3])
    return torch.cat([_smoothed(picture[..., :smooth], rast, pos, tri), picture[..., smooth:]], -1), rast.detach()


_smoothed = antialias  # under a name that no argument hides
