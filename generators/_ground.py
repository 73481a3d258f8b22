"""What the ground tells: an object whose feet are seen further down on one side stands nearer to the camera there.

A silhouette cannot show that a body stretches into depth, but the places where it stands can: the ground rises in the
picture the farther it is. That needs the camera's pitch, which nobody told; a video is mostly taken from a little
above. Measured over a clip, for feet lift and cross.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from v2m4.camera import DEFAULT_FOV
from v2m4.frame import Frame

PITCH = math.radians(8)  # how far cameras look down, as a rule
LEAST_SLOPE = 0.1  # of the line of sight to a foot, downwards: below this the ground is seen edge-on and tells nothing
FOOT = 0.04  # of the object's size: how far a foot stands out from the outline beside it
SOLE = 0.03  # of the object's size: how much of a foot's tip is taken for its sole
APART = 0.1  # of the object's size: feet nearer to each other, as seen, tell nothing
FRAMES = 0.5  # the share of the frames that must show two feet
UPRIGHT, STRETCHED = 0.4, 0.5  # feet apart over the object's height: below, it stands upright; above, it stretches
STEEPEST = math.radians(60)  # more than this is rather a camera that looks down more than it is thought to
STEADY, UNSTEADY = math.radians(40), math.radians(80)  # spread of what the frames tell: below, trusted; above, not


@dataclass(frozen=True)
class Stance:
    """Two places where an object stands, one on each side of its middle.

    Attributes:
        slope: how fast depth grows to the right along the ground from one to the other.
        apart: how far the two are from each other, relative to the object's height.
    """

    slope: float
    apart: float


def stance(alpha: np.ndarray, fov: float = DEFAULT_FOV) -> Stance | None:
    """The lowest foot on either side of the middle of a silhouette; none where one side has none.

    An object can only stand if it is supported on both sides, so of all that hangs down these two are the most likely
    to be feet, and not tails or hands.

    Args:
        alpha: (H, W) uint8.
        fov: vertical field of view of the picture, radians.
    """
    inside = alpha > 127
    if not inside.any():
        return None
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    tall = float(rows[-1] + 1 - rows[0])
    size = max(tall, float(columns[-1] + 1 - columns[0]))
    low = np.full(inside.shape[1] + 2, float(rows[0]))  # the outline from below, with a column of nothing on each side
    low[columns + 1] = len(inside) - np.argmax(inside[::-1, columns], 0)
    middle = float(np.nonzero(inside)[1].mean()) + 1
    peaks, _ = find_peaks(low, prominence=FOOT * size)
    feet = []
    for side in (peaks[peaks < middle], peaks[peaks >= middle]):
        if len(side) == 0:
            return None
        lowest = side[np.argmax(low[side])]
        lifted = np.flatnonzero(low <= low[lowest] - SOLE * size)
        left, right = lifted[lifted < lowest].max(initial=0), lifted[lifted > lowest].min(initial=len(low) - 1)
        feet.append((0.5 * (left + right), low[lowest]))
    (left_x, left_y), (right_x, right_y) = feet
    across = right_x - left_x
    if across < APART * size:
        return None
    focal = 0.5 * len(inside) / math.tan(fov / 2)
    # The ground's inverse depth grows evenly down the picture, from 0 at the horizon.
    sight = math.tan(PITCH) + (0.5 * (left_y + right_y) - 0.5 * len(inside)) / focal
    slope = (left_y - right_y) / across / max(sight, LEAST_SLOPE)
    return Stance(slope, across * math.hypot(1, slope) / tall)


def lean(frames: Sequence[Frame]) -> float:
    """How fast the object recedes to the right: the tangent of the angle between its middle surface and the picture.

    Only an object that stretches over the ground is told to lean. What stands upright on narrow feet, as people do, is
    as deep on one side as on the other, whichever foot is in front; and where the frames contradict each other, or few
    show two feet, nothing is told either.

    Args:
        frames: of one clip.

    Returns:
        0 where nothing can be told.
    """
    found = [seen for frame in frames if (seen := stance(frame.rgba[..., 3], frame.fov)) is not None]
    if not found or len(found) < FRAMES * len(frames):
        return 0.0
    apart = float(np.quantile([seen.apart for seen in found], 0.75))
    # The farther feet are apart, the better they tell a direction: squares weigh as they do in least squares.
    found.sort(key=lambda seen: seen.slope)
    share = np.cumsum([seen.apart**2 for seen in found])
    quartiles = np.searchsorted(share, np.array([0.25, 0.5, 0.75]) * share[-1])
    low, angle, high = (math.atan(found[index].slope) for index in quartiles)
    trust = np.interp(apart, (UPRIGHT, STRETCHED), (0, 1)) * np.interp(high - low, (STEADY, UNSTEADY), (1, 0))
    return math.tan(trust * min(max(angle, -STEEPEST), STEEPEST))
