"""Fewest poses of an animation from which linear interpolation gives back all others within a tolerance."""

from __future__ import annotations

import numpy as np


def reduced_frames(poses: np.ndarray, times: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the poses to keep: a greedy piecewise linear approximation over time.

    From each kept pose on, the longest span is sought whose poses are all within the tolerance of the linear
    interpolation between its ends: by doubling its length, then by bisection (each span that is taken has been
    measured; a longer one may exist where the error does not grow with the length). The error of a pose is the largest
    distance of a vertex from its interpolated place, in units of ``object_size``.

    Args:
        poses: (T, V, 3).
        times: (T,) seconds, ascending: interpolation is linear in them.
        tolerance: largest error; 0 keeps every pose.

    Returns:
        (K,) int64, ascending; the first and the last pose are among them.

    Raises:
        ValueError: there is no pose, the times do not fit the poses or do not ascend, or the tolerance is negative.
    """
    poses, times = np.asarray(poses), np.asarray(times, dtype=np.float64)
    count = len(poses)
    if count == 0 or times.shape != (count,) or bool((np.diff(times) <= 0).any()):
        raise ValueError(f"reduced_frames: {count} poses at times {times.tolist()}, which must ascend")
    if not tolerance >= 0:
        raise ValueError(f"reduced_frames: the tolerance must be at least 0, got {tolerance}")
    if tolerance == 0:
        return np.arange(count)
    limit = tolerance * object_size(poses)
    kept = [0]
    while kept[-1] < count - 1:
        start = kept[-1]
        fits, length = 1, 2  # one interval always fits: no pose lies in it
        while start + length < count and _span_error(poses, times, start, start + length) <= limit:
            fits, length = length, 2 * length
        too_long = min(length, count - start)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if _span_error(poses, times, start, start + middle) <= limit:
                fits = middle
            else:
                too_long = middle
        kept.append(start + fits)
    return np.array(kept)


def interpolation_errors(poses: np.ndarray, times: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The error of every pose under interpolation between the kept ones, in units of ``object_size``, (T,) float64.

    Args:
        poses: (T, V, 3).
        times: (T,) seconds, ascending.
        kept: (K,) indices, ascending, from 0 to T - 1.
    """
    errors = np.zeros(len(poses))
    for start, stop in zip(kept[:-1].tolist(), kept[1:].tolist(), strict=True):
        for index in range(start + 1, stop):
            errors[index] = _error(poses, times, start, stop, index)
    return errors / object_size(poses)


def object_size(poses: np.ndarray) -> float:
    """Longest side of the first pose's bounding box; 1 for a point."""
    return float(np.ptp(poses[0], axis=0).max()) or 1.0


def _span_error(poses: np.ndarray, times: np.ndarray, start: int, stop: int) -> float:
    """Largest error of the poses between two."""
    return max((_error(poses, times, start, stop, index) for index in range(start + 1, stop)), default=0.0)


def _error(poses: np.ndarray, times: np.ndarray, start: int, stop: int, index: int) -> float:
    """Largest distance of a vertex of one pose from its place between two others."""
    weight = (times[index] - times[start]) / (times[stop] - times[start])
    offsets = poses[index] - ((1 - weight) * poses[start] + weight * poses[stop])
    return float(np.sqrt((offsets.astype(np.float64) ** 2).sum(-1).max()))
