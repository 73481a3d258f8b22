"""One texture from many views: robust least squares, or the paper's way, Adam with total variation."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import trange

from texture.inpaint import push_pull
from texture.observe import View
from texture.system import Seams, System
from texture.texels import Lookups, TexelMap, lookups
from v2m4 import render as ops
from v2m4.kernels import kernel
from v2m4.threads import share

logger = logging.getLogger(__name__)

ROUNDS = 4  # of reweighting
KNEE = 0.04  # residual (RMS over RGB) up to which a pixel counts in full; beyond it counts as in an L1 norm
ITERATIONS = (6, 25)  # of conjugate gradients, in each round and in the last
COUPLING = 8.0  # weight of a point on a seam, where a frame's best pixel has 1
SEEN = 1e-3  # summed weight of the pixels that look a texel up from which it counts as seen
ADAM_BETAS = (0.5, 0.9)
ADAM_RATES = (1e-2, 1e-5)


@dataclass(frozen=True)
class Solution:
    """A texture, and how well each texel is known.

    Attributes:
        texture: (H, W, 3) float32 in [0, 1].
        weight: (H, W) float32, summed weight of the pixels that look each texel up.
    """

    texture: np.ndarray
    weight: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(H, W) bool."""
        return self.weight > SEEN


def gather(views: list[View], size: int) -> tuple[Lookups, np.ndarray, np.ndarray]:
    """All views' pixels in one: lookups, colours (N, 3) and weights (N,).

    Raises:
        ValueError: there is not one pixel.
    """
    count = sum(len(view) for view in views)
    if count == 0:
        raise ValueError(f"solve: none of the {len(views)} views shows any of the mesh, so there is no colour to take")
    rows = [lookups(view.uvs, size) for view in views]
    joined = Lookups(*(np.concatenate([getattr(row, name) for row in rows]) for name in ("base", "right", "lower")))
    return joined, np.concatenate([view.colors for view in views]), np.concatenate([view.weights for view in views])


def average(views: list[View], size: int) -> Solution:
    """The weighted mean of the pixels that look each texel up; texels that none does are black."""
    return _mean(*gather(views, size), size)


def _mean(rows: Lookups, colors: np.ndarray, weights: np.ndarray, size: int) -> Solution:
    sums = np.zeros((size * size, 4), dtype=np.float32)
    _splat(rows.base, rows.right, rows.lower, colors, weights, size, sums)
    mean = sums[:, :3] / np.maximum(sums[:, 3:], 1e-12)
    return Solution(mean.reshape(size, size, 3), sums[:, 3].reshape(size, size).copy())


def least_squares(views: list[View], texels: TexelMap, seams: Seams, smoothness: float) -> Solution:
    """Weighted least squares with a Huber norm, by reweighting.

    Rendering is linear in the texels, so each round is one sparse linear system (``System``); pixels that the last
    round's texture explains badly (misaligned, occluded, blurred) count less in the next.

    Args:
        views: pixels and their weights.
        texels: which texel belongs to which chart.
        seams: lookups on both sides of the seams.
        smoothness: weight of the difference of neighbouring texels, where a frame's best pixel has 1.

    Raises:
        ValueError: no pixel sees the mesh.
    """
    size = texels.face.shape[0]
    rows, colors, weights = gather(views, size)
    start = _mean(rows, colors, weights, size)
    system = System(texels.chart, seams, smoothness, COUPLING)
    texture = np.where(texels.valid[..., None], push_pull(start.texture, start.weight), 0).astype(np.float32)
    reweighted = weights
    for number in range(ROUNDS):
        if number:
            reweighted = np.empty_like(weights)
            share(_reweight, len(rows), rows.base, rows.right, rows.lower, colors, weights, texture, KNEE, reweighted)
        system.observe(rows, colors, reweighted)
        texture = system.solve(texture, ITERATIONS[number == ROUNDS - 1])
    return Solution(np.clip(texture, 0.0, 1.0), start.weight)


