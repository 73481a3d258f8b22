"""Differences of a rendered picture from a target over an image pyramid, and their gradients, in one pass on the CPU.

As torch operations they read and write each small tensor again, for the value and for the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from v2m4.kernels import kernel

# The energy of a picture (h, w, C); its gradient (h, w, C) is written to the second argument, zeros.
Evaluate = Callable[[np.ndarray, np.ndarray], float]
# Adds the energy of one level and writes its gradient: (level's number, rendered, target, gradient, energy).
AddLevel = Callable[[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


def pyramid_energy(
    rendered: np.ndarray, targets: Sequence[np.ndarray], add_level: AddLevel, gradient: np.ndarray
) -> float:
    """The sum of the levels' energies.

    Args:
        rendered: (h, w, C) float32.
        targets: (h, w, C) float32 of each level, each the one before averaged over 4 x 4 pixels.
        add_level: the energy of a level.
        gradient: (h, w, C) float32, zeros; the gradient in the rendered picture is written to it.
    """
    energy, gradients, layer = np.zeros(1), [gradient], rendered
    for number, target in enumerate(targets):
        if number:
            layer = pooled(layer)
            gradients.append(np.zeros(target.shape, np.float32))
        add_level(number, layer, target, gradients[number], energy)
    for fine, coarse in reversed(list(pairwise(gradients))):
        _add_pooled(coarse, fine)
    return float(energy[0])


def pooled(picture: np.ndarray) -> np.ndarray:
    """Averages over blocks of 4 x 4 pixels (h, w, C) -> (h // 4, w // 4, C); pixels that fill no block are left out."""
    height, width, channels = picture.shape
    result = np.empty((height // 4, width // 4, channels), np.float32)
    _pool(picture, result)
    return result


def add_squares(
    number: int, rendered: np.ndarray, target: np.ndarray, gradient: np.ndarray, energy: np.ndarray
) -> None:
    """The mean squared difference of a level, an ``AddLevel``."""
    _add_squares(rendered, target, gradient, energy)


def huber_where(inside: Sequence[np.ndarray], threshold: float) -> AddLevel:
    """The mean Huber loss over its threshold, summed over the pixels inside of each level, as an ``AddLevel``.

    Args:
        inside: (h, w, 1) float32 of each level: share of the pixel that is inside; only pixels wholly inside count.
        threshold: of the Huber loss.
    """

    def add(number: int, rendered: np.ndarray, target: np.ndarray, gradient: np.ndarray, energy: np.ndarray) -> None:
        _add_huber(rendered, target, inside[number], threshold, gradient, energy)

    return add


class PyramidEnergies(torch.autograd.Function):
    """Energies of several pictures as an autograd function: ``forward`` already computes the gradients."""

    @staticmethod
    def forward(ctx: Any, rendered: Tensor, evaluate: Sequence[Evaluate]) -> Tensor:
        """The energies (B,) of pictures (B, h, w, C), each by its own function."""
        pictures, gradient = rendered.detach().contiguous().numpy(), np.zeros(rendered.shape, np.float32)
        energies = [each(*parts) for each, *parts in zip(evaluate, pictures, gradient, strict=True)]
        ctx.save_for_backward(torch.from_numpy(gradient))
        return rendered.new_tensor(energies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient in the pictures."""
        (gradient,) = ctx.saved_tensors
        return gradients[0][:, None, None, None] * gradient, None


@kernel("f4[:,:,::1], f4[:,:,::1]")
def _pool(picture, result):
    height, width, channels = result.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                total = 0.0
                for dy in range(4):
                    for dx in range(4):
                        total += picture[4 * y + dy, 4 * x + dx, c]
                result[y, x, c] = total / 16.0


@kernel("f4[:,:,::1], f4[:,:,::1]")
def _add_pooled(coarse, fine):
    """Adds the gradient in the averages to that in the pixels."""
    height, width, channels = coarse.shape
    for y in range(4 * height):
        for x in range(4 * width):
            for c in range(channels):
                fine[y, x, c] += coarse[y // 4, x // 4, c] / 16.0


@kernel("f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f8[::1]")
def _add_squares(rendered, target, gradient, energy):
    height, width, channels = target.shape
    share = 1.0 / (height * width * channels)
    total = 0.0
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                difference = float(rendered[y, x, c]) - target[y, x, c]
                total += difference * difference
                gradient[y, x, c] = 2.0 * share * difference
    energy[0] += share * total


@kernel("f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f8, f4[:,:,::1], f8[::1]")
def _add_huber(rendered, target, inside, threshold, gradient, energy):
    height, width, channels = target.shape
    share = 1.0 / (height * width * channels)
    total = 0.0
    for y in range(height):
        for x in range(width):
            if inside[y, x, 0] <= 0.999:
                continue
            for c in range(channels):
                difference = float(rendered[y, x, c]) - target[y, x, c]
                size = abs(difference)
                if size <= threshold:
                    total += 0.5 * size * size / threshold
                    gradient[y, x, c] = share * difference / threshold
                else:
                    total += size - 0.5 * threshold
                    gradient[y, x, c] = share if difference > 0.0 else -share
    energy[0] += share * total
