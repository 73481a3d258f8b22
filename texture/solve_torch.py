"""The robust least squares of ``solve.least_squares`` in torch, for a GPU: same equations, same iterations.

The normal matrix is not assembled: conjugate gradients apply it as lookups (bilinear reads of four texels) and their
transpose. Sums on CUDA use atomic additions, so the last digits differ from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from texture.inpaint import push_pull
from texture.observe import ObservedPixels
from texture.solve import CG_ITERATIONS, HUBER_SCALE, REWEIGHTINGS, SEAM_WEIGHT, Solution, gather
from texture.system import Seams
from texture.texels import Lookups, TexelMap

TOLERANCE = 1e-4  # norm of the preconditioned residual to stop at, relative to that of a black texture
LOOKUPS_PER_PIECE = 1 << 22  # about 500 MiB with the temporaries


@dataclass(frozen=True)
class TorchLookups:
    """Bilinear lookups of a texture with P texels, on a device.

    Attributes:
        texels: (N, 4) int64, flat indices of the four texels that each reads.
        weights_of_texels: (N, 4) float32, their bilinear weights.
    """

    texels: Tensor
    weights_of_texels: Tensor

    @classmethod
    def of(cls, rows: Lookups, width: int, device: torch.device | str) -> TorchLookups:
        """Convert lookups of a texture that is ``width`` texels wide."""
        base = torch.from_numpy(rows.base).to(device).long()
        right, lower = (torch.from_numpy(part).to(device).float() for part in (rows.right, rows.lower))
        texels = torch.stack([base, base + 1, base + width, base + width + 1], 1)
        weights_of_texels = [(1 - right) * (1 - lower), right * (1 - lower), (1 - right) * lower, right * lower]
        return cls(texels, torch.stack(weights_of_texels, 1))

    def read(self, texture: Tensor) -> Tensor:
        """Values (N, C) that the lookups read from a texture (P, C)."""
        return (texture[self.texels] * self.weights_of_texels[..., None]).sum(1)

    def scatter(self, values: Tensor, count: int) -> Tensor:
        """Transpose of ``read``: values (N, C) summed into the texels, (count, C)."""
        return _summed_by_texel(self.texels, self.weights_of_texels[..., None] * values[:, None], count)

    def diagonal_of_normal_matrix(self, weights: Tensor, count: int) -> Tensor:
        """Diagonal (count, 1) of the lookups' normal matrix with weights (N, 1)."""
        return _summed_by_texel(self.texels, self.weights_of_texels.square()[..., None] * weights[:, None], count)


def _summed_by_texel(texels: Tensor, values: Tensor, count: int) -> Tensor:
    """Values (N, 4, C) summed by texel (N, 4), (count, C)."""
    empty = values.new_zeros(count, values.shape[2])
    return empty.index_add(0, texels.reshape(-1), values.flatten(0, 1))


