"""The render operations on a GPU, by nvdiffrast (Laine et al. 2020); same signatures, results and errors as `cpu.py`.

nvdiffrast is imported here only, when a CUDA tensor first arrives. It takes neither empty tensors nor strided ones,
does not look at indices, and draws both sides of triangles; what `cpu.py` promises beyond that is seen to here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.weak import WeakIdKeyDictionary

from v2m4.device import NVDIFFRAST
from v2m4.render._checks import (
    check_attributes,
    check_floats,
    check_indices,
    check_lookup,
    check_outlines,
    check_positions,
    check_rendering,
    check_resolution,
    check_triangles,
)

try:
    import nvdiffrast.torch as dr
except ImportError as error:
    raise ImportError(
        f"rendering on a GPU needs nvdiffrast: {NVDIFFRAST} (see Install.md), or run with --device cpu"
    ) from error

_contexts: dict[torch.device, dr.RasterizeCudaContext] = {}


def _context(device: torch.device) -> dr.RasterizeCudaContext:
    if device not in _contexts:
        _contexts[device] = dr.RasterizeCudaContext(device=device)
    return _contexts[device]


@dataclass
class _Triangles:
    """What is worked out once for a triangle list, as long as nobody changes it.

    Attributes:
        version: of the tensor when it was looked at.
        lowest: vertex index.
        highest: vertex index.
        neighbours: nvdiffrast's table of edges; made when first asked for.
    """

    version: int
    lowest: int
    highest: int
    neighbours: Any = None


_seen = WeakIdKeyDictionary()


def _mesh(tri: Tensor, vertices: int) -> _Triangles:
    """What is known of a triangle list that is right for a number of vertices; its indices are read once."""
    check_triangles(tri)
    version = -1 if tri.is_inference() else tri._version
    known = _seen.get(tri)
    if known is None or known.version != version or version < 0:
        lowest, highest = torch.stack(tri.aminmax()).tolist() if len(tri) else (0, -1)
        known = _seen[tri] = _Triangles(version, lowest, highest)
    check_indices(known.lowest, known.highest, vertices)
    return known


def _nothing(shape: tuple[int, ...], *inputs: Tensor) -> Tensor:
    """Zeros that follow from the inputs, so that gradients of nothing are zero and not an error."""
    return torch.zeros(shape, device=inputs[0].device) + sum(value.flatten()[:0].sum() for value in inputs)


def rasterize(pos: Tensor, tri: Tensor, resolution: tuple[int, int], *, cull_backfaces: bool = False) -> Tensor:
    """See `cpu.rasterize`. (B, V, 4), (F, 3) -> (B, H, W, 4)."""
    check_positions(pos)
    _mesh(tri, pos.shape[1])
    size = check_resolution(resolution)
    if not (len(pos) and len(tri)):
        return _nothing((len(pos), *size, 4), pos)
    if cull_backfaces:
        return _rasterize_fronts(pos.contiguous(), tri, size)
    rast, _ = dr.rasterize(_context(pos.device), pos.contiguous(), tri.contiguous(), size, grad_db=False)
    return rast


def _rasterize_fronts(pos: Tensor, tri: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw in each view the triangles that face it: nvdiffrast's range mode, a part of one long list for each view."""
    batch, vertices = pos.shape[:2]
    with torch.no_grad():
        corners = pos[..., [0, 1, 3]][:, tri.long()]
        views, fronts = torch.nonzero(torch.linalg.det(corners) < 0, as_tuple=True)
        counts = torch.bincount(views, minlength=batch).cpu()
        ranges = torch.stack([counts.cumsum(0) - counts, counts], 1).int().contiguous()
    if not len(fronts):
        return _nothing((batch, *size, 4), pos)
    listed = (tri[fronts] + vertices * views[:, None]).int().contiguous()
    rast, _ = dr.rasterize(_context(pos.device), pos.flatten(0, 1), listed, size, ranges=ranges, grad_db=False)
    ids = rast[..., 3:].detach().long()
    named = torch.where(ids > 0, fronts[(ids - 1).clamp_min(0)] + 1, 0)
    return torch.cat([rast[..., :3], named.to(rast)], -1)


def interpolate(attr: Tensor, rast: Tensor, tri: Tensor) -> Tensor:
    """See `cpu.interpolate`. (1 or B, V, C), (B, H, W, 4), (F, 3) -> (B, H, W, C)."""
    check_floats("rast", rast, "B", "H", "W", 4)
    check_attributes(attr, len(rast))
    _mesh(tri, attr.shape[1])
    if not (attr.numel() and len(tri) and len(rast)):
        return _nothing((*rast.shape[:3], attr.shape[2]), attr, rast)
    out, _ = dr.interpolate(attr.contiguous(), rast.contiguous(), tri.contiguous())
    return out


def texture(tex: Tensor, uv: Tensor, *, boundary_mode: str = "wrap") -> Tensor:
    """See `cpu.texture`. (1 or B, Ht, Wt, C), (B, H, W, 2) -> (B, H, W, C)."""
    check_lookup(tex, uv, boundary_mode)
    if not (tex.numel() and len(uv)):
        return _nothing((*uv.shape[:3], tex.shape[3]), tex, uv)
    return dr.texture(tex.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode=boundary_mode)


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
    """See `cpu.antialias`. (B, H, W, C), (B, H, W, 4), (B, V, 4), (F, 3) -> (B, H, W, C)."""
    check_outlines(color, rast, pos)
    known = _mesh(tri, pos.shape[1])
    if not (color.numel() and len(tri)):
        return color + _nothing((), pos)
    if known.neighbours is None:
        known.neighbours = dr.antialias_construct_topology_hash(tri.contiguous())
    parts = color.contiguous(), rast.detach().contiguous(), pos.contiguous(), tri.contiguous()
    return dr.antialias(*parts, topology_hash=known.neighbours)


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
    attr = check_rendering(pos, tri, attr, textured, unit)
    if textured is not None:
        _mesh(textured[2], textured[1].shape[1])
    rast = rasterize(pos, tri, resolution, cull_backfaces=cull_backfaces)
    mask = (rast[..., 3:] > 0).to(rast.dtype)
    parts = [mask]
    if textured is not None:
        tex, uvs, uv_tri = textured
        parts.append(mask * texture(tex, interpolate(uvs, rast, uv_tri)))
    leading = sum(part.shape[3] for part in parts)
    values = interpolate(attr, rast, tri)
    if unit is not None:
        normal = normalize(values[..., unit : unit + 3], dim=-1, eps=1e-12)
        values = torch.cat([values[..., :unit], normal, values[..., unit + 3 :]], -1)
    picture = torch.cat([*parts, values], -1)
    if antialias is False:
        return picture, rast.detach()
    smooth = picture.shape[3] if antialias is True else min(leading + int(antialias), picture.shape[3])
    return torch.cat([_smoothed(picture[..., :smooth], rast, pos, tri), picture[..., smooth:]], -1), rast.detach()


_smoothed = antialias  # under a name that no argument hides
