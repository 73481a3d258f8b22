"""Poses of the frames that do not show the object, interpolated between those that do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from v2m4.frame import Clip
from v2m4.mesh import MeshSequence

NEIGHBOURS = 2  # frames on either side of a gap that determine the motion in it


@dataclass(frozen=True)
class Timeline:
    """All frames of a clip between its first and last, those that do not show the object included.

    Attributes:
        names: of the T frames.
        times: (T,) float64 seconds.
        positions: (T,) float64 frame numbers in the clip; fractions for absent frames.
    """

    names: list[str]
    times: np.ndarray
    positions: np.ndarray

    @classmethod
    def of(cls, clip: Clip) -> Timeline:
        """The timeline of a clip; its absent frames divide the interval between two frames in their times' ratio."""
        names = [frame.name for frame in clip.frames] + [frame.name for frame in clip.absent]
        shown = clip.seconds
        times = np.concatenate([shown, [frame.time for frame in clip.absent]])
        order = np.argsort(times, kind="stable")
        positions = np.concatenate(
            [np.arange(len(shown), dtype=np.float64), np.interp(times[len(shown) :], shown, np.arange(len(shown)))]
        )
        return cls([names[index] for index in order], times[order], positions[order])


def poses_for_export(sequence: MeshSequence, clip: Clip) -> MeshSequence:
    """Add to a sequence of key frames the poses of a clip's absent frames, and of all frames at a variable rate.

    Each vertex moves by monotone cubic interpolation in time (Fritsch and Carlson 1980) of the frames around a gap, so
    that it neither stops at the gap nor overshoots.

    Args:
        sequence: poses, ``times`` in frame numbers of the clip.
        clip: the clip.

    Returns:
        The sequence, at a variable rate with a pose for each frame, and with one more pose for each absent frame, at a
        fraction of a frame number; the frames on both sides of a gap have poses of their own.
    """
    if not clip.is_uniform:  # between key frames, poses are interpolated in frame numbers, players do it in seconds
        sequence = sequence.sampled(range(len(clip.frames)))
    if not clip.absent:
        return sequence
    timeline = Timeline.of(clip)
    inserted = timeline.positions[timeline.positions % 1 > 0]
    beside = np.unique(np.concatenate([np.floor(inserted), np.ceil(inserted)]))
    known = np.unique(np.concatenate([np.asarray(sequence.times, np.float64), beside]))
    poses = sequence.sampled(known).vertices
    shown = clip.seconds
    rows = []
    for low in np.unique(np.floor(inserted)).astype(int).tolist():
        around = np.arange(max(0, low - NEIGHBOURS + 1), min(len(shown), low + 1 + NEIGHBOURS))
        vertices = sequence.sampled(around).vertices
        wanted = timeline.times[(timeline.positions > low) & (timeline.positions < low + 1)]
        curve = PchipInterpolator(shown[around], vertices.detach().cpu().double().numpy(), axis=0)
        rows.append(torch.from_numpy(curve(wanted)).to(vertices))
    times = np.concatenate([known, inserted])
    order = np.argsort(times, kind="stable")
    vertices = torch.cat([poses, *rows])[torch.from_numpy(order)]
    return replace(sequence, vertices=vertices, times=times[order])
