"""The robust least squares of ``solve.least_squares`` in torch, for a GPU: same equations, same steps, same result.

The normal matrix is never put together: conjugate gradients apply it as lookups (bilinear reads of four texels) and
their transpose. Sums are made by atomic additions on CUDA, so the last digits differ from run to run there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from texture.inpaint import push_pull
from texture.observe import View
from texture.solve import COUPLING, ITERATIONS, KNEE, ROUNDS, Solution, gather
from texture.system import Seams
from texture.texels import Lookups, TexelMap

TOLERANCE = 1e-4  # of the preconditioned residual, relative to that of a black texture
ROWS_AT_ONCE = 1 << 22  # lookups in one piece, about 500 MiB with what is made of them


@dataclass(frozen=True)
class Rows:
    """Bilinear lookups on a device.

    Attributes:
        texels: (N, 4) int64, flat indices of the texels that each reads.
        shares: (N, 4) float32, their weights in it.
    """

    texels: Tensor
    shares: Tensor

    @classmethod
    def of(cls, rows: Lookups, width: int, device: torch.device | str) -> Rows:
        """From lookups of a texture that is ``width`` texels wide."""
        base = torch.from_numpy(rows.base).to(device).long()
        right, lower = (torch.from_numpy(part).to(device).float() for part in (rows.right, rows.lower))
        texels = torch.stack([base, base + 1, base + width, base + width + 1], 1)
        shares = [(1 - right) * (1 - lower), right * (1 - lower), (1 - right) * lower, right * lower]
        return cls(texels, torch.stack(shares, 1))

    def read(self, texture: Tensor) -> Tensor:
        """What the lookups read, (N, C), of a texture (P, C)."""
        return (texture[self.texels] * self.shares[..., None]).sum(1)

    def spread(self, values: Tensor, count: int) -> Tensor:
        """The transpose of ``read``: values (N, C) added to the texels, (count, C)."""
        return _added(self.texels, self.shares[..., None] * values[:, None], count)

    def squares(self, weights: Tensor, count: int) -> Tensor:
        """The diagonal (count, 1) of the lookups' normal matrix with weights (N, 1)."""
        return _added(self.texels, self.shares.square()[..., None] * weights[:, None], count)


def _added(texels: Tensor, values: Tensor, count: int) -> Tensor:
    """Values (N, 4, C) summed by texel (N, 4), (count, C)."""
    empty = values.new_zeros(count, values.shape[2])
    return empty.index_add(0, texels.reshape(-1), values.flatten(0, 1))


