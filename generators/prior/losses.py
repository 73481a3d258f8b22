"""Losses of the maps, and the figures that validation reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.prior.dataset import Batch
from generators.prior.network import Output, Prediction, interpret
from generators.prior.tilt import fit_ramps, median_ramps

GRADIENT_WEIGHT = 0.5
THICKNESS_WEIGHT = 1.0
UNCERTAINTY_WEIGHT = 0.05
COLOR_WEIGHT = 0.5
UNKNOWN_SCALE = 1.5  # half the window's side; those of known bodies are 0.05 to 0.5
UNKNOWN_WEIGHT = 4.0


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors of each view, (B,), in half the window's side or as colours in [0, 1].

    Attributes:
        front: of the front depth, after the offset common to both depths is taken out.
        back: of the back depth, likewise.
        thickness: of the thickness.
        gradient: of the depths' differences between neighbouring pixels.
        color: of the far side's colours.
    """

    front: Tensor
    back: Tensor
    thickness: Tensor
    gradient: Tensor
    color: Tensor


def read_output(output: Output, batch: Batch) -> Prediction:
    """Prediction of a network's output; the tilt is the median, which passes no gradient."""
    ramps = median_ramps(output.tilt.detach().softmax(-1))
    return interpret(output.maps, ramps, batch.base, batch.image, batch.alpha)


def true_ramps(batch: Batch) -> Tensor:
    """Tilt (B, 2) of the true centre against that of ``Inflate``."""
    centre = (batch.depth[:, :1] + batch.depth[:, 3:]) / 2
    return fit_ramps(centre - batch.base[:, :1], batch.valid)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted means (B,) of (B, C, H, W), the weight (B, 1, H, W)."""
    return (values * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * values.shape[1]).clamp_min(1)


def view_scale(batch: Batch) -> Tensor:
    """Half the longest side (B,) of the object, at least half the window's side: what its errors are relative to."""
    front, back = batch.depth[:, :1], batch.depth[:, 3:]
    inside = batch.valid > 0
    deepest = torch.where(inside, back, -torch.inf).amax((1, 2, 3))
    nearest = torch.where(inside, front, torch.inf).amin((1, 2, 3))
    return ((deepest - nearest) / 2).clamp_min(1)


def errors(prediction: Prediction, batch: Batch) -> Errors:
    """Errors of a prediction; the depth of the whole object is free, since one picture does not show it."""
    truth = torch.cat([batch.depth[:, :1], batch.depth[:, 3:]], 1)
    difference = prediction.front_back - truth
    offset = _mean(difference, batch.valid)[:, None, None, None]
    difference = difference - offset
    gradient = torch.zeros_like(offset[:, 0, 0, 0])
    for axis in (2, 3):
        ahead, here = ([slice(None)] * axis + [part] for part in (slice(1, None), slice(None, -1)))
        both = batch.valid[tuple(ahead)] * batch.valid[tuple(here)]
        gradient = gradient + _mean((difference[tuple(ahead)] - difference[tuple(here)]).abs(), both)
    return Errors(
        _mean(difference[:, :1].abs(), batch.valid),
        _mean(difference[:, 1:].abs(), batch.valid),
        _mean((difference[:, 1:] - difference[:, :1]).abs(), batch.valid),
        gradient,
        _mean((prediction.back - batch.back).abs(), batch.valid),
    )


def loss(prediction: Prediction, batch: Batch) -> Tensor:
    """Training loss.

    L1 of depths, thickness and gradients relative to the object's size, of colours, and the negative log-likelihood of
    Laplace distributions about the prediction, which trains the scales alone.
    """
    found = errors(prediction, batch)
    shape = found.front + found.back + THICKNESS_WEIGHT * found.thickness + GRADIENT_WEIGHT * found.gradient
    likelihood = UNCERTAINTY_WEIGHT * uncertainty_loss(prediction, batch)
    return (shape / view_scale(batch) + COLOR_WEIGHT * found.color + likelihood).mean()


def uncertainty_loss(prediction: Prediction, batch: Batch) -> Tensor:
    """Negative log-likelihood (B,) of the true centre and thickness; gradients reach the scales only.

    Where no depth is known (a cloud), the scales are to be ``UNKNOWN_SCALE``.
    """
    truth = torch.cat([batch.depth[:, :1], batch.depth[:, 3:]], 1)
    difference = (prediction.front_back - truth).detach()
    difference = difference - _mean(difference, batch.valid)[:, None, None, None]
    residual = torch.cat([difference.mean(1, keepdim=True), difference[:, 1:] - difference[:, :1]], 1).abs()
    scale = prediction.log_scale
    unknown = (batch.valid.amax((1, 2, 3)) == 0).float()
    missed = _mean((math.log(UNKNOWN_SCALE) - scale).clamp_min(0), batch.alpha)
    return _mean(residual * torch.exp(-scale) + scale, batch.valid) + UNKNOWN_WEIGHT * unknown * missed