class TorchSystem:
    """Normal equations of ``system.System`` on a device.

    Args:
        chart: (H, W) int32, the chart of each texel, -1 outside; H = W.
        seams: lookups on both sides of every seam.
        smoothness: weight of the squared difference of two neighbouring texels of one chart.
        seam_weight: weight of the squared difference of the two sides of a seam.
        rows: lookups of the data term, in pieces.
        colors: (N, 3) float32 observed values of each piece.
    """

    def __init__(
        self,
        chart: np.ndarray,
        seams: Seams,
        smoothness: float,
        seam_weight: float,
        rows: list[TorchLookups],
        colors: list[Tensor],
    ) -> None:
        device = colors[0].device
        self.size, self.texels, self.smoothness, self.seam_weight = chart.shape[0], chart.size, smoothness, seam_weight
        self.rows, self.colors = rows, colors
        self.weights: list[Tensor] = []
        self.one, self.other = (TorchLookups.of(side, self.size, device) for side in (seams.one, seams.other))
        numbers = torch.from_numpy(np.ascontiguousarray(chart)).to(device)
        self.east = ((numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] >= 0)).float()[..., None]
        self.south = ((numbers[1:] == numbers[:-1]) & (numbers[1:] >= 0)).float()[..., None]

    def observe(self, weights: list[Tensor]) -> None:
        """Set the weights of the lookups, (N, 1) for each piece, in place of earlier ones."""
        self.weights = weights
        pieces = zip(self.rows, self.colors, weights, strict=True)
        self.target = sum(rows.scatter(weight * color, self.texels) for rows, color, weight in pieces)
        neighbours = self.east.new_zeros(self.size, self.size, 1)
        neighbours[:, 1:] += self.east
        neighbours[:, :-1] += self.east
        neighbours[1:] += self.south
        neighbours[:-1] += self.south
        self.diagonal = self.smoothness * neighbours.reshape(-1, 1)
        for rows, weight in zip(self.rows, weights, strict=True):
            self.diagonal = self.diagonal + rows.diagonal_of_normal_matrix(weight, self.texels)
        for side in (self.one, self.other):
            seam_weights = self.diagonal.new_full((len(side.texels), 1), self.seam_weight)
            self.diagonal = self.diagonal + side.diagonal_of_normal_matrix(seam_weights, self.texels)

    def apply(self, texture: Tensor) -> Tensor:
        """Product of the normal matrix and a texture (P, 3)."""
        grid = texture.unflatten(0, (self.size, self.size))
        smooth = torch.zeros_like(grid)
        across = self.smoothness * self.east * (grid[:, 1:] - grid[:, :-1])
        down = self.smoothness * self.south * (grid[1:] - grid[:-1])
        smooth[:, 1:] += across
        smooth[:, :-1] -= across
        smooth[1:] += down
        smooth[:-1] -= down
        gap = self.seam_weight * (self.one.read(texture) - self.other.read(texture))
        result = smooth.flatten(0, 1) + self.one.scatter(gap, self.texels) - self.other.scatter(gap, self.texels)
        for rows, weight in zip(self.rows, self.weights, strict=True):
            result = result + rows.scatter(weight * rows.read(texture), self.texels)
        return result

    def solve(self, start: Tensor, iterations: int, tolerance: float = TOLERANCE) -> Tensor:
        """Texture (P, 3) by conjugate gradients with a diagonal preconditioner, as ``System.solve``."""
        inverse = torch.where(self.diagonal > 0, 1 / self.diagonal.clamp_min(1e-12), 0.0)
        x = start
        residual = self.target - self.apply(x)
        scale = float((self.target * self.target * inverse).double().sum())
        direction = residual * inverse
        energy = float((residual * direction).double().sum())
        for _ in range(iterations):
            if energy <= tolerance**2 * scale or energy == 0.0:
                break
            product = self.apply(direction)
            step = energy / float((direction * product).double().sum())
            x, residual = x + step * direction, residual - step * product
            previous, energy = energy, float((residual * residual * inverse).double().sum())
            direction = residual * inverse + energy / previous * direction
        return x


def least_squares_in_torch(
    views: Iterable[ObservedPixels], texels: TexelMap, seams: Seams, smoothness: float, device: torch.device | str
) -> Solution:
    """Texture by iteratively reweighted least squares with a Huber kernel; see ``solve.least_squares``.

    Args:
        views: observed pixels and their weights.
        texels: gives the chart of each texel.
        seams: lookups on both sides of the seams.
        smoothness: weight of the squared difference of neighbouring texels; a frame's best pixel has 1.
        device: of the computation.

    Raises:
        ValueError: no view has any pixel.
    """
    size = texels.face.shape[0]
    joined, all_colors, all_weights = gather(views, size)
    pieces = [slice(first, first + LOOKUPS_PER_PIECE) for first in range(0, len(joined), LOOKUPS_PER_PIECE)]
    rows = [TorchLookups.of(_part(joined, piece), size, device) for piece in pieces]
    colors = [torch.from_numpy(all_colors[piece]).to(device).float() for piece in pieces]
    weights = [torch.from_numpy(all_weights[piece]).to(device).float()[:, None] for piece in pieces]
    sums = torch.zeros(size * size, 4, device=device)
    for part, color, weight in zip(rows, colors, weights, strict=True):
        sums += part.scatter(torch.cat([weight * color, weight], 1), size * size)
    observed_weight = sums[:, 3].reshape(size, size).cpu().numpy()
    mean = (sums[:, :3] / sums[:, 3:].clamp_min(1e-12)).reshape(size, size, 3).cpu().numpy()
    start = np.where(texels.valid[..., None], push_pull(mean, observed_weight), 0).astype(np.float32)
    texture = torch.from_numpy(start).to(device).flatten(0, 1)
    system = TorchSystem(texels.chart, seams, smoothness, SEAM_WEIGHT, rows, colors)
    for number in range(REWEIGHTINGS):
        reweighted = weights
        if number:
            residuals = [(part.read(texture) - color) for part, color in zip(rows, colors, strict=True)]
            rms = [residual_of_part.square().mean(1, keepdim=True).sqrt() for residual_of_part in residuals]
            reweighted = [
                weight * HUBER_SCALE / root.clamp_min(HUBER_SCALE) for weight, root in zip(weights, rms, strict=True)
            ]
        system.observe(reweighted)
        texture = system.solve(texture, CG_ITERATIONS[number == REWEIGHTINGS - 1])
    return Solution(texture.clamp(0.0, 1.0).reshape(size, size, 3).cpu().numpy(), observed_weight)


def _part(rows: Lookups, piece: slice) -> Lookups:
    return Lookups(rows.base[piece], rows.right[piece], rows.lower[piece])
