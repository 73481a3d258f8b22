"""Choose the key frames that minimise the error of linear interpolation between them.

V2M4 takes every skip-th frame, which undersamples oscillating motion: its extremes fall between key frames, and no
interpolation restores them. Here as many key frames are placed by dynamic programming such that linear interpolation of
point tracks, advected by dense inverse search flow (Kroeger et al. 2016), has the least error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from functools import reduce

import cv2
import numpy as np

from v2m4.config import Config
from v2m4.frame import Clip, Frame
from v2m4.optical_flow import FAST, dense_flow

log = logging.getLogger(__name__)

PICTURE_ROWS = 256  # height of the pictures of which flow is computed
TRACK_SPACING = 6  # pixels between the starts of point tracks
UNEVEN_GAP_PENALTY = 2e-2  # squared pixels per squared frame of deviation from ``skip``: decides on static motion


def foreground_window(frames: list[Frame], margin: float = 0.05) -> tuple[float, float, float, float]:
    """The bounding window of the foreground of all frames, as in ``Camera.window``, with a margin on each side.

    Raises:
        ValueError: no frame has a foreground.
    """
    covered = reduce(np.maximum, (frame.rgba[..., 3] for frame in frames)) > 127
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if len(rows) == 0:
        raise ValueError("foreground_window: no frame has a foreground")
    height, width = covered.shape
    x0, x1, y0, y1 = columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height
    pad_x, pad_y = margin * (x1 - x0), margin * (y1 - y0)
    return (x0 - pad_x, y0 - pad_y, x1 + pad_x, y1 + pad_y)


def key_indices(clip: Clip, config: Config) -> list[int]:
    """Indices of the key frames: all for the baseline, the first with ``--motion video``, else by ``--key_frames``."""
    if config.baseline:
        return clip.key_indices(1)
    if config.motion != "registration":
        return [0]
    return choose_key_frames(clip, config.skip) if config.key_frames == "motion" else clip.key_indices(config.skip)


def choose_key_frames(clip: Clip, skip: int) -> list[int]:
    """Choose as many key frames as every ``skip``-th frame would give, including the first and the last frame.

    Args:
        clip: all frames.
        skip: mean number of frames from one key frame to the next; gaps are at most twice as long.

    Returns:
        Frame indices in ascending order.

    Raises:
        ValueError: ``skip`` is less than 1.
    """
    regular = clip.key_indices(skip)
    last = len(clip.frames) - 1
    if len(regular) <= 2 or len(regular) > last:
        return regular
    longest = min(2 * skip, last)
    cost = interpolation_costs(clip.frames, longest)
    gap = np.arange(last + 1)[None, :] - np.arange(last + 1)[:, None]
    cost = np.where((gap >= 1) & (gap <= longest), cost + UNEVEN_GAP_PENALTY * (gap - skip) ** 2, np.inf)
    chosen = shortest_path(cost, len(regular))
    log.info("key frames %s (every %d-th: %s)", chosen, skip, regular)
    return chosen


def shortest_path(cost: np.ndarray, count: int) -> list[int]:
    """The shortest path from the first to the last of T nodes over exactly ``count`` nodes, by dynamic programming.

    Args:
        cost: (T, T); entry (i, j) is the cost of the edge from i to j > i, infinite where there is none.
        count: nodes of the path, both ends included, at least 2.

    Raises:
        ValueError: there is no such path.
    """
    total = len(cost)
    best = np.full(total, np.inf)
    best[0] = 0.0
    previous = np.zeros((count, total), dtype=np.int64)
    for step in range(1, count):
        candidate_costs = best[:, None] + cost
        previous[step] = candidate_costs.argmin(0)
        best = candidate_costs.min(0)
    if not np.isfinite(best[-1]):
        raise ValueError(f"shortest_path: no path over {count} of {total} nodes")
    path = [total - 1]
    for step in range(count - 1, 0, -1):
        path.append(int(previous[step, path[-1]]))
    return path[::-1]


def interpolation_costs(frames: list[Frame], longest: int) -> np.ndarray:
    """Error of linear interpolation of point tracks between every two frames.

    Args:
        frames: T frames.
        longest: largest gap j - i.

    Returns:
        (T, T) float64: entry (i, j) is the mean squared distance (pixels of a picture of PICTURE_ROWS rows) of tracks
        from the line between their positions in i and j, summed over the frames between; infinite where j - i is not in
        1..longest.
    """
    window = foreground_window(frames)
    costs = np.full((len(frames), len(frames)), np.inf)
    flows: deque[np.ndarray] = deque()  # from frame ``start`` on; no more than are needed are kept
    inside: deque[np.ndarray] = deque()
    start, before = 0, None

    def add_costs() -> None:
        tracks = _advect_points(flows, inside.popleft())  # (n, P, 2)
        for gap in range(1, len(tracks)):
            between = np.linspace(0.0, 1.0, gap + 1)[1:-1, None, None]
            interpolated = tracks[0] + between * (tracks[gap] - tracks[0])
            costs[start, start + gap] = ((tracks[1:gap] - interpolated) ** 2).sum(2).mean(1).sum() if gap > 1 else 0.0
        flows.popleft()

    for frame in frames:
        colour, mask = frame.tensors(PICTURE_ROWS, window, background=0.5)
        grey = (colour.mean(2).numpy() * 255).round().astype(np.uint8)
        if before is not None:
            flows.append(dense_flow(before, grey, FAST))
        before = grey
        inside.append(mask[..., 0].numpy() > 0.5)
        if len(flows) == longest:
            add_costs()
            start += 1
    while flows:
        add_costs()
        start += 1
    return costs


def _advect_points(flows: Iterable[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """Tracks of a grid of foreground points advected by flow, (T + 1, P, 2) pixels.

    Args:
        flows: T, (H, W, 2) pixels each, from each picture to the next.
        inside: (H, W) bool foreground of the first picture.
    """
    rows, columns = np.nonzero(inside[::TRACK_SPACING, ::TRACK_SPACING])
    points = np.stack([columns, rows], 1).astype(np.float32) * TRACK_SPACING
    tracks = [points]
    for flow in flows:
        step = cv2.remap(flow, points[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        points = points + step
        tracks.append(points)
    return np.stack(tracks).astype(np.float64)
