"""Argument checks of the render operations; each error quotes what it got."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_TRIANGLES = 1 << 24  # triangle ids travel in a float32


def check_floats(name: str, value: Tensor, *shape: int | str) -> None:
    """Raise ValueError unless `value` is float32 of the given shape, where a string stands for any size."""
    fits = value.dim() == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits or value.dtype != torch.float32:
        wanted = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name} must be float32 ({wanted}), got {value.dtype} {tuple(value.shape)}")


def check_positions(pos: Tensor) -> None:
    """Raise ValueError unless `pos` is (B, V, 4) float32."""
    check_floats("pos", pos, "B", "V", 4)


def check_attributes(attr: Tensor, batch: int, vertices: int | None = None) -> None:
    """Raise ValueError unless `attr` is (1 or batch, vertices, C) float32."""
    check_floats("attr", attr, "B", "V" if vertices is None else vertices, "C")
    if len(attr) not in (1, batch):
        raise ValueError(f"attr must have batch size 1 or {batch}, got {tuple(attr.shape)}")


def check_triangles(tri: Tensor) -> None:
    """Raise ValueError unless `tri` is (F, 3) int32."""
    if tri.dim() != 2 or tri.shape[1] != 3 or tri.dtype != torch.int32:
        raise ValueError(f"tri must be int32 (F, 3), got {tri.dtype} {tuple(tri.shape)}")
    if len(tri) >= MAX_TRIANGLES:
        raise ValueError(f"tri must have fewer than {MAX_TRIANGLES} triangles, got {len(tri)}")


def check_resolution(resolution: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) as whole numbers, or raise ValueError."""
    height, width = (int(n) for n in resolution)
    if height < 1 or width < 1:
        raise ValueError(f"resolution must be (H, W) of at least 1, got {tuple(resolution)}")
    return height, width


def check_texture(tex: Tensor, batch: int) -> None:
    """Raise ValueError unless `tex` is (1 or batch, Ht, Wt, C) float32 with at least one texel."""
    check_floats("tex", tex, "B", "Ht", "Wt", "C")
    if len(tex) not in (1, batch) or not (tex.shape[1] and tex.shape[2]):
        raise ValueError(f"tex must be (1 or {batch}, Ht, Wt, C) and not empty, got {tuple(tex.shape)}")


def check_indices(lowest: int, highest: int, vertices: int) -> None:
    """Raise ValueError unless triangles with these indices fit a list of vertices."""
    if lowest < 0 or highest >= vertices:
        raise ValueError(f"tri names vertices {lowest} to {highest}, but there are {vertices} (0 to {vertices - 1})")


def check_lookup(tex: Tensor, uv: Tensor, boundary_mode: str) -> None:
    """Raise ValueError unless the arguments are those of `texture`."""
    check_floats("uv", uv, "B", "H", "W", 2)
    check_texture(tex, len(uv))
    if boundary_mode not in ("wrap", "clamp"):
        raise ValueError(f"boundary_mode must be 'wrap' or 'clamp', got {boundary_mode!r}")


def check_outlines(color: Tensor, rast: Tensor, pos: Tensor) -> None:
    """Raise ValueError unless the arguments are those of `antialias`."""
    check_floats("rast", rast, "B", "H", "W", 4)
    check_floats("color", color, *rast.shape[:3], "C")
    check_positions(pos)
    if len(pos) != len(rast):
        raise ValueError(f"pos and rast must have one batch size, got {tuple(pos.shape)} and {tuple(rast.shape)}")


def check_rendering(
    pos: Tensor, tri: Tensor, attr: Tensor | None, textured: tuple[Tensor, Tensor, Tensor] | None, unit: int | None
) -> Tensor:
    """Return the attributes of `render_attributes`, none as (1, V, 0), or raise ValueError."""
    check_positions(pos)
    if attr is None:
        attr = pos.new_empty((1, pos.shape[1], 0))
    check_attributes(attr, len(pos), pos.shape[1])
    if unit is not None and not 0 <= unit <= attr.shape[2] - 3:
        raise ValueError(f"unit must name three of the {attr.shape[2]} attributes by their first, got {unit}")
    if textured is not None:
        tex, uvs, uv_tri = textured
        check_texture(tex, len(pos))
        check_floats("uvs", uvs, "B", "U", 2)
        check_attributes(uvs, len(pos))
        if len(uv_tri) != len(tri):
            raise ValueError(f"uv_tri must have a triangle for each of tri, got {len(uv_tri)} for {len(tri)}")
    return attr
