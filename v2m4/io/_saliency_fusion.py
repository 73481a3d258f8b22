"""Temporal fusion: maps of single frames, averaged along dense optical flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.io._frame_store import FrameStore, LazyFrames
from v2m4.optical_flow import FAST, dense_flow

CHECKPOINT = 64  # frames from one at which a killed pass goes on to the next


@dataclass(frozen=True)
class Motion:
    """Optical flow between two consecutive frames.

    Attributes:
        ahead: (h, w, 2) float16 from the earlier to the later frame, pixels.
        back: (h, w, 2) float16 from the later to the earlier frame.
    """

    ahead: np.ndarray
    back: np.ndarray


def motions(pictures: Sequence[np.ndarray], store: FrameStore | None = None) -> Sequence[Motion]:
    """Flow between consecutive pictures (h, w, 3) uint8; kept in the store's series ``flow``."""

    def between(index: int) -> np.ndarray:
        first, second = (cv2.cvtColor(pictures[each], cv2.COLOR_RGB2GRAY) for each in (index, index + 1))
        flows = (dense_flow(first, second, FAST), dense_flow(second, first, FAST))
        return np.stack([np.clip(flow, -6e4, 6e4).astype(np.float16) for flow in flows])

    count = len(pictures) - 1
    pairs = (store or FrameStore()).series("flow", count, between)
    return LazyFrames(count, lambda index: Motion(*pairs[index]))


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
    maps: Sequence[np.ndarray | None],
    flows: Sequence[Motion],
    persistence: float,
    store: FrameStore | None = None,
    name: str = "fused",
    kept: int = 0,
) -> Sequence[np.ndarray]:
    """Weighted means of every frame's map and its neighbours', warped along the flow, (h, w) float32 each.

    A frame's weight decreases by ``persistence`` with each frame of distance, and where the flow is inconsistent.

    Args:
        maps: (h, w) float32 each; None where there is none.
        flows: between consecutive frames.
        persistence: in [0, 1); 0 keeps each map as it is.
        store: of the means.
        name: of their series.
        kept: see ``LazyFrames``.
    """
    store = store or FrameStore()
    count = len(maps)
    missing = next((index for index in range(count - 1, -1, -1) if store.find(name, index) is None), None)
    if missing is not None:
        for index, total in weighted_sums(maps, flows, persistence, store, name, missing):
            if index <= missing:
                store.write(name, index, total[..., 0] / np.maximum(total[..., 1], 1e-6))
        store.remove(f"{name}_forwards", f"{name}_backwards")
    return store.stored(name, count, kept)


def weighted_sums(
    maps: Sequence[np.ndarray | None],
    flows: Sequence[Motion],
    persistence: float,
    store: FrameStore,
    name: str = "sums",
    last: int | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each frame's weighted sum of maps and the sum of the weights, (h, w, 2) float32, the last frame first.

    Args:
        maps: as those of ``fused``.
        flows: between consecutive frames.
        persistence: as that of ``fused``.
        store: of what comes from the frames before, and of checkpoints, in series that begin with ``name``.
        name: of these series.
        last: the last frame that is needed; others may be yielded before it.
    """
    count = len(maps)
    shape = next(item.shape for item in maps if item is not None)

    def own(index: int) -> np.ndarray:
        pair, item = np.zeros((*shape, 2), np.float32), maps[index]
        if item is not None:
            pair[..., 0], pair[..., 1] = item, 1
        return pair

    def arriving(carried: np.ndarray, going: np.ndarray, coming: np.ndarray) -> np.ndarray:
        confidence = persistence * consistency(going, coming)
        return warped(carried, going.astype(np.float32)) * confidence[..., None]

    carried = own(0)
    for index in range(1, count):
        found = store.find(f"{name}_forwards", index)
        if found is None:
            flow = flows[index - 1]
            found = own(index) + arriving(carried, flow.back, flow.ahead)
            store.write(f"{name}_forwards", index, found)
        carried = found
    first = count - 1
    for index in range(first if last is None else last + 1, count - 1):
        checkpoint = store.find(f"{name}_backwards", index) if index % CHECKPOINT == 0 else None
        if checkpoint is not None:
            first, carried = index, checkpoint
            break
    else:
        yield first, carried
        carried = own(first)
    for index in range(first - 1, -1, -1):
        flow = flows[index]
        behind = arriving(carried, flow.ahead, flow.back)
        carried = own(index) + behind
        if index and index % CHECKPOINT == 0:
            store.write(f"{name}_backwards", index, carried)
        yield index, (store.read(f"{name}_forwards", index) if index else own(0)) + behind
