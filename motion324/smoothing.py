"""Temporal smoothing of trajectories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

RADIUS = 4.0  # of the Gaussian's support, standard deviations


@dataclass(frozen=True)
class Smoothing:
    """How trajectories are smoothed; the values are those of the released program.

    Attributes:
        dead_band: distance, in sides of the normalised cube, by which a point moves from where it is held before it
            moves at all, against jitter of points that rest; 0 for none.
        sigma: standard deviation of a Gaussian over time, frames; 0 for none.
    """

    dead_band: float = 0.002
    sigma: float = 1.0

    def __call__(self, positions: Tensor) -> Tensor:
        """Smoothed positions (T, N, 3) of positions at equal intervals."""
        return filtered(held(positions, self.dead_band), self.sigma)


def held(positions: Tensor, dead_band: float) -> Tensor:
    """Positions (T, N, 3) in which a point stays where it is until it has moved by more than ``dead_band``.

    The released program compares two successive frames instead, which stops slow motion however far it leads; here no
    point is further from its position than ``dead_band``.
    """
    result = positions.clone()
    if dead_band <= 0:
        return result
    for time in range(1, len(positions)):
        rests = (positions[time] - result[time - 1]).norm(dim=-1, keepdim=True) < dead_band
        result[time] = torch.where(rests, result[time - 1], positions[time])
    return result


def filtered(positions: Tensor, sigma: float) -> Tensor:
    """Positions (T, N, 3) filtered by a Gaussian over time; before the first and after the last frame they stay."""
    radius = int(RADIUS * sigma + 0.5)
    if radius == 0 or len(positions) == 0:
        return positions
    kernel = torch.arange(-radius, radius + 1, dtype=positions.dtype, device=positions.device)
    kernel = torch.exp(-0.5 * (kernel / sigma) ** 2)
    kernel = kernel / kernel.sum()
    rows = positions.flatten(1).T[:, None]  # (3 N, 1, T)
    rows = conv1d(pad(rows, (radius, radius), mode="replicate"), kernel[None, None])
    return rows[:, 0].T.reshape(positions.shape)
