"""Dense optical flow by dense inverse search, and point tracks chained from it: the tracker without weights.

``dense_flow`` is the only caller of OpenCV's dense inverse search (DIS). Tracks chain the flow between consecutive
frames, computed in both directions in a window around the object. A point's confidence decreases with the
forward-backward error of the flow, and where the point leaves the object's mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4 import threads
from v2m4.frame import Frame
from v2m4.image_window import Window, object_box, window_around
from v2m4.on_demand import OnDemand

AT_ONCE = 8  # fields that are computed together
KEPT_BYTES = 96 << 20  # of the fields that were asked for last, about 48
MIN_MASK_MOTION = 3.0  # pixels of the window; the search finds smaller motion as well from a start of zeros


@dataclass(frozen=True)
class FlowSettings:
    """Settings of the dense inverse search; None keeps the preset's value.

    Attributes:
        preset: of OpenCV; sets the finest pyramid level and the iterations of the variational refinement.
        patch_size: side of the matched patches, pixels.
        patch_stride: distance between patches, pixels.
        descent_steps: gradient descent steps of each patch.
    """

    preset: int
    patch_size: int | None = None
    patch_stride: int | None = None
    descent_steps: int | None = None


FAST = FlowSettings(cv2.DISOPTICAL_FLOW_PRESET_FAST)
MEDIUM = FlowSettings(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def dense_flow(
    first: np.ndarray, second: np.ndarray, settings: FlowSettings, start: np.ndarray | None = None
) -> np.ndarray:
    """Dense inverse search flow from the first to the second picture, (h, w, 2) float32 pixels as (x, y).

    Source: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search".

    Args:
        first: (h, w) uint8.
        second: (h, w) uint8.
        settings: of the search.
        start: (h, w, 2) float32 initial flow, pixels. Zeros are not equivalent to None: with an initial flow OpenCV
            crops the coarse levels differently where the sides are not multiples of their scale.
    """
    search = cv2.DISOpticalFlow.create(settings.preset)
    if settings.patch_size is not None:
        search.setPatchSize(settings.patch_size)
    if settings.patch_stride is not None:
        search.setPatchStride(settings.patch_stride)
    if settings.descent_steps is not None:
        search.setGradientDescentIterations(settings.descent_steps)
    return np.asarray(search.calc(first, second, None if start is None else start.copy()))  # calc writes into it


@dataclass(frozen=True)
class FlowField:
    """Optical flow between two consecutive frames, in a window of the picture.

    Attributes:
        window: (x0, y0, x1, y1) in fractions of the picture.
        forward: (h, w, 2) float16 from the earlier to the later frame, pixels of the window.
        backward: (h, w, 2) float16 from the later to the earlier frame.
        alphas: mask of the earlier and the later frame, (h, w) uint8 each.
    """

    window: Window
    forward: np.ndarray
    backward: np.ndarray
    alphas: tuple[np.ndarray, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.forward.nbytes + self.backward.nbytes + sum(alpha.nbytes for alpha in self.alphas)


@dataclass(frozen=True)
class Tracks:
    """Point tracks from one frame through others.

    Attributes:
        positions: (T, N, 2) fractions of the picture's width and height; the first are the query points.
        confidence: (T, N) in [0, 1].
    """

    positions: np.ndarray
    confidence: np.ndarray


def flow_between(first: Frame, second: Frame, longest: int = 448) -> FlowField:
    """Dense inverse search flow (medium preset), both directions, in a window of at most ``longest`` pixels a side.

    Where the masks move, the flow also starts from their motion, and the more consistent of both results is returned.
    """
    height, width = first.rgba.shape[:2]
    window = window_around([object_box(first), object_box(second)], first.aspect)
    wide, high = (window[2] - window[0]) * width, (window[3] - window[1]) * height
    rows = max(16, round(high * min(1.0, longest / max(wide, high))))
    pictures = [frame.tensors(rows, window, background=0.0) for frame in (first, second)]
    (colour, mask), (_, other_mask) = pictures
    # Maximum contrast to the object, so that its outline is tracked, not the background.
    background = 1.0 if float(colour.sum() / mask.sum().clamp_min(1) / 3) < 0.5 else 0.0
    shades = [
        cv2.cvtColor((np.clip((c + background * (1 - m)).numpy(), 0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for c, m in pictures
    ]
    alphas = (mask[..., 0].numpy(), other_mask[..., 0].numpy())
    still = np.zeros((*shades[0].shape, 2), np.float32)
    starts = [(still, still)]
    moved = mask_motion(*alphas), mask_motion(*alphas[::-1])
    if max(float(np.abs(motion).max()) for motion in moved) > MIN_MASK_MOTION:
        starts.append(moved)
    masks = tuple((255 * alpha).round().astype(np.uint8) for alpha in alphas)
    fields = [
        FlowField(
            window,
            dense_flow(shades[0], shades[1], MEDIUM, ahead).astype(np.float16),
            dense_flow(shades[1], shades[0], MEDIUM, back).astype(np.float16),
            (masks[0], masks[1]),
        )
        for ahead, back in starts
    ]
    return max(fields, key=agreement)


class FlowFields(OnDemand[FlowField]):
    """Flow between each two consecutive frames of a video, computed when it is asked for.

    A field is computed with some that follow it where several threads are at hand. Those that were asked for last are
    kept, so that memory does not grow with the length of the video.

    Args:
        frames: T frames; field t is between frames t and t + 1.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__(max(len(frames) - 1, 0), self._computed, lambda field: field.nbytes, KEPT_BYTES)
        self.frames = frames

    def _computed(self, index: int) -> FlowField:
        following = range(index + 1, min(index + AT_ONCE, len(self))) if threads.count() > 1 else ()
        numbers = [index, *(each for each in following if not self.keeps(each))]
        fields = threads.in_order(lambda each: flow_between(self.frames[each], self.frames[each + 1]), numbers)
        for number, field in zip(numbers, fields, strict=True):
            self.keep(number, field)
        return fields[0]


