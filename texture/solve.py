"""Texture from the observed pixels of many views: robust least squares, or the paper's Adam with total variation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import trange

from texture.inpaint import push_pull
from texture.observe import ObservedPixels
from texture.system import Seams, System
from texture.texels import Lookups, TexelMap, lookups
from v2m4 import render as ops
from v2m4.kernels import kernel
from v2m4.memory import return_free_memory
from v2m4.threads import share

logger = logging.getLogger(__name__)

REWEIGHTINGS = 4  # iterations of iteratively reweighted least squares
HUBER_SCALE = 0.04  # residual (RMS over RGB, sRGB in [0, 1]) at which the Huber kernel becomes linear
CG_ITERATIONS = (6, 25)  # of conjugate gradients: in each iteration of reweighting, and in the last
SEAM_WEIGHT = 8.0  # weight of a point on a seam; a frame's best pixel has 1
MIN_OBSERVED_WEIGHT = 1e-3  # summed weight of a texel's lookups above which it counts as observed
ADAM_BETAS = (0.5, 0.9)
ADAM_RATES = (1e-2, 1e-5)


@dataclass(frozen=True)
class Solution:
    """A texture and the weight of the observations of each texel.

    Attributes:
        texture: (H, W, 3) float32 in [0, 1].
        weight: (H, W) float32, summed weight of each texel's lookups.
    """

    texture: np.ndarray
    weight: np.ndarray

    @property
    def observed(self) -> np.ndarray:
        """Texels with enough weight, (H, W) bool."""
        return self.weight > MIN_OBSERVED_WEIGHT


def gather(views: Iterable[ObservedPixels], size: int) -> tuple[Lookups, np.ndarray, np.ndarray]:
    """Pixels of all views concatenated: lookups, colours (N, 3) and weights (N,).

    Args:
        views: each is looked at once; with ``drained``, those looked at are freed before all are concatenated.
        size: texels (side).

    Raises:
        ValueError: no view has any pixel.
    """
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    for view in views:
        rows = lookups(view.uvs, size)
        for column, values in zip(columns, (rows.base, rows.right, rows.lower, view.colors, view.weights), strict=True):
            column.append(values)
    if not any(len(weights) for weights in columns[-1]):
        raise ValueError(
            f"solve: none of the {len(columns[-1])} views shows any of the mesh, so there is no colour to take"
        )
    base, right, lower, colors, weights = map(_concatenated, columns)
    return Lookups(base, right, lower), colors, weights


def drained(*lists: list[ObservedPixels]) -> Iterator[ObservedPixels]:
    """Yields the views of lists in order, and takes each off its list, so that it is freed when it has been used."""
    for views in lists:
        while views:
            yield views.pop(0)


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays joined; their list is emptied."""
    joined = np.concatenate(arrays)
    arrays.clear()
    return joined


def average(views: Iterable[ObservedPixels], size: int) -> Solution:
    """Weighted mean of the pixels whose lookups read each texel; black where there are none."""
    return _mean(*gather(views, size), size)


def _mean(rows: Lookups, colors: np.ndarray, weights: np.ndarray, size: int) -> Solution:
    sums = np.zeros((size * size, 4), dtype=np.float32)
    _splat(rows.base, rows.right, rows.lower, colors, weights, size, sums)
    mean = sums[:, :3] / np.maximum(sums[:, 3:], 1e-12)
    return Solution(mean.reshape(size, size, 3), sums[:, 3].reshape(size, size).copy())


def least_squares(views: Iterable[ObservedPixels], texels: TexelMap, seams: Seams, smoothness: float) -> Solution:
    """Texture by iteratively reweighted least squares with a Huber kernel.

    Rendering is linear in the texels, so each iteration is one sparse linear system (``System``); pixels with a large
    residual (misaligned, occluded, blurred) get a smaller weight in the next.

    Args:
        views: observed pixels and their weights.
        texels: gives the chart of each texel.
        seams: lookups on both sides of the seams.
        smoothness: weight of the squared difference of neighbouring texels; a frame's best pixel has 1.

    Raises:
        ValueError: no view has any pixel.
    """
    size = texels.face.shape[0]
    rows, colors, weights = gather(views, size)
    return_free_memory()  # of the views
    start = _mean(rows, colors, weights, size)
    system = System(texels.chart, seams, smoothness, SEAM_WEIGHT)
    texture = np.where(texels.valid[..., None], push_pull(start.texture, start.weight), 0).astype(np.float32)
    reweighted = weights
    for number in range(REWEIGHTINGS):
        if number:
            reweighted = np.empty_like(weights)
            share(
                _reweight,
                len(rows),
                rows.base,
                rows.right,
                rows.lower,
                colors,
                weights,
                texture,
                HUBER_SCALE,
                reweighted,
            )
        system.observe(rows, colors, reweighted)
        texture = system.solve(texture, CG_ITERATIONS[number == REWEIGHTINGS - 1])
    return Solution(np.clip(texture, 0.0, 1.0), start.weight)


