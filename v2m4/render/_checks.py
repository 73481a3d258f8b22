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
