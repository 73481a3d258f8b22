"""Embeddings of surface points and of image tokens' places in the video."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

IMAGE_OCTAVES = 7.0  # range of the frequencies of an image token's place, powers of two


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the mesh in the pose of the reference frame, in the cube [-0.5, 0.5]^3.

    Attributes:
        points: (B, N, 3) positions.
        normals: (B, N, 3) unit normals.
        colors: (B, N, 3) sRGB in [0, 1].
        observed: (B, T - 1, N, ``observations.CHANNELS``) what the later frames of a window show of them; None for
            networks that are not told.
    """

    points: Tensor
    normals: Tensor
    colors: Tensor
    observed: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.points.shape
        if len(shape) != 3 or shape[-1] != 3:
            raise ValueError(f"points: expected (B, N, 3), got {tuple(shape)}")
        for name, value in (("normals", self.normals), ("colors", self.colors)):
            if value.shape != shape:
                raise ValueError(f"{name}: expected {tuple(shape)} as the points, got {tuple(value.shape)}")

    def __len__(self) -> int:
        return self.points.shape[1]

    def to(self, device: torch.device | str) -> SurfacePoints:
        """The same points on ``device``."""
        observed = None if self.observed is None else self.observed.to(device)
        return SurfacePoints(self.points.to(device), self.normals.to(device), self.colors.to(device), observed)

    def part(self, start: int, stop: int) -> SurfacePoints:
        """The points from ``start`` to before ``stop``."""
        where = slice(start, stop)
        observed = None if self.observed is None else self.observed[:, :, where]
        return SurfacePoints(self.points[:, where], self.normals[:, where], self.colors[:, where], observed)

    def seen_in(self, observed: Tensor) -> SurfacePoints:
        """The same points with what other frames show of them."""
        return SurfacePoints(self.points, self.normals, self.colors, observed)


class PointEmbedding(nn.Module):
    """Tokens of surface points: Fourier features of the position, then normal and colour."""

    frequencies: Tensor

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(levels), persistent=False)
        self.position = nn.Linear(6 * levels + 3, width)
        self.appearance = nn.Linear(width + 6, width)

    def forward(self, surface: SurfacePoints) -> Tensor:
        """Tokens (B, N, C), in single precision also under autocast: high frequencies need all digits."""
        with torch.autocast(surface.points.device.type, enabled=False):
            points = surface.points.float()
            angles = (points[..., None] * self.frequencies).flatten(-2)  # levels of x, of y, of z
            features = self.position(torch.cat([angles.sin(), angles.cos(), points], -1))
            return self.appearance(torch.cat([features, surface.normals.float(), surface.colors.float()], -1))


def coordinates(count: int) -> Tensor:
    """Equally spaced coordinates in [-1, 1], (count,); 0 for a single one."""
    return torch.linspace(-1, 1, count) if count > 1 else torch.zeros(count)


def waves(values: Tensor, channels: int) -> Tensor:
    """Sine and cosine of values (N,) at ``channels / 2`` frequencies from 1 to 128, (N, channels)."""
    frequencies = 2.0 ** torch.linspace(0, IMAGE_OCTAVES, channels // 2)
    angles = values[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


def video_positions(frames: int, grid: int, width: int, time_table: int) -> Tensor:
    """Embedding of the place of image tokens: time, row, column, a third of the channels each.

    Args:
        frames: T of the window.
        grid: image tokens along a side.
        width: channels.
        time_table: frames of the table of times, resampled linearly to ``frames``; 0 for a table of ``frames``.

    Returns:
        (T, grid * grid, width).
    """
    third = width // 3
    times = waves(coordinates(time_table or frames), third)
    if len(times) != frames:
        times = interpolate(times.T[None], size=frames, mode="linear", align_corners=False)[0].T
    places = waves(coordinates(grid), third)
    shape = (frames, grid, grid, third)
    parts = [times[:, None, None].expand(shape), places[None, :, None].expand(shape), places[None, None].expand(shape)]
    return torch.cat(parts, -1).reshape(frames, grid * grid, width)
