"""Lean of an object in depth, estimated from the positions of its feet on the ground plane.

A silhouette does not show the extent of a body in depth, but the feet do: on the ground plane, points further down in
the image are nearer to the camera. The relation depends on the camera's pitch, which is unknown and assumed to be
``ASSUMED_CAMERA_PITCH``. The estimate is a robust mean over a clip, since feet lift and cross.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from v2m4.camera import DEFAULT_FOV
from v2m4.frame import Frame

# Downward pitch of the video's camera, radians. Not measured: it is the pitch of the benchmark's cameras, so figures of
# the benchmark include that this prior is right. docs/quality.md lists it ("How far to trust it").
ASSUMED_CAMERA_PITCH = math.radians(8)
MIN_DOWNWARD_SLOPE = 0.1  # of the line of sight to a foot; at smaller slopes the ground is seen edge-on
FOOT_PROMINENCE = 0.04  # of the object's size: least prominence of a foot in the lower outline
SOLE_HEIGHT = 0.03  # of the object's size: part of a foot above its lowest point that counts as its sole
MIN_FOOT_DISTANCE = 0.1  # of the object's size: pairs of feet with a smaller distance in the image are not used
MIN_FRAME_SHARE = 0.5  # least share of frames that show two feet
# Distance of the feet over the object's height: the confidence is 0 below the first, 1 above the second.
UPRIGHT, STRETCHED = 0.4, 0.5
MAX_ANGLE = math.radians(60)  # bound of the estimate; a larger one indicates a camera with a larger pitch than assumed
# Interquartile range over the frames: the confidence is 1 below the first, 0 above the second.
CONSISTENT, INCONSISTENT = math.radians(40), math.radians(80)


@dataclass(frozen=True)
class FootPair:
    """Two feet of an object, one on each side of its centre.

    Attributes:
        slope: increase of depth per distance to the right, on the ground from one foot to the other.
        relative_distance: distance of the feet on the ground, relative to the object's height.
    """

    slope: float
    relative_distance: float


def foot_pair(alpha: np.ndarray, fov: float = DEFAULT_FOV) -> FootPair | None:
    """Lowest foot on each side of the centre of a silhouette; None if a side has none.

    An object must be supported on both sides to be stable, so the lowest parts of the two sides are more likely to be
    feet than tails or hands.

    Args:
        alpha: (H, W) uint8.
        fov: vertical field of view of the image, radians.
    """
    inside = alpha > 127
    if not inside.any():
        return None
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    height = float(rows[-1] + 1 - rows[0])
    size = max(height, float(columns[-1] + 1 - columns[0]))
    low = np.full(inside.shape[1] + 2, float(rows[0]))  # lower outline, padded by an empty column on each side
    low[columns + 1] = len(inside) - np.argmax(inside[::-1, columns], 0)
    middle = float(np.nonzero(inside)[1].mean()) + 1
    peaks, _ = find_peaks(low, prominence=FOOT_PROMINENCE * size)
    feet = []
    for side in (peaks[peaks < middle], peaks[peaks >= middle]):
        if len(side) == 0:
            return None
        lowest = side[np.argmax(low[side])]
        above_sole = np.flatnonzero(low <= low[lowest] - SOLE_HEIGHT * size)
        left, right = (
            above_sole[above_sole < lowest].max(initial=0),
            above_sole[above_sole > lowest].min(initial=len(low) - 1),
        )
        feet.append((0.5 * (left + right), low[lowest]))
    (left_x, left_y), (right_x, right_y) = feet
    horizontal_distance = right_x - left_x
    if horizontal_distance < MIN_FOOT_DISTANCE * size:
        return None
    focal = 0.5 * len(inside) / math.tan(fov / 2)
    # The ground's inverse depth is linear in the image row, and 0 at the horizon.
    downward_slope = math.tan(ASSUMED_CAMERA_PITCH) + (0.5 * (left_y + right_y) - 0.5 * len(inside)) / focal
    slope = (left_y - right_y) / horizontal_distance / max(downward_slope, MIN_DOWNWARD_SLOPE)
    return FootPair(slope, horizontal_distance * math.hypot(1, slope) / height)


def estimate_lean(frames: Sequence[Frame]) -> float:
    """Lean of the object: tangent of the angle between its medial surface and the image plane, positive to the right.

    The lean is the weighted median over the frames, times a confidence that is 0 for objects upright on narrow feet, as
    people, whose depth does not depend on which foot is in front; for inconsistent frames; and where few frames show
    two feet.

    Args:
        frames: of one clip.

    Returns:
        Increase of depth per distance to the right; 0 without an estimate.
    """
    pairs = [pair for frame in frames if (pair := foot_pair(frame.rgba[..., 3], frame.fov)) is not None]
    if not pairs or len(pairs) < MIN_FRAME_SHARE * len(frames):
        return 0.0
    relative_distance = float(np.quantile([pair.relative_distance for pair in pairs], 0.75))
    # The error of the slope falls with the distance of the feet: weights are its squares, as in least squares.
    pairs.sort(key=lambda pair: pair.slope)
    cumulative_weight = np.cumsum([pair.relative_distance**2 for pair in pairs])
    quartiles = np.searchsorted(cumulative_weight, np.array([0.25, 0.5, 0.75]) * cumulative_weight[-1])
    low, angle, high = (math.atan(pairs[index].slope) for index in quartiles)
    confidence = np.interp(relative_distance, (UPRIGHT, STRETCHED), (0, 1)) * np.interp(
        high - low, (CONSISTENT, INCONSISTENT), (1, 0)
    )
    return math.tan(confidence * min(max(angle, -MAX_ANGLE), MAX_ANGLE))
