"""The differentiable rasteriser on the CPU: nvdiffrast's four operations, and all of them fused for optimisation loops.

Same meaning and signature as nvdiffrast (Laine et al. 2020), less the context object. Image row 0 is clip y = -1 and
texture row 0 is v = 0. Every sum runs in an order set by the shapes alone, so equal input gives equal bytes, whatever
the thread count (`v2m4.threads`). All tensors are float32 on the CPU; triangles are int32.
"""

from __future__ import annotations

from torch import Tensor

from v2m4.render._autograd import Antialias, Interpolate, Rasterize, RenderAttributes, Texture
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
from v2m4.render._topology import Topology, topology


def _mesh(tri: Tensor, vertices: int) -> Topology:
    check_triangles(tri)
    known = topology(tri.detach().contiguous().numpy())
    check_indices(known.lowest, known.highest, vertices)
    return known


def rasterize(
    pos: Tensor,  # (B, V, 4) clip space
    tri: Tensor,  # (F, 3) int32
    resolution: tuple[int, int],  # (H, W)
    *,
    cull_backfaces: bool = False,
) -> Tensor:
    """Draw triangles.

    Pixels with w <= 0 or z/w outside [-1, 1] are not drawn. Of triangles at the same depth the first in `tri` is seen.

    Args:
        pos: Vertices in clip space, (B, V, 4) float32.
        tri: Triangles, (F, 3) int32.
        resolution: Height and width in pixels.
        cull_backfaces: Leave out triangles whose corners run clockwise as seen in the picture.

    Returns:
        (B, H, W, 4) float32: u, v (perspective-correct weights of corners 0 and 1), z/w and triangle + 1; all zero
        where empty. Differentiable in `pos` through u and v.

    Raises:
        ValueError: For a wrong shape, dtype, device or vertex index.
    """
    check_positions(pos)
    return Rasterize.apply(pos, _mesh(tri, pos.shape[1]), check_resolution(resolution), cull_backfaces)


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
    return Interpolate.apply(attr, rast, mesh)


def texture(tex: Tensor, uv: Tensor, *, boundary_mode: str = "wrap") -> Tensor:
    """Look a texture up, bilinearly.

    Args:
        tex: (B or 1, Ht, Wt, C) float32; row 0 is v = 0.
        uv: (B, H, W, 2) float32.
        boundary_mode: "wrap" repeats the texture, "clamp" repeats its border.

    Returns:
        (B, H, W, C) float32. Differentiable in `tex` and `uv`.
    """
    check_lookup(tex, uv, boundary_mode)
    return Texture.apply(tex, uv, boundary_mode == "wrap")


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
    check_outlines(color, rast, pos)
    return Antialias.apply(color, pos, rast.detach(), _mesh(tri, pos.shape[1]))


def render_attributes(
    pos: Tensor,  # (B, V, 4) clip space
    tri: Tensor,  # (F, 3) int32
    attr: Tensor | None,  # (B or 1, V, C)
    resolution: tuple[int, int],  # (H, W)
    *,
    textured: tuple[Tensor, Tensor, Tensor] | None = None,  # (B or 1, Ht, Wt, Ct), (B or 1, U, 2), (F, 3) int32
    antialias: bool | int = True,
    unit: int | None = None,
    cull_backfaces: bool = False,
) -> tuple[Tensor, Tensor]:
    """Rasterise, interpolate, texture and antialias in one step: the fast path for optimisation loops.

    Args:
        pos: Vertices in clip space, (B, V, 4) float32.
        tri: Triangles, (F, 3) int32.
        attr: Vertex attributes, (B or 1, V, C) float32; None for none.
        resolution: Height and width in pixels.
        textured: A texture (B or 1, Ht, Wt, Ct), its coordinates (B or 1, U, 2) and their triangles (F, 3) int32.
        antialias: True smooths all channels, False none; a number smooths the mask, the texture's colour and that many
            leading attributes.
        unit: First of three attributes that are scaled to unit length in every pixel (normals).
        cull_backfaces: As in `rasterize`.

    Returns:
        Picture (B, H, W, 1 + Ct + C): the coverage mask, the texture's colour, the attributes; and rast (B, H, W, 4).
        The picture is differentiable in `pos`, `attr` and the texture with its coordinates; rast is not.
    """
    attr = check_rendering(pos, tri, attr, textured, unit)
    channels, uv_mesh = attr.shape[2], None
    if textured is None:
        tex, uvs = pos.new_empty((1, 1, 1, 0)), pos.new_empty((1, 0, 2))
    else:
        tex, uvs, uv_tri = textured
        uv_mesh = _mesh(uv_tri, uvs.shape[1])
    leading = channels if antialias is True else min(int(antialias), channels)
    return RenderAttributes.apply(
        pos, attr, tex, uvs, _mesh(tri, pos.shape[1]), uv_mesh, check_resolution(resolution),
        -1 if unit is None else unit, 0 if antialias is False else 1 + tex.shape[3] + leading, cull_backfaces,
    )  # fmt: skip
