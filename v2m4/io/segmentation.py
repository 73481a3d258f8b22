"""Segment all frames of a clip by one method."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from v2m4.config import FramesConfig
from v2m4.io._frame_store import FrameStore, LazyFrames
from v2m4.io.foreground import Method, choose_method, cut_out, remove_background
from v2m4.io.mask_check import doubt_of, side_by_side
from v2m4.io.segmenter import Segmenter
from v2m4.preflight.foreground import SALIENT_COMMAND
from v2m4.threads import in_runs

log = logging.getLogger(__name__)

SAMPLES = 5  # frames from which the method is chosen, and that are shown where the masks are doubtful
CUT_OUTS = "cut_outs"  # series of the store
NETWORKS = ("salient", "rembg", "sam2")


def remove_backgrounds(
    name: str,
    images: Sequence[np.ndarray],
    config: FramesConfig,
    segmenter: Segmenter | None,
    show: Callable[[np.ndarray], object] | None = None,
    store: FrameStore | None = None,
) -> tuple[str, Sequence[np.ndarray]]:
    """Segment pictures; returns a description of the method, and the pictures as RGBA, in the store.

    Where the masks of a real background do not look like those of one object, a warning is logged.

    Args:
        name: of the clip, for the log.
        images: (H, W, 3 or 4) uint8 each.
        config: the method.
        segmenter: the network of a method that has one. ``auto`` uses it for clips with neither alpha nor a plain
            background; without it, these are segmented by GrabCut.
        show: called with a picture (h, w, 3) uint8 of frames and masks side by side, where there is a warning.
        store: of the results; with the same store a call that was interrupted goes on. None keeps them in memory.

    Raises:
        ValueError: the method is not applicable.
    """
    store = store or FrameStore()
    samples = sorted({round(index) for index in np.linspace(0, len(images) - 1, SAMPLES)})
    method = _method([images[index] for index in samples], config, segmenter)
    description = _described(method, config)
    log.info("%s: %d frames, foreground: %s", name, len(images), description)
    if isinstance(method, Method):
        results = _by_method(images, method, store)
        if method.kind != "grabcut":
            return description, results
    else:
        results = _by_network(images, method, store)
    doubt = doubt_of(image[..., 3] for image in results)
    if doubt is not None:
        log.warning("%s: %s", name, doubt)
        if show is not None:
            show(side_by_side([images[index][..., :3] for index in samples], [results[index] for index in samples]))
    return description, results


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


def _by_method(images: Sequence[np.ndarray], method: Method, store: FrameStore) -> Sequence[np.ndarray]:
    """Segment pictures by a method without a network."""

    def segmented(index: int, previous: np.ndarray | None = None) -> np.ndarray:
        return remove_background(images[index], method, previous)

    if method.kind != "grabcut":
        return store.series(CUT_OUTS, len(images), segmented, packed=True)
    previous = None  # the result that initialises the next one
    for index in range(len(images)):
        previous = store.made(CUT_OUTS, index, partial(segmented, index, previous), packed=True)
    return store.stored(CUT_OUTS, len(images))


def _by_network(images: Sequence[np.ndarray], network: Segmenter, store: FrameStore) -> Sequence[np.ndarray]:
    """Segment pictures by a network's masks."""

    def segmented(item: tuple[int, np.ndarray]) -> None:
        index, alpha = item
        store.made(CUT_OUTS, index, lambda: cut_out(images[index], alpha), packed=True)

    opaque = LazyFrames(len(images), lambda index: images[index][..., :3])
    for _ in in_runs(segmented, enumerate(network.alphas(opaque, store))):
        pass
    return store.stored(CUT_OUTS, len(images))
