"""Encoder of pairs of frames, the reference and a later one: convolutions over both, in few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm, pixel_unshuffle

FOLD = 4  # pixels of a side that become channels
STRIDE = 16  # pixels of a side of a token
DARKEST = 0.5 / 255  # brightest channel of black


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W)."""
        normal = layer_norm(maps.permute(0, 2, 3, 1), self.scale.shape, self.scale).permute(0, 3, 1, 2)
        return maps + self.second(nn.functional.silu(self.first(normal)))


class PairEncoder(nn.Module):
    """Tokens of all frames but the reference.

    Args:
        size: side of the frames, pixels, a multiple of 16.
        width: channels of a token.
        hidden: channels of the maps at a quarter of the resolution.
    """

    def __init__(self, size: int, width: int, hidden: int) -> None:
        super().__init__()
        if size % STRIDE:
            raise ValueError(f"image_size: the encoder of pairs needs a multiple of {STRIDE}, got {size}")
        self.size = size
        self.stem = nn.Conv2d(8 * FOLD**2, hidden, 3, padding=1)
        self.fine = Block(hidden)
        self.to_middle = nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1)
        self.middle = Block(2 * hidden)
        self.to_coarse = nn.Conv2d(2 * hidden, 3 * hidden, 3, stride=2, padding=1)
        self.coarse = Block(3 * hidden)
        self.to_tokens = nn.Conv2d(3 * hidden, width, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor) -> Tensor:
        """Tokens (B * (T - 1), L, C) of frames (B, T, 3, H, W), sRGB in [0, 1], the object on black."""
        count = frames.shape[1] - 1
        pictures = frames.flatten(0, 1)
        if pictures.shape[-1] != self.size or pictures.shape[-2] != self.size:
            pictures = interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        pictures = torch.cat([pictures, (pictures.amax(1, keepdim=True) > DARKEST).to(pictures)], 1)
        folded = pixel_unshuffle(pictures, FOLD).unflatten(0, frames.shape[:2])
        pairs = torch.cat([folded[:, :1].expand(-1, count, -1, -1, -1), folded[:, 1:]], 2).flatten(0, 1)
        maps = self.fine(self.stem(pairs.contiguous(memory_format=torch.channels_last)))
        maps = self.coarse(self.to_coarse(self.middle(self.to_middle(maps))))
        return self.to_tokens(maps).flatten(2).transpose(1, 2)