def mask_motion(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Translation and per-axis scale between the moments of two masks: an initial flow for fast motion.

    Args:
        first: (h, w) coverage.
        second: (h, w) coverage.

    Returns:
        (h, w, 2) float32 pixels; zero where a mask is empty.
    """
    motion = np.zeros((*first.shape, 2), np.float32)
    if first.sum() < 1 or second.sum() < 1:
        return motion
    for component, axis in ((0, 1), (1, 0)):  # x along the columns, y along the rows
        places = np.arange(first.shape[axis], dtype=np.float64)
        (centre, extent), (moved_centre, moved_extent) = (_moments(mask, axis, places) for mask in (first, second))
        stretch = np.clip(moved_extent / extent, 0.5, 2.0)
        along = moved_centre + (places - centre) * stretch - places
        motion[..., component] = along if axis == 1 else along[:, None]
    return motion


def _moments(mask: np.ndarray, axis: int, places: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, at least 1, of a mask's coverage along one axis."""
    share = mask.sum(1 - axis, dtype=np.float64)
    share /= share.sum()
    mean = float(share @ places)
    return mean, max(float(np.sqrt(share @ np.square(places - mean))), 1.0)


def agreement(field: FlowField, stride: int = 4) -> float:
    """Forward-backward consistency of the flow: mean confidence over both masks, in [0, 1]."""
    shares = []
    for time, alpha in enumerate(field.alphas):
        rows, columns = np.nonzero(alpha[::stride, ::stride] > 127)
        points = np.stack([columns, rows], 1) * float(stride) + 0.5
        if len(points):
            shares.append(_step(points, field, ahead=time == 0)[1].mean())
    return float(np.mean(shares)) if shares else 0.0


def _step(pixels: np.ndarray, field: FlowField, ahead: bool) -> tuple[np.ndarray, np.ndarray]:
    """Move points (N, 2), pixels of the window, by one frame; returns the new points and their confidence (N,)."""
    going, coming = (field.forward, field.backward) if ahead else (field.backward, field.forward)
    moved = pixels + _sample(going, pixels)
    returned = moved + _sample(coming, moved)
    error = np.linalg.norm(returned - pixels, axis=1)
    tolerance = 1.0 + 0.05 * np.linalg.norm(moved - pixels, axis=1)
    inside = _sample(field.alphas[1 if ahead else 0], moved)[:, 0] / 255
    return moved, np.exp(-np.square(error / tolerance)) * inside.clip(0, 1)


def _sample(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values (N, C) of a picture at pixels (N, 2), the first pixel centred at (0.5, 0.5)."""
    height, width = picture.shape[:2]
    channels = picture.reshape(height * width, -1)
    column, row = (np.clip(points[:, axis] - 0.5, 0, side - 1) for axis, side in ((0, width), (1, height)))
    left, top = (np.minimum(at.astype(np.int64), max(side - 2, 0)) for at, side in ((column, width), (row, height)))
    to_right, below = np.minimum(1, width - 1), width * np.minimum(1, height - 1)
    first, across, down = top * width + left, (column - left)[:, None], (row - top)[:, None]
    upper, lower = (
        channels[index] * (1 - across) + channels[index + to_right] * across for index in (first, first + below)
    )
    return upper * (1 - down) + lower * down


def track(points: np.ndarray, start: int, stop: int, flows: Sequence[FlowField]) -> Tracks:
    """Track points from one frame to another, forward or backward in time.

    Args:
        points: (N, 2) in frame ``start``, fractions of the picture.
        start: frame index.
        stop: frame index; less than ``start`` to track backward in time.
        flows: flow t is between frames t and t + 1.

    Returns:
        positions and confidences in frames start ... stop, ``abs(stop - start) + 1`` of them.
    """
    ahead = stop >= start
    positions, confidence = [points.astype(np.float64)], [np.ones(len(points))]
    for step in range(abs(stop - start)):
        field = flows[start + step] if ahead else flows[start - step - 1]
        height, width = field.forward.shape[:2]
        origin, span = np.array(field.window[:2]), np.array(field.window[2:]) - np.array(field.window[:2])
        size = np.array([width, height])
        moved, trust = _step((positions[-1] - origin) / span * size, field, ahead)
        confidence.append(confidence[-1] * trust)
        positions.append(origin + moved / size * span)
    return Tracks(np.stack(positions), np.stack(confidence))
