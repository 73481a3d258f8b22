"""Which frames become key frames: where straight lines between them follow the motion best.

V2M4 takes every skip-th frame. A motion that swings back and forth then falls between the samples: its turning points
are cut off, and no interpolation brings them back. We take as many key frames, but put them where they cost least,
judged by points that dense optical flow carries from frame to frame.
"""

from __future__ import annotations

import logging
from itertools import pairwise

import cv2
import numpy as np

from v2m4.frame import Clip, Frame
from v2m4.optical_flow import FAST, dense_flow

log = logging.getLogger(__name__)

ROWS = 256  # of the pictures that the flow is computed on
SPACING = 6  # pixels between tracked points
EVENNESS = 2e-2  # squared pixels per squared frame of an uneven gap: decides where the motion does not


def object_window(frames: list[Frame], margin: float = 0.05) -> tuple[float, float, float, float]:
    """The part of the picture that the object ever covers, as in ``Camera.window``, with a margin on each side.

    Raises:
        ValueError: no frame has a foreground.
    """
    covered = np.max([frame.rgba[..., 3] for frame in frames], axis=0) > 127
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if len(rows) == 0:
        raise ValueError("object_window: no frame has a foreground")
    height, width = covered.shape
    x0, x1, y0, y1 = columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height
    pad_x, pad_y = margin * (x1 - x0), margin * (y1 - y0)
    return (x0 - pad_x, y0 - pad_y, x1 + pad_x, y1 + pad_y)


def choose_key_frames(clip: Clip, skip: int) -> list[int]:
    """As many key frames as every ``skip``-th frame would give, the first and the last among them.

    Args:
        clip: all frames.
        skip: mean number of frames from one key frame to the next; gaps are at most twice as long.

    Returns:
        frame indices in ascending order.

    Raises:
        ValueError: ``skip`` is less than 1.
    """
    even = clip.key_indices(skip)
    last = len(clip.frames) - 1
    if len(even) <= 2 or len(even) > last:
        return even
    longest = min(2 * skip, last)
    cost = interpolation_costs(clip.frames, longest)
    gap = np.arange(last + 1)[None, :] - np.arange(last + 1)[:, None]
    cost = np.where((gap >= 1) & (gap <= longest), cost + EVENNESS * (gap - skip) ** 2, np.inf)
    chosen = shortest_path(cost, len(even))
    log.info("key frames %s (every %d-th: %s)", chosen, skip, even)
    return chosen


def shortest_path(cost: np.ndarray, count: int) -> list[int]:
    """The cheapest way from the first to the last of T nodes over exactly ``count`` nodes, both ends included.

    Args:
        cost: (T, T); entry (i, j) is the cost of going straight from i to j > i, infinite where forbidden.
        count: nodes on the way, at least 2.

    Raises:
        ValueError: there is no such way.
    """
    total = len(cost)
    best = np.full(total, np.inf)
    best[0] = 0.0
    previous = np.zeros((count, total), dtype=np.int64)
    for step in range(1, count):
        through = best[:, None] + cost
        previous[step] = through.argmin(0)
        best = through.min(0)
    if not np.isfinite(best[-1]):
        raise ValueError(f"shortest_path: no way over {count} of {total} nodes")
    path = [total - 1]
    for step in range(count - 1, 0, -1):
        path.append(int(previous[step, path[-1]]))
    return path[::-1]


def interpolation_costs(frames: list[Frame], longest: int) -> np.ndarray:
    """What frames between i and j lose when points move on straight lines from i to j.

    Returns:
        (T, T) float64: entry (i, j) sums the mean squared distances (pixels of a picture of ROWS rows) over the frames
        between; infinite where j - i is not in 1..longest.
    """
    window = object_window(frames)
    pictures = [frame.tensors(ROWS, window, background=0.5) for frame in frames]
    grey = [(colour.mean(2).numpy() * 255).round().astype(np.uint8) for colour, _ in pictures]
    inside = [mask[..., 0].numpy() > 0.5 for _, mask in pictures]
    flows = [dense_flow(before, after, FAST) for before, after in pairwise(grey)]
    costs = np.full((len(frames), len(frames)), np.inf)
    for start in range(len(frames) - 1):
        tracks = _track(flows[start : start + longest], inside[start])  # (n, P, 2)
        for gap in range(1, len(tracks)):
            between = np.linspace(0.0, 1.0, gap + 1)[1:-1, None, None]
            straight = tracks[0] + between * (tracks[gap] - tracks[0])
            costs[start, start + gap] = ((tracks[1:gap] - straight) ** 2).sum(2).mean(1).sum() if gap > 1 else 0.0
    return costs


def _track(flows: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """Points of a grid on the object, carried along: (len(flows) + 1, P, 2) pixels."""
    rows, columns = np.nonzero(inside[::SPACING, ::SPACING])
    points = np.stack([columns, rows], 1).astype(np.float32) * SPACING
    tracks = [points]
    for flow in flows:
        step = cv2.remap(flow, points[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        points = points + step
        tracks.append(points)
    return np.stack(tracks).astype(np.float64)
