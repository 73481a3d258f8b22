"""Point trackers behind one protocol: CoTracker3, and chained dense optical flow, which needs no weights.

A tracker handles a short clip. ``track_through`` covers a video of any length by overlapping windows (of 32 frames, as
in V2M4). A window's queries are the points' positions in the frames that it shares with the window before. V2M4
queries from the last frame, visible or not; here each point is queried from the last shared frame in which it is
visible, and a point that none shows stays lost: an occluded point's position is a guess, and queried anew it would be
tracked as if it were visible.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import numpy as np

from registration.correspondences import cotracker as _cotracker
from registration.correspondences.tuning import TUNING
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.optical_flow import Tracks, flow_between, track
from v2m4.threads import in_order

VISIBLE = 0.5  # confidence from which on a point counts as visible; part of the ``Tracker`` protocol


class Tracker(Protocol):
    """Tracks points through a video."""

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """Positions of query points in every frame.

        Args:
            video: (T, H, W, 4) uint8 sRGB, straight alpha.
            points: (N, 2) query points, fractions of the image's width and height.
            starts: (N,) int, the frame of each query.

        Returns:
            positions (T, N, 2) in the same fractions, and confidences (T, N); a point is visible from ``VISIBLE`` on.
        """
        ...


class FlowTracker:
    """Dense inverse search flow chained over consecutive frames, with a forward-backward check."""

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """See ``Tracker``; a point that is lost once stays lost."""
        frames = [Frame(str(index), index, picture) for index, picture in enumerate(video)]
        flows = in_order(lambda pair: flow_between(*pair), pairwise(frames))
        positions = np.zeros((len(video), len(points), 2))
        confidence = np.zeros((len(video), len(points)))
        for start in np.unique(starts):
            queries = np.flatnonzero(starts == start)
            for stop in (0, len(video) - 1):
                tracks = track(points[queries], int(start), stop, flows)
                times = np.linspace(start, stop, abs(stop - int(start)) + 1).astype(np.int64)
                positions[times[:, None], queries] = tracks.positions
                confidence[times[:, None], queries] = tracks.confidence
        return Tracks(positions, confidence)


def track_through(
    tracker: Tracker,
    video: np.ndarray,
    points: np.ndarray,
    start: int,
    window: int = TUNING.tracker_window,
    overlap: int = TUNING.tracker_overlap,
) -> Tracks:
    """Track points from one frame to both ends of a video of any length, in overlapping windows.

    Args:
        tracker: tracks them within a window.
        video: (T, H, W, 4) uint8.
        points: (N, 2) fractions of the image, in frame ``start``.
        start: frame index.
        window: frames that the tracker sees at once.
        overlap: frames that two windows share, fewer than ``window``.

    Returns:
        positions and confidences in all T frames.
    """
    forward = _track_forward(tracker, video[start:], points, window, overlap)
    backward = _track_forward(tracker, video[start::-1], points, window, overlap)
    return Tracks(
        np.concatenate([backward.positions[:0:-1], forward.positions]),
        np.concatenate([backward.confidence[:0:-1], forward.confidence]),
    )


def _track_forward(tracker: Tracker, video: np.ndarray, points: np.ndarray, window: int, overlap: int) -> Tracks:
    """Tracks of points (N, 2) of the first frame through all frames.

    A point's confidence is multiplied by that of its query at every change of windows.
    """
    tracks = tracker.track(video[:window], points, np.zeros(len(points), np.int64))
    positions, confidence = tracks.positions, tracks.confidence
    index = np.arange(len(points))
    while len(positions) < len(video):
        first = max(len(positions) - overlap, 0)
        shared = len(positions) - first
        visible = confidence[first:] >= VISIBLE
        query_frame = np.where(visible.any(0), shared - 1 - visible[::-1].argmax(0), shared - 1)
        query_confidence = confidence[first + query_frame, index]
        tracks = tracker.track(video[first : first + window], positions[first + query_frame, index], query_frame)
        new = np.arange(len(tracks.positions))[:, None] > query_frame
        old_positions = np.pad(positions[first:], ((0, len(new) - shared), (0, 0), (0, 0)))
        old_confidence = np.pad(confidence[first:], ((0, len(new) - shared), (0, 0)))
        new_positions = np.where(new[..., None], tracks.positions, old_positions)
        new_confidence = np.where(new, tracks.confidence * query_confidence, old_confidence)
        positions = np.concatenate([positions[:first], new_positions])
        confidence = np.concatenate([confidence[:first], new_confidence])
    return Tracks(positions, confidence)


TRACKERS: dict[str, Callable[[Config], Tracker]] = {
    "cotracker": _cotracker.CoTracker,
    "flow": lambda config: FlowTracker(),
}


def load(config: Config) -> Tracker:
    """Load the tracker that ``--registration.tracker`` names.

    Raises:
        Unavailable: its package or weights are missing, or cannot be loaded.
    """
    return TRACKERS[config.registration.tracker](config)


def describe(config: Config) -> str:
    """One line for the manifest: which trackers are used, and on what."""
    flow = "dense optical flow (no weights)"
    if not config.use_tracking:
        return flow
    names = {"cotracker": "CoTracker3", "flow": flow}
    return f"{names[config.registration.tracker]} on rendered views; {flow} on the video"
