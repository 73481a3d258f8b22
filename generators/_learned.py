"""Common parts of the learned generators: weights, seeds, repeated attempts, and the image of the object."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from generators.base import GenerationError
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.frame import Frame
from v2m4.preflight import generators as needs
from v2m4.weights import fingerprint, get_weights

log = logging.getLogger(__name__)

ATTEMPTS = 3  # with different noise, while a network's volume contains no surface
MAX_HAZE_ALPHA = 13  # alpha up to this value is haze, not object


class LearnedGenerator:
    """A generator that loads an owner's networks; its requirements are in ``v2m4.preflight.generators``.

    Attributes:
        name: as in ``--model``.
        config: all options.
        device: on which its networks run.
        folder: of its weights.
        version: fingerprint of the weights.
    """

    name: str

    def __init__(self, config: Config) -> None:
        """Locate the weights; nothing is loaded yet.

        Raises:
            Unavailable: a package, weights or a GPU are missing.
        """
        needs.check(self.name, config)
        self.config = config
        self.device = device_of(config)
        weights = next(part.weights[0] for part in needs.needs_of(self.name, config) if part.weights)
        self.folder: Path = get_weights(weights, config)
        self.version = fingerprint(weights.repository, self.folder, weights.files)


def seed_for(seed: int, frame: Frame, attempt: int) -> int:
    """Seed of a frame's noise.

    The first attempt uses the same noise for every frame, as V2M4 does, so that similar frames give similar meshes;
    further attempts have their own for each frame.
    """
    if attempt == 0:
        return seed
    return int(np.random.SeedSequence([seed, frame.index, attempt]).generate_state(1)[0])


def first_surface(generator: str, frame: Frame, seed: int, make: Callable[[int], Any]) -> Any:
    """First result of ``make(seed)`` that is not None, over ``ATTEMPTS`` seeds.

    Raises:
        GenerationError: the network's volume contains no surface for any seed.
    """
    for attempt in range(ATTEMPTS):
        surface = make(seed_for(seed, frame, attempt))
        if surface is not None:
            return surface
    raise GenerationError(
        f"frame {frame.name}: {generator} found no surface in {ATTEMPTS} attempts; try another --seed"
    )


def object_image(frame: Frame, margin: float = 0.2, longest: int = 1024) -> np.ndarray:
    """Square image with the object alone in its centre, the input of the generators.

    Args:
        frame: any size.
        margin: empty space, relative to the object's longer side.
        longest: largest side of the result, pixels.

    Returns:
        (S, S, 4) uint8, straight alpha.

    Raises:
        GenerationError: the frame has no foreground.
    """
    alpha = np.where(frame.rgba[..., 3] > MAX_HAZE_ALPHA, frame.rgba[..., 3], 0)
    rows, columns = np.nonzero(alpha.any(1))[0], np.nonzero(alpha.any(0))[0]
    if len(rows) < 2 or len(columns) < 2:
        raise GenerationError(f"frame {frame.name}: no foreground to make a mesh of")
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    side = max(2, round(max(height, width) * (1 + margin)))
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square[top : top + height, left : left + width] = np.dstack([frame.rgba[part][..., :3], alpha[part]])
    if side <= longest:
        return square
    share = square[..., 3:].astype(np.float32) / 255
    small = cv2.resize(
        np.dstack([square[..., :3] * share, share * 255]), (longest, longest), interpolation=cv2.INTER_AREA
    )
    small[..., :3] /= np.maximum(small[..., 3:] / 255, 1e-6)
    return small.round().clip(0, 255).astype(np.uint8)


def on_grey(image: np.ndarray, grey: float) -> np.ndarray:
    """Image (H, W, 4) composited on a grey background, (H, W, 3) uint8; ``grey`` in [0, 1]."""
    share = image[..., 3:].astype(np.float32) / 255
    return (image[..., :3] * share + 255 * grey * (1 - share)).round().astype(np.uint8)


def mean_color(frame: Frame) -> torch.Tensor:
    """Mean colour (3,) of the foreground, in [0, 1]."""
    weight = frame.rgba[..., 3:].astype(np.float64)
    mean = (frame.rgba[..., :3] * weight).sum((0, 1)) / max(float(weight.sum()), 1.0) / 255
    return torch.from_numpy(mean.astype(np.float32))
