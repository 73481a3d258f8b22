"""Time stamps of a video's frames: mended, and recognised as uniform where they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

COMMON_RATES = (24.0, 24000 / 1001, 25.0, 30.0, 30000 / 1001, 50.0, 60.0, 60000 / 1001, 12.0, 15.0)


def frame_times(stamps: Sequence[float | None], rates: Sequence[float], tick: float) -> tuple[np.ndarray, float]:
    """Times of a video's frames, and their mean rate.

    Stamps that a rate explains to within the rounding of the container are replaced by exact multiples of its interval.

    Args:
        stamps: (T,) presentation times in seconds, T >= 1; None where the container has none.
        rates: frame rates that the container states, frames per second, the most trusted first; 0 is unknown. The first
            known one is used where the stamps do not tell.
        tick: unit of the container's stamps, seconds.

    Returns:
        Times (T,) float64 seconds, strictly ascending from 0, and frames per second.
    """
    stated = [rate for rate in rates if np.isfinite(rate) and rate > 0]
    count = len(stamps)
    nominal = stated[0] if stated else 30.0
    if count == 1:
        return np.zeros(1), nominal
    mended = mend(stamps, 1 / nominal)
    mean = float((count - 1) / (mended[-1] - mended[0]))
    for rate in [*stated, mean, *COMMON_RATES]:
        uniform = np.arange(count) / rate
        deviation = mended - mended[0] - uniform
        # Half the deviation's range: the first stamp is rounded too.
        if np.ptp(deviation) / 2 <= min(1.01 * tick, 0.2 / rate):
            return uniform, rate
    return mended - mended[0], mean


def mend(stamps: Sequence[float | None], interval: float) -> np.ndarray:
    """Strictly ascending times (T,) float64: stamps that are missing or out of order are interpolated from the others.

    Args:
        stamps: (T,) seconds, T >= 2.
        interval: seconds between frames, where fewer than half of the stamps are in order.
    """
    values = np.array([np.nan if stamp is None else stamp for stamp in stamps], np.float64)
    kept = _longest_ascending(values)
    if len(kept) < max(2, len(values) / 2):
        return np.arange(len(values)) * interval
    index = np.arange(len(values), dtype=np.float64)
    times = np.interp(index, index[kept], values[kept])
    step = (values[kept[-1]] - values[kept[0]]) / (kept[-1] - kept[0])
    before, after = index < kept[0], index > kept[-1]
    times[before] = values[kept[0]] - step * (kept[0] - index[before])
    times[after] = values[kept[-1]] + step * (index[after] - kept[-1])
    return times


def _longest_ascending(values: np.ndarray) -> list[int]:
    """Indices of the longest strictly ascending subsequence of the finite values (patience sorting)."""
    ends: list[float] = []  # least last value of an ascending subsequence of each length
    last: list[int] = []
    previous: dict[int, int] = {}
    for index, value in enumerate(values.tolist()):
        if not np.isfinite(value):
            continue
        length = bisect_left(ends, value)
        if length < len(ends) and ends[length] == value:
            continue  # of equal ones the first is kept
        if length:
            previous[index] = last[length - 1]
        ends[length : length + 1] = [value]
        last[length : length + 1] = [index]
    kept = last[-1:]
    while kept and kept[-1] in previous:
        kept.append(previous[kept[-1]])
    return kept[::-1]
