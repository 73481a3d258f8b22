"""State of the tracking of a video between two of its steps, and its exact form on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.graph import DeformationGraph, Poses
from v2m4.files import Arrays


@dataclass(frozen=True)
class TrackingState:
    """Everything that the tracking of later frames depends on.

    Attributes:
        start: index of the first frame of the window that is tracked.
        known: number of fixed frames just before the window, the first ones of ``poses``.
        poses: of these frames, then of those of the window that have been tracked.
        passes: final passes over the window that are done.
        articulation: of the frames before the window.
        lost: indices of the frames in which track is lost.
        relocated: indices of the frames after loss of track, where motion is discontinuous.
    """

    start: int
    known: int
    poses: Poses
    passes: int
    articulation: Articulation
    lost: frozenset[int] = frozenset()
    relocated: frozenset[int] = frozenset()

    @classmethod
    def first(cls, graph: DeformationGraph) -> TrackingState:
        """The state after the first frame, whose pose is the rest pose."""
        return cls(1, 1, graph.rest_poses(), 0, Articulation.none(graph))

    @property
    def next_frame(self) -> int:
        """Index of the frame that is tracked next."""
        return self.start + len(self.poses) - self.known

    def arrays(self) -> Arrays:
        """The state as named arrays, exactly."""
        return {
            "counts": np.array([self.start, self.known, self.passes, self.articulation.frames], np.int64),
            "rotations": self.poses.rotations,
            "positions": self.poses.positions,
            "squared_stretch": self.articulation.squared_stretch,
            "squared_bend": self.articulation.squared_bend,
            "lost_frames": _indices(self.lost),
            "relocated_frames": _indices(self.relocated),
        }

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> TrackingState:
        """The inverse of ``arrays``."""
        start, known, passes, frames = arrays["counts"].tolist()
        return cls(
            start,
            known,
            Poses(arrays["rotations"], arrays["positions"]),
            passes,
            Articulation(arrays["squared_stretch"], arrays["squared_bend"], frames),
            frozenset(arrays["lost_frames"].tolist()),
            frozenset(arrays["relocated_frames"].tolist()),
        )


def _indices(frames: Iterable[int]) -> np.ndarray:
    return np.array(sorted(frames), np.int64)
