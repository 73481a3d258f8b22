"""Segment all frames of a clip by one method."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from v2m4.config import FramesConfig
from v2m4.io.foreground import Method, choose_method, cut_out, remove_background
from v2m4.io.mask_check import doubt_of, side_by_side
from v2m4.io.segmenter import Segmenter
from v2m4.preflight.foreground import SALIENT_COMMAND
from v2m4.threads import in_order

log = logging.getLogger(__name__)

SAMPLES = 5  # frames from which the method is chosen, and that are shown where the masks are doubtful
NETWORKS = ("salient", "rembg", "sam2")


def remove_backgrounds(
    name: str,
    images: list[np.ndarray],
    config: FramesConfig,
    segmenter: Segmenter | None,
    show: Callable[[np.ndarray], object] | None = None,
) -> str:
    """Segment pictures in place, so that memory holds each frame once; returns a description of the method.

    Where the masks of a real background do not look like those of one object, a warning is logged.

    Args:
        name: of the clip, for the log.
        images: (H, W, 3 or 4) uint8 each; replaced by RGBA.
        config: the method.
        segmenter: the network of a method that has one. ``auto`` uses it for clips with neither alpha nor a plain
            background; without it, these are segmented by GrabCut.
        show: called with a picture (h, w, 3) uint8 of frames and masks side by side, where there is a warning.

    Raises:
        ValueError: the method is not applicable.
    """
    samples = sorted({round(index) for index in np.linspace(0, len(images) - 1, SAMPLES)})
    method = _method([images[index] for index in samples], config, segmenter)
    description = _described(method, config)
    log.info("%s: %d frames, foreground: %s", name, len(images), description)
    if isinstance(method, Method) and method.kind != "grabcut":
        _apply(images, method)
        return description
    before = [images[index][..., :3].copy() for index in samples]
    if isinstance(method, Method):
        _apply(images, method)
    else:
        for index, alpha in enumerate(method.alphas(image[..., :3] for image in images)):
            images[index] = cut_out(images[index], alpha)
    doubt = doubt_of([image[..., 3] for image in images])
    if doubt is not None:
        log.warning("%s: %s", name, doubt)
        if show is not None:
            show(side_by_side(before, [images[index] for index in samples]))
    return description


def _method(samples: list[np.ndarray], config: FramesConfig, segmenter: Segmenter | None) -> Method | Segmenter:
    """What segments the clip: a network, or a method without one."""
    if config.foreground in NETWORKS:
        if segmenter is None:
            raise ValueError(f"foreground {config.foreground}: needs its network, from open_segmenter")
        return segmenter
    method = choose_method(samples, config.foreground)  # type: ignore[arg-type]
    return segmenter if config.foreground == "auto" and method.kind == "grabcut" and segmenter is not None else method


def _described(method: Method | Segmenter, config: FramesConfig) -> str:
    """The method's description, for the log and the manifest; GrabCut for want of the network says what to install."""
    if config.foreground == "auto" and isinstance(method, Method) and method.kind == "grabcut":
        return f"grabcut, because the network of --frames.foreground salient is not installed ({SALIENT_COMMAND})"
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