def adam(
    views: list[ObservedPixels],
    texels: TexelMap,
    seams: Seams,
    steps: int,
    total_variation: float,
    seed: int,
    device: torch.device | str = "cpu",
) -> Solution:
    """Texture by Adam on an L1 loss with total variation, one view a step, as in the paper (V2M4, section 3.5).

    One difference to it: total variation is taken within the charts and across the seams, not over the whole atlas.

    Args:
        views: observed pixels and their weights.
        texels: gives the chart of each texel.
        seams: lookups on both sides of the seams.
        steps: of Adam; the learning rate falls from 1e-2 to 1e-5 along a cosine.
        total_variation: weight of the total variation.
        seed: of the random order of the views.
        device: of the optimisation.

    Raises:
        ValueError: no view has any pixel.
    """
    size = texels.face.shape[0]
    start = average(views, size)
    view_tensors = [
        tuple(torch.from_numpy(part).to(device) for part in (view.uvs[None, None], view.colors, view.weights))
        for view in views
        if len(view)
    ]
    mean_weight = sum(float(view[2].sum()) for view in view_tensors) / len(view_tensors)
    chart = torch.from_numpy(texels.chart).to(device)
    same_chart_east = ((chart[:, 1:] == chart[:, :-1]) & (chart[:, 1:] >= 0)).float()[..., None]
    same_chart_south = ((chart[1:] == chart[:-1]) & (chart[1:] >= 0)).float()[..., None]
    sides = [torch.from_numpy(_coordinates(rows, size)[None, None]).to(device) for rows in (seams.one, seams.other)]
    image = torch.from_numpy(push_pull(start.texture, start.weight)).to(device).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=ADAM_RATES[0], betas=ADAM_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), eta_min=ADAM_RATES[1])
    generator = torch.Generator().manual_seed(seed)
    for step in trange(steps, desc="texture", leave=False, disable=not logger.isEnabledFor(logging.DEBUG)):
        if step % len(view_tensors) == 0:
            order = torch.randperm(len(view_tensors), generator=generator).tolist()
        uvs, colors, weights = view_tensors[order[step % len(view_tensors)]]
        rendered = ops.texture(image[None], uvs, boundary_mode="clamp")[0, 0]
        loss = ((rendered - colors).abs().mean(1) * weights).sum() / mean_weight
        variation = ((image[:, 1:] - image[:, :-1]).abs() * same_chart_east).mean()
        variation = variation + ((image[1:] - image[:-1]).abs() * same_chart_south).mean()
        loss = loss + total_variation * variation
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
    """Add weighted colours and weights to the four texels of each lookup; sums: (H W, 4)."""
    for i in range(len(base)):
        b, s, t = base[i], right[i], lower[i]
        for k in range(4):
            share = (s if k % 2 else 1 - s) * (t if k // 2 else 1 - t) * weights[i]
            texel = b + k % 2 + (k // 2) * width
            for c in range(3):
                sums[texel, c] += share * colors[i, c]
            sums[texel, 3] += share


@kernel("i8, i8, i4[::1], f8[::1], f8[::1], f4[:,::1], f4[::1], f4[:,:,::1], f8, f4[::1]")
def _reweight(first, last, base, right, lower, colors, weights, texture, scale, result):
    """Weights times the Huber kernel's: 1 up to the scale, scale / residual beyond it. Tasks: lookups."""
    width = texture.shape[1]
    for i in range(first, last):
        row, column, s, t = base[i] // width, base[i] % width, right[i], lower[i]
        square = 0.0
        for c in range(3):
            upper = (1 - s) * texture[row, column, c] + s * texture[row, column + 1, c]
            under = (1 - s) * texture[row + 1, column, c] + s * texture[row + 1, column + 1, c]
            square += ((1 - t) * upper + t * under - colors[i, c]) ** 2
        result[i] = weights[i] * scale / max(scale, np.sqrt(square / 3))
