"""Points followed through a video, behind one protocol: CoTracker3, or dense optical flow, which needs no weights.

A tracker follows points through one stretch of video. ``track_through`` joins stretches to whole clips: windows of 32
frames, as in V2M4, each set going from the last frames of the one before. Where V2M4 takes a window's last predictions
for what they are, here a point goes on from the last shared frame that shows it, and one that none shows stays lost:
a guess set anew as a query would be followed from then on as if it had been seen.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import numpy as np

from registration.correspondences import cotracker as _cotracker
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.optical_flow import Tracks, flow_between, track
from v2m4.threads import in_order

WINDOW = 32  # frames that a tracker sees at once
OVERLAP = 8  # of them shared with the window before
VISIBLE = 0.5  # least confidence of a point that is seen


class Tracker(Protocol):
    """Follows points through a video."""

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """Where points are in every frame.

        Args:
            video: (T, H, W, 4) uint8 sRGB, straight alpha.
            points: (N, 2) fractions of the picture's width and height.
            starts: (N,) the frame that each is set in.

        Returns:
            positions (T, N, 2) in the same fractions, and confidences (T, N): from ``VISIBLE`` on the point is seen.
        """
        ...


class FlowTracker:
    """Dense inverse search flow between neighbouring frames, chained and checked by going back; see ``flow``."""

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """See ``Tracker``; a point once lost stays lost."""
        frames = [Frame(str(index), index, picture) for index, picture in enumerate(video)]
        flows = in_order(lambda pair: flow_between(*pair), pairwise(frames))
        positions = np.zeros((len(video), len(points), 2))
        confidence = np.zeros((len(video), len(points)))
        for start in np.unique(starts):
            these = np.flatnonzero(starts == start)
            for stop in (0, len(video) - 1):
                found = track(points[these], int(start), stop, flows)
                frames_passed = np.linspace(start, stop, abs(stop - int(start)) + 1).astype(np.int64)
                positions[frames_passed[:, None], these] = found.positions
                confidence[frames_passed[:, None], these] = found.confidence
        return Tracks(positions, confidence)


def track_through(
    tracker: Tracker, video: np.ndarray, points: np.ndarray, start: int, window: int = WINDOW, overlap: int = OVERLAP
) -> Tracks:
    """Follow points that are set in one frame to both ends of a video of any length.

    Args:
        tracker: follows them through a stretch.
        video: (T, H, W, 4) uint8.
        points: (N, 2) fractions of the picture, in frame ``start``.
        start: frame index.
        window: frames that the tracker sees at once.
        overlap: frames that two windows share, fewer than ``window``.

    Returns:
        positions and confidences in all T frames.
    """
    ahead = _onward(tracker, video[start:], points, window, overlap)
    back = _onward(tracker, video[start::-1], points, window, overlap)
    return Tracks(
        np.concatenate([back.positions[:0:-1], ahead.positions]),
        np.concatenate([back.confidence[:0:-1], ahead.confidence]),
    )


def _onward(tracker: Tracker, video: np.ndarray, points: np.ndarray, window: int, overlap: int) -> Tracks:
    """The points (N, 2) of the first frame, through all frames."""
    found = tracker.track(video[:window], points, np.zeros(len(points), np.int64))
    positions, confidence = found.positions, found.confidence
    every = np.arange(len(points))
    while len(positions) < len(video):
        first = max(len(positions) - overlap, 0)
        shared = len(positions) - first
        seen = confidence[first:] >= VISIBLE
        last = np.where(seen.any(0), shared - 1 - seen[::-1].argmax(0), shared - 1)
        trust = confidence[first + last, every]
        found = tracker.track(video[first : first + window], positions[first + last, every], last)
        new = np.arange(len(found.positions))[:, None] > last
        known = np.pad(positions[first:], ((0, len(new) - shared), (0, 0), (0, 0)))
        trusted = np.pad(confidence[first:], ((0, len(new) - shared), (0, 0)))
        positions = np.concatenate([positions[:first], np.where(new[..., None], found.positions, known)])
        confidence = np.concatenate([confidence[:first], np.where(new, found.confidence * trust, trusted)])
    return Tracks(positions, confidence)


TRACKERS: dict[str, Callable[[Config], Tracker]] = {
    "cotracker": _cotracker.CoTracker,
    "flow": lambda config: FlowTracker(),
}


def load(config: Config) -> Tracker:
    """The tracker that ``--registration.tracker`` names.

    Raises:
        Unavailable: its package or weights are missing, or cannot be loaded.
    """
    return TRACKERS[config.registration.tracker](config)


def describe(config: Config) -> str:
    """What follows points, for the manifest."""
    twin = "dense optical flow (no weights)"
    if not config.use_tracking:
        return twin
    names = {"cotracker": "CoTracker3", "flow": twin}
    return f"{names[config.registration.tracker]} on rendered views; {twin} on the video"
