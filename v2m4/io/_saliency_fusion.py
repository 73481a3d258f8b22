"""Temporal fusion: maps of single frames, averaged along dense optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.optical_flow import FAST, dense_flow
from v2m4.threads import in_order


@dataclass(frozen=True)
class Motion:
    """Optical flow between two consecutive frames.

    Attributes:
        ahead: (h, w, 2) float16 from the earlier to the later frame, pixels.
        back: (h, w, 2) float16 from the later to the earlier frame.
    """

    ahead: np.ndarray
    back: np.ndarray


def motions(pictures: Sequence[np.ndarray]) -> list[Motion]:
    """Flow between consecutive pictures (h, w, 3) uint8."""
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]

    def between(index: int) -> Motion:
        first, second = greys[index], greys[index + 1]
        flows = (dense_flow(first, second, FAST), dense_flow(second, first, FAST))
        return Motion(*(np.clip(flow, -6e4, 6e4).astype(np.float16) for flow in flows))

    return in_order(between, range(len(pictures) - 1))


def warped(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Values (h, w[, C]) of another frame, sampled bilinearly where this frame's flow (h, w, 2) points; 0 outside."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(values, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR))


def consistency(going: np.ndarray, coming: np.ndarray) -> np.ndarray:
    """Confidence (h, w) in [0, 1] of a flow from its forward-backward error."""
    flow = going.astype(np.float32)
    error = np.linalg.norm(flow + warped(coming.astype(np.float32), flow), axis=2)
    tolerance = 1.0 + 0.1 * np.linalg.norm(flow, axis=2)
    return np.exp(-np.square(error / tolerance))


def fused(
    maps: Sequence[np.ndarray | None], flows: Sequence[Motion], persistence: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weighted means of every frame's map and its neighbours', warped along the flow.

    A frame's weight decreases by ``persistence`` with each frame of distance, and where the flow is inconsistent.

    Args:
        maps: (h, w) float32 each; None where there is none.
        flows: between consecutive frames.
        persistence: in [0, 1); 0 keeps each map as it is.

    Returns:
        means and sums of weights, (h, w) float32 each, one per frame.
    """
    shape = next(item.shape for item in maps if item is not None)
    own = [np.zeros((*shape, 2), np.float32) for _ in maps]
    for pair, item in zip(own, maps, strict=True):
        if item is not None:
            pair[..., 0], pair[..., 1] = item, 1
    sums = [pair.copy() for pair in own]
    for order in (range(1, len(maps)), range(len(maps) - 2, -1, -1)):
        step = order.step
        carried = own[order.start - step]
        for index in order:
            motion = flows[index - 1] if step > 0 else flows[index]
            going, coming = (motion.back, motion.ahead) if step > 0 else (motion.ahead, motion.back)
            arriving = warped(carried, going.astype(np.float32)) * (persistence * consistency(going, coming))[..., None]
            sums[index] += arriving
            carried = own[index] + arriving
    means = [pair[..., 0] / np.maximum(pair[..., 1], 1e-6) for pair in sums]
    return means, [pair[..., 1] for pair in sums]