def adam(
    views: list[View],
    texels: TexelMap,
    seams: Seams,
    steps: int,
    total_variation: float,
    seed: int,
    device: torch.device | str = "cpu",
) -> Solution:
    """The paper's way: one view a step, L1, total variation, Adam with a cosine schedule (V2M4, section 3.5).

    Differs in one thing: differences are taken inside the charts and along the seams, not across the atlas.

    Args:
        views: pixels and their weights.
        texels: which texel belongs to which chart.
        seams: lookups on both sides of the seams.
        steps: of Adam; the rate falls from 1e-2 to 1e-5.
        total_variation: its weight.
        seed: of the order of the views.
        device: where to work.

    Raises:
        ValueError: no pixel sees the mesh.
    """
    size = texels.face.shape[0]
    start = average(views, size)
    shown = [
        tuple(torch.from_numpy(part).to(device) for part in (view.uvs[None, None], view.colors, view.weights))
        for view in views
        if len(view)
    ]
    mean_weight = sum(float(view[2].sum()) for view in shown) / len(shown)
    chart = torch.from_numpy(texels.chart).to(device)
    east = ((chart[:, 1:] == chart[:, :-1]) & (chart[:, 1:] >= 0)).float()[..., None]
    south = ((chart[1:] == chart[:-1]) & (chart[1:] >= 0)).float()[..., None]
    sides = [torch.from_numpy(_coordinates(rows, size)[None, None]).to(device) for rows in (seams.one, seams.other)]
    image = torch.from_numpy(push_pull(start.texture, start.weight)).to(device).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=ADAM_RATES[0], betas=ADAM_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), eta_min=ADAM_RATES[1])
    generator = torch.Generator().manual_seed(seed)
    for step in trange(steps, desc="texture", leave=False, disable=None):
        if step % len(shown) == 0:
            order = torch.randperm(len(shown), generator=generator).tolist()
        uvs, colors, weights = shown[order[step % len(shown)]]
        rendered = ops.texture(image[None], uvs, boundary_mode="clamp")[0, 0]
        loss = ((rendered - colors).abs().mean(1) * weights).sum() / mean_weight
        differences = ((image[:, 1:] - image[:, :-1]).abs() * east).mean()
        differences = differences + ((image[1:] - image[:-1]).abs() * south).mean()
        loss = loss + total_variation * differences
        if sides[0].shape[2]:
            one, other = (ops.texture(image[None], side, boundary_mode="clamp") for side in sides)
            loss = loss + (one - other).abs().mean() * total_variation
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    texture = np.where(texels.valid[..., None], image.detach().cpu().numpy(), 0)
    return Solution(np.clip(texture, 0.0, 1.0).astype(np.float32), start.weight)


def _coordinates(rows: Lookups, size: int) -> np.ndarray:
    """Texture coordinates (N, 2) of lookups."""
    x = rows.base % size + rows.right
    y = rows.base // size + rows.lower
    return ((np.stack([x, y], 1) + 0.5) / size).astype(np.float32)


@kernel("i4[::1], f8[::1], f8[::1], f4[:,::1], f4[::1], i8, f4[:,::1]")
def _splat(base, right, lower, colors, weights, width, sums):
    """Add weighted colours and weights (H W, 4) to the four texels of each lookup."""
    for i in range(len(base)):
        b, s, t = base[i], right[i], lower[i]
        for k in range(4):
            share = (s if k % 2 else 1 - s) * (t if k // 2 else 1 - t) * weights[i]
            texel = b + k % 2 + (k // 2) * width
            for c in range(3):
                sums[texel, c] += share * colors[i, c]
            sums[texel, 3] += share


@kernel("i8, i8, i4[::1], f8[::1], f8[::1], f4[:,::1], f4[::1], f4[:,:,::1], f8, f4[::1]")
def _reweight(first, last, base, right, lower, colors, weights, texture, knee, result):
    """Huber: a pixel's weight falls with the inverse of its residual beyond the knee. Tasks: lookups."""
    width = texture.shape[1]
    for i in range(first, last):
        row, column, s, t = base[i] // width, base[i] % width, right[i], lower[i]
        square = 0.0
        for c in range(3):
            upper = (1 - s) * texture[row, column, c] + s * texture[row, column + 1, c]
            under = (1 - s) * texture[row + 1, column, c] + s * texture[row + 1, column + 1, c]
            square += ((1 - t) * upper + t * under - colors[i, c]) ** 2
        result[i] = weights[i] * knee / max(knee, np.sqrt(square / 3))
