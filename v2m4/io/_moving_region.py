"""Where something moves on its own: pixels that the scene's other frames do not explain, gathered into one region."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from v2m4.io._background_plate import Plate, difference
from v2m4.threads import in_order

LEAST_DIFFERENCE = 12.0  # levels of 255
RADIUS = 3  # frames before and after, whose motion is gathered
LEAST_SHARE, LARGEST_SHARE = 5e-4, 0.3  # of the picture that moves in an average frame
SALIENCY_INSIDE = 0.6  # share of the salient pixels that must lie near the moving ones
LEAST_COVERED = 0.25  # share of the moving pixels' hull that must be salient
LEAST_CONTRAST = 0.45  # change of the saliency over time where the picture changes
LARGEST_REGION = 0.7  # of the picture: a larger region says nothing about where the object is


def moving_pixels(pictures: Sequence[np.ndarray], plates: Sequence[Plate]) -> list[np.ndarray]:
    """Pixels (h, w) uint8 that differ clearly from the scene's median, for every frame; specks removed."""

    def of_frame(index: int) -> np.ndarray:
        unlike = difference(pictures[index], plates[index])
        threshold = max(LEAST_DIFFERENCE, 3 * float(np.percentile(unlike, 70)))
        return cv2.morphologyEx((unlike > threshold).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))

    return in_order(of_frame, range(len(pictures)))


def moving_regions(moving: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """Region (h, w) bool of every frame in which motion is dense, over nearby frames.

    Returns:
        None where hardly anything moves on its own, or nearly everything does.
    """
    share = float(np.mean([pixels.mean() for pixels in moving]))
    if not LEAST_SHARE < share < LARGEST_SHARE:
        return None
    side = 2 * (max(moving[0].shape) // 24) + 1
    regions = []
    for index in range(len(moving)):
        near = moving[max(0, index - RADIUS) : index + RADIUS + 1]
        density = cv2.blur(np.mean(near, 0).astype(np.float32), (side, side))
        regions.append(density > 0.2 * density.max())
    return None if np.mean([region.mean() for region in regions]) > LARGEST_REGION else regions


def moving_hulls(moving: Sequence[np.ndarray], regions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Convex hulls (h, w) bool of the moving pixels in each frame's region, over nearby frames."""
    hulls = []
    for index, region in enumerate(regions):
        near = np.max(moving[max(0, index - 1) : index + 2], 0)
        rows, columns = np.nonzero((near > 0) & region)
        hull = np.zeros(region.shape, np.uint8)
        if len(rows) > 2:
            outline = cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32))
            cv2.fillConvexPoly(hull, outline, 1)
        hulls.append(hull > 0)
    return hulls


def is_about_motion(
    saliency: Sequence[np.ndarray], moving: Sequence[np.ndarray], hulls: Sequence[np.ndarray], still: bool
) -> bool:
    """Whether the salient object is what moves, and not something larger that it moves in front of.

    It is, if it hardly extends beyond the moving pixels' hulls, or, for a still camera, if the saliency changes where
    the picture changes: an arm covers and uncovers what is not salient.

    Args:
        saliency: (h, w) float32 of some frames.
        moving: (h, w) uint8 of all frames.
        hulls: (h, w) bool of the frames of ``saliency``.
        still: whether the camera is still.
    """
    inside, whole = 0.0, 0.0
    for salient, hull in zip(saliency, hulls, strict=True):
        radius = max(3, round(0.15 * float(np.sqrt(hull.sum()))))
        grown = cv2.dilate(hull.astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)) > 0
        inside += float((salient[grown] > 0.5).sum())
        whole += float((salient > 0.5).sum())
    covered = [float((salient[hull] > 0.5).mean()) for salient, hull in zip(saliency, hulls, strict=True) if hull.any()]
    if whole == 0 or float(np.mean(covered or [0])) < LEAST_COVERED:
        return False
    if inside > SALIENCY_INSIDE * whole:
        return True
    if not still:
        return False
    changing = np.mean(moving, 0) > 0.1
    contrast = np.max(saliency, 0) - np.min(saliency, 0)
    return bool(changing.any()) and float(contrast[changing].mean()) > LEAST_CONTRAST
