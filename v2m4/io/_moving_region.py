"""Where something moves on its own: pixels that the scene's other frames do not explain, gathered into one region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from v2m4.io._background_plate import Plate, difference
from v2m4.io._frame_store import FrameStore

LEAST_DIFFERENCE = 12.0  # levels of 255
RADIUS = 3  # frames before and after, whose motion is gathered
LEAST_SHARE, LARGEST_SHARE = 5e-4, 0.3  # of the picture that moves in an average frame
NEARBY = 8  # frames before and after, whose hulls are joined
KEPT = 2 * NEARBY + 8  # frames of which masks are kept for those nearby
SALIENCY_INSIDE = 0.6  # share of the salient pixels that must lie near the moving ones
SALIENCY_NEAR = 0.01  # share of the salient pixels near the moving ones, below which they are elsewhere
LEAST_BEHIND = 0.15  # share of the picture that is salient; something smaller is taken for the object
LARGEST_ALWAYS = 0.5  # mean over the places of the scene that change, of their least saliency over time
LARGEST_REGION = 0.7  # of the picture: a larger region says nothing about where the object is


def moving_pixels(
    pictures: Sequence[np.ndarray], plates: Sequence[Plate], store: FrameStore | None = None
) -> Sequence[np.ndarray]:
    """Pixels (h, w) uint8 that differ clearly from the scene's median, for every frame; specks removed."""

    def of_frame(index: int) -> np.ndarray:
        unlike = difference(pictures[index], plates[index])
        threshold = max(LEAST_DIFFERENCE, 3 * float(np.percentile(unlike, 70)))
        return cv2.morphologyEx((unlike > threshold).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))

    return (store or FrameStore()).series("moving_pixels", len(pictures), of_frame, packed=True, kept=KEPT)


def moving_regions(moving: Sequence[np.ndarray], store: FrameStore | None = None) -> Sequence[np.ndarray] | None:
    """Region (h, w) bool of every frame in which motion is dense, over nearby frames.

    Returns:
        None where hardly anything moves on its own, or nearly everything does.
    """
    share = float(np.mean([pixels.mean() for pixels in moving]))
    if not LEAST_SHARE < share < LARGEST_SHARE:
        return None
    side = 2 * (max(moving[0].shape) // 24) + 1

    def of_frame(index: int) -> np.ndarray:
        near = moving[max(0, index - RADIUS) : index + RADIUS + 1]
        density = cv2.blur(np.mean(near, 0).astype(np.float32), (side, side))
        return density > 0.2 * density.max()

    regions = (store or FrameStore()).series("moving_regions", len(moving), of_frame, packed=True)
    return None if np.mean([region.mean() for region in regions]) > LARGEST_REGION else regions


def moving_hulls(
    moving: Sequence[np.ndarray], regions: Sequence[np.ndarray], store: FrameStore | None = None
) -> Sequence[np.ndarray]:
    """Convex hulls (h, w) bool of the moving pixels in each frame's region, over nearby frames."""

    def of_frame(index: int) -> np.ndarray:
        near, region = np.max(moving[max(0, index - 1) : index + 2], 0), regions[index]
        rows, columns = np.nonzero((near > 0) & region)
        hull = np.zeros(region.shape, np.uint8)
        if len(rows) > 2:
            outline = cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32))
            cv2.fillConvexPoly(hull, outline, 1)
        return hull > 0

    return (store or FrameStore()).series("moving_hulls", len(moving), of_frame, packed=True, kept=KEPT)


def is_about_motion(
    saliency: Mapping[int, np.ndarray],
    moving: Sequence[np.ndarray],
    hulls: Sequence[np.ndarray],
    homographies: Sequence[np.ndarray],
) -> bool:
    """Whether the salient object is what moves, and not something larger that it moves in front of.

    It is, if it is small, if it hardly extends beyond the moving pixels' hulls of nearby frames, or if what changes is
    not salient all the time: an arm covers and uncovers what is not salient.

    Args:
        saliency: (h, w) float32 of some frames, by frame.
        moving: (h, w) uint8 of all frames.
        hulls: (h, w) bool of all frames.
        homographies: (3, 3) from the first frame to each.
    """
    inside, whole = 0.0, 0.0
    for index, found in saliency.items():
        hull, salient = np.any(hulls[max(0, index - NEARBY) : index + NEARBY + 1], 0), found > 0.5
        radius = max(3, round(0.15 * float(np.sqrt(max(hull.sum(), salient.sum())))))
        grown = cv2.dilate(hull.astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)) > 0
        inside += float((salient & grown).sum())
        whole += float(salient.sum())
    if inside <= SALIENCY_NEAR * whole:
        return False
    if inside > SALIENCY_INSIDE * whole or whole < LEAST_BEHIND * sum(found.size for found in saliency.values()):
        return True
    middle = homographies[len(homographies) // 2]

    def aligned(values: np.ndarray, index: int) -> np.ndarray:
        """A frame's values, as float32, at the places of the middle frame; NaN outside."""
        matrix = middle @ np.linalg.inv(homographies[index])
        size, data = values.shape[::-1], values.astype(np.float32)
        return cv2.warpPerspective(data, matrix, size, flags=cv2.INTER_NEAREST, borderValue=(np.nan,))

    shape = moving[0].shape
    moves, shown, always = np.zeros(shape, np.float32), np.zeros(shape, np.int64), np.full(shape, np.nan, np.float32)
    for index in range(len(moving)):
        own = aligned(moving[index] * hulls[index], index)
        moves += np.nan_to_num(own)
        shown += np.isfinite(own)
    for index, found in saliency.items():
        always = np.fmin(always, aligned(found, index))
    changing = (moves / np.maximum(shown, 1)).astype(np.float32) > 0.1
    known = changing & np.isfinite(always)
    return bool(known.any()) and float(always[known].mean()) < LARGEST_ALWAYS
