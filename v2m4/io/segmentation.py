"""Segment all frames of a clip by one method."""

from __future__ import annotations

import logging

import numpy as np

from v2m4.config import FramesConfig
from v2m4.io.foreground import Method, choose_method, cut_out, remove_background
from v2m4.io.segmenter import Segmenter
from v2m4.threads import in_order

log = logging.getLogger(__name__)

SAMPLES = 5  # frames from which the method is chosen


def remove_backgrounds(name: str, images: list[np.ndarray], config: FramesConfig, segmenter: Segmenter | None) -> str:
    """Segment pictures in place, so that memory holds each frame once; returns a description of the method.

    Raises:
        ValueError: the method is not applicable.
    """
    match config.foreground:
        case "rembg" | "sam2" as network:
            if segmenter is None:
                raise ValueError(f"foreground {network}: needs its network, from open_segmenter")
            log.info("%s: %d frames, foreground: %s", name, len(images), segmenter)
            for index, alpha in enumerate(segmenter.alphas(image[..., :3] for image in images)):
                images[index] = cut_out(images[index], alpha)
            return str(segmenter)
        case mode:
            samples = sorted({round(index) for index in np.linspace(0, len(images) - 1, SAMPLES)})
            method = choose_method([images[index] for index in samples], mode)
            log.info("%s: %d frames, foreground: %s", name, len(images), method)
            _apply(images, method)
            return str(method)


def _apply(images: list[np.ndarray], method: Method) -> None:
    """Segment pictures in place by a method without a network."""
    if method.kind == "grabcut":  # initialised by the previous frame's result
        previous = None
        for index, picture in enumerate(images):
            previous = images[index] = remove_background(picture, method, previous)
        return

    def replace(index: int) -> None:
        images[index] = remove_background(images[index], method)

    in_order(replace, range(len(images)))