class TorchSystem:
    """The normal equations of ``system.System`` on a device: lookups, smoothness in the charts, agreement at seams.

    Args:
        chart: (H, W) int32, the chart of each texel, -1 outside; H = W.
        seams: lookups on both sides of every seam.
        smoothness: weight of the squared difference of two neighbouring texels of one chart.
        coupling: weight of the squared difference of the two sides of a seam.
        rows: the data's lookups, in pieces.
        colors: (N, 3) float32 of each piece.
    """

    def __init__(
        self,
        chart: np.ndarray,
        seams: Seams,
        smoothness: float,
        coupling: float,
        rows: list[Rows],
        colors: list[Tensor],
    ) -> None:
        device = colors[0].device
        self.size, self.texels, self.smoothness, self.coupling = chart.shape[0], chart.size, smoothness, coupling
        self.rows, self.colors = rows, colors
        self.weights: list[Tensor] = []
        self.one, self.other = (Rows.of(side, self.size, device) for side in (seams.one, seams.other))
        numbers = torch.from_numpy(np.ascontiguousarray(chart)).to(device)
        self.east = ((numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] >= 0)).float()[..., None]
        self.south = ((numbers[1:] == numbers[:-1]) & (numbers[1:] >= 0)).float()[..., None]

    def observe(self, weights: list[Tensor]) -> None:
        """Weigh the lookups, (N, 1) of each piece, in place of earlier weights."""
        self.weights = weights
        pieces = zip(self.rows, self.colors, weights, strict=True)
        self.target = sum(rows.spread(weight * color, self.texels) for rows, color, weight in pieces)
        links = self.east.new_zeros(self.size, self.size, 1)
        links[:, 1:] += self.east
        links[:, :-1] += self.east
        links[1:] += self.south
        links[:-1] += self.south
        self.diagonal = self.smoothness * links.reshape(-1, 1)
        for rows, weight in zip(self.rows, weights, strict=True):
            self.diagonal = self.diagonal + rows.squares(weight, self.texels)
        for side in (self.one, self.other):
            whole = self.diagonal.new_full((len(side.texels), 1), self.coupling)
            self.diagonal = self.diagonal + side.squares(whole, self.texels)

    def apply(self, texture: Tensor) -> Tensor:
        """The normal matrix times a texture (P, 3)."""
        picture = texture.unflatten(0, (self.size, self.size))
        smooth = torch.zeros_like(picture)
        across = self.smoothness * self.east * (picture[:, 1:] - picture[:, :-1])
        down = self.smoothness * self.south * (picture[1:] - picture[:-1])
        smooth[:, 1:] += across
        smooth[:, :-1] -= across
        smooth[1:] += down
        smooth[:-1] -= down
        gap = self.coupling * (self.one.read(texture) - self.other.read(texture))
        result = smooth.flatten(0, 1) + self.one.spread(gap, self.texels) - self.other.spread(gap, self.texels)
        for rows, weight in zip(self.rows, self.weights, strict=True):
            result = result + rows.spread(weight * rows.read(texture), self.texels)
        return result

    def solve(self, start: Tensor, iterations: int, tolerance: float = TOLERANCE) -> Tensor:
        """Conjugate gradients with the diagonal as preconditioner, as ``System.solve``; textures are (P, 3)."""
        inverse = torch.where(self.diagonal > 0, 1 / self.diagonal.clamp_min(1e-12), 0.0)
        x = start
        residual = self.target - self.apply(x)
        scale = float((self.target * self.target * inverse).double().sum())
        direction = residual * inverse
        energy = float((residual * direction).double().sum())
        for _ in range(iterations):
            if energy <= tolerance**2 * scale or energy == 0.0:
                break
            image = self.apply(direction)
            step = energy / float((direction * image).double().sum())
            x, residual = x + step * direction, residual - step * image
            previous, energy = energy, float((residual * residual * inverse).double().sum())
            direction = residual * inverse + energy / previous * direction
        return x


def least_squares_in_torch(
    views: list[View], texels: TexelMap, seams: Seams, smoothness: float, device: torch.device | str
) -> Solution:
    """Weighted least squares with a Huber norm, by reweighting (IRLS); see ``solve.least_squares``.

    Args:
        views: pixels and their weights.
        texels: which texel belongs to which chart.
        seams: lookups on both sides of the seams.
        smoothness: weight of the difference of neighbouring texels, where a frame's best pixel has 1.
        device: where to work.

    Raises:
        ValueError: no pixel sees the mesh.
    """
    size = texels.face.shape[0]
    joined, all_colors, all_weights = gather(views, size)
    pieces = [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(joined), ROWS_AT_ONCE)]
    rows = [Rows.of(_part(joined, piece), size, device) for piece in pieces]
    colors = [torch.from_numpy(all_colors[piece]).to(device).float() for piece in pieces]
    weights = [torch.from_numpy(all_weights[piece]).to(device).float()[:, None] for piece in pieces]
    sums = torch.zeros(size * size, 4, device=device)
    for part, color, weight in zip(rows, colors, weights, strict=True):
        sums += part.spread(torch.cat([weight * color, weight], 1), size * size)
    seen = sums[:, 3].reshape(size, size).cpu().numpy()
    mean = (sums[:, :3] / sums[:, 3:].clamp_min(1e-12)).reshape(size, size, 3).cpu().numpy()
    start = np.where(texels.valid[..., None], push_pull(mean, seen), 0).astype(np.float32)
    texture = torch.from_numpy(start).to(device).flatten(0, 1)
    system = TorchSystem(texels.chart, seams, smoothness, COUPLING, rows, colors)
    for number in range(ROUNDS):
        reweighted = weights
        if number:
            errors = [(part.read(texture) - color) for part, color in zip(rows, colors, strict=True)]
            roots = [error.square().mean(1, keepdim=True).sqrt() for error in errors]
            reweighted = [weight * KNEE / root.clamp_min(KNEE) for weight, root in zip(weights, roots, strict=True)]
        system.observe(reweighted)
        texture = system.solve(texture, ITERATIONS[number == ROUNDS - 1])
    return Solution(texture.clamp(0.0, 1.0).reshape(size, size, 3).cpu().numpy(), seen)


def _part(rows: Lookups, piece: slice) -> Lookups:
    return Lookups(rows.base[piece], rows.right[piece], rows.lower[piece])
