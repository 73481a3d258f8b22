"""The background behind a moving object: the camera's motion over it, and the median of what other frames show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.io._frame_store import LazyFrames
from v2m4.io._saliency_fusion import Motion
from v2m4.kernels import kernel
from v2m4.optical_flow import FAST, dense_flow

STILL = 0.75  # displacement, pixels, below which the picture stands still
NEIGHBOURS = 8  # other frames that a plate is made of
REACH = (1, 2, 4, 7, 11, 16)  # frames from a frame to these, before and after
NEARBY = 2 * REACH[-1] + 16  # frames that are kept for the plates of consecutive frames, on several threads
LEAST_COVERAGE = 2  # frames that must show the background at a pixel
GRID = 5  # pixels between points at which the flow is fitted
LEAST_INLIERS = 0.5  # of the flow that one homography must explain


@dataclass(frozen=True)
class Plate:
    """Background of one frame.

    Attributes:
        lowest: (h, w, 3) uint8, minimum over the 3 x 3 neighbourhood of each pixel's background colour.
        highest: (h, w, 3) uint8, maximum over it.
        known: (h, w) bool, where other frames show the background.
    """

    lowest: np.ndarray
    highest: np.ndarray
    known: np.ndarray


def camera_motion(pictures: Sequence[np.ndarray], flows: Sequence[Motion]) -> list[np.ndarray] | None:
    """Homographies (3, 3) from the first frame to every frame, by RANSAC on the whole picture's flow.

    Args:
        pictures: (h, w, 3) uint8 each.
        flows: between consecutive ones.

    Returns:
        None where no homography explains most of a picture's motion; identities for a still camera.
    """
    if _is_still(pictures):
        return [np.eye(3)] * len(pictures)
    chain = [np.eye(3)]
    for picture, flow in zip(pictures, flows, strict=False):
        rows, columns = np.nonzero(_textured(picture))
        start = np.stack([columns, rows], 1).astype(np.float32)
        matrix = _fitted(start, start + flow.ahead[rows, columns].astype(np.float32))
        if matrix is None:
            return None
        chain.append(matrix @ chain[-1])
    return chain


def _textured(picture: np.ndarray) -> np.ndarray:
    """Every pixel (h, w) bool of a grid at which the flow is well determined: half of the grid, by gradient."""
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
    strength = cv2.cornerMinEigenVal(grey, 5)
    grid = np.zeros(grey.shape, bool)
    grid[GRID // 2 : -GRID // 2 : GRID, GRID // 2 : -GRID // 2 : GRID] = True
    return grid & (strength > np.median(strength[grid]))


def _fitted(start: np.ndarray, moved: np.ndarray) -> np.ndarray | None:
    """The similarity (3, 3), else the homography, that moves most of the points (N, 2); None where none does.

    The similarity is preferred, because errors of a homography add up over a clip.
    """
    cv2.setRNGSeed(0)
    similarity, inliers = cv2.estimateAffinePartial2D(start, moved, method=cv2.RANSAC, ransacReprojThreshold=1.0)
    homography, others = cv2.findHomography(start, moved, cv2.RANSAC, 1.0, maxIters=500)
    share, other_share = (0.0 if found is None else float(found.mean()) for found in (inliers, others))
    if max(share, other_share) < LEAST_INLIERS:
        return None
    return np.vstack([similarity, [0, 0, 1]]) if share > 0.95 * other_share else homography


def _is_still(pictures: Sequence[np.ndarray]) -> bool:
    """Whether most of the picture stands still from the first frame to those in the middle and at the end."""
    first, *others = (cv2.cvtColor(pictures[index], cv2.COLOR_RGB2GRAY) for index in (0, len(pictures) // 2, -1))
    points = _textured(pictures[0])
    flows = [dense_flow(first, other, FAST)[points] for other in others]
    return all((np.linalg.norm(flow, axis=1) < STILL).mean() > LEAST_INLIERS for flow in flows)


def plates(
    pictures: Sequence[np.ndarray], homographies: Sequence[np.ndarray], hidden: Sequence[np.ndarray] | None = None
) -> Sequence[Plate]:
    """The background of every frame, computed when it is looked at.

    Args:
        pictures: (h, w, 3) uint8 each.
        homographies: (3, 3) from the first frame to each.
        hidden: (h, w) bool each, where the object hides the background; None takes every pixel for background.
    """
    count = len(pictures)
    if hidden is None:
        visible: Sequence[np.ndarray] = [np.ones(pictures[0].shape[:2], np.uint8)] * count
    else:
        radius = max(3, round(max(pictures[0].shape) / 60))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        masks = hidden
        visible = LazyFrames(count, lambda index: 1 - cv2.dilate(masks[index].astype(np.uint8), disc), NEARBY)
    if all(np.array_equal(matrix, np.eye(3)) for matrix in homographies):
        chosen = sorted({round(index) for index in np.linspace(0, count - 1, 2 * NEIGHBOURS)})
        plate = _plate([pictures[index] for index in chosen], [visible[index] for index in chosen])
        return [plate] * count

    def of_frame(index: int) -> Plate:
        seen, shown = [], []
        size = (pictures[0].shape[1], pictures[0].shape[0])
        for other in _neighbours(index, count):
            matrix = homographies[index] @ np.linalg.inv(homographies[other])
            seen.append(cv2.warpPerspective(pictures[other], matrix, size, flags=cv2.INTER_LINEAR))
            shown.append(cv2.warpPerspective(visible[other], matrix, size, flags=cv2.INTER_NEAREST))
        return _plate(seen, shown)

    return LazyFrames(count, of_frame)


def _neighbours(index: int, count: int) -> list[int]:
    """The frames around a frame that its plate is made of, at growing distance."""
    reach = [step * sign for step in REACH for sign in (-1, 1)]
    near = [index + step for step in reach if 0 <= index + step < count]
    return near[:NEIGHBOURS]


def _plate(pictures: Sequence[np.ndarray], visible: Sequence[np.ndarray]) -> Plate:
    colour, seen = _masked_median(np.stack(pictures), np.stack(visible))
    square = np.ones((3, 3), np.uint8)
    known = cv2.erode((seen >= LEAST_COVERAGE).astype(np.uint8), square) > 0
    return Plate(cv2.erode(colour, square), cv2.dilate(colour, square), known)


def _masked_median(pictures: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median colour (h, w, 3) over the frames that are visible at a pixel, and how many these are (h, w)."""
    colour = np.zeros(pictures.shape[1:], np.uint8)
    seen = np.zeros(visible.shape[1:], np.uint8)
    _medians(pictures, visible, colour, seen)
    return colour, seen


@kernel("u1[:,:,:,::1], u1[:,:,::1], u1[:,:,::1], u1[:,::1]")
def _medians(pictures, visible, colour, seen):
    count, height, width, _ = pictures.shape
    values = np.empty(count, np.uint8)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                known = 0
                for frame in range(count):
                    if visible[frame, y, x] > 0:
                        value = pictures[frame, y, x, channel]
                        place = known
                        while place > 0 and values[place - 1] > value:
                            values[place] = values[place - 1]
                            place -= 1
                        values[place] = value
                        known += 1
                if known > 0:
                    colour[y, x, channel] = (np.int64(values[(known - 1) // 2]) + np.int64(values[known // 2])) // 2
                seen[y, x] = known


def difference(picture: np.ndarray, plate: Plate) -> np.ndarray:
    """Distance (h, w) float32 of each pixel from its background, largest channel, of 255; 0 where that is unknown."""
    outside = np.maximum(cv2.subtract(plate.lowest, picture), cv2.subtract(picture, plate.highest)).max(2)
    return np.where(plate.known, outside, 0).astype(np.float32)


def plate_evidence(picture: np.ndarray, plate: Plate, hidden: np.ndarray) -> np.ndarray:
    """Evidence (h, w) float32 in [-1, 1] that a pixel is not the background; 0 where that is not known.

    The difference from the plate is measured relative to its level on the background, noise and misalignment included.
    Where a darker plate explains the picture, in a shadow, positive evidence is removed.

    Args:
        picture: (h, w, 3) uint8.
        plate: of this frame.
        hidden: (h, w) bool, where the object may be.
    """
    unlike = difference(picture, plate)
    certain = plate.known & ~hidden
    if certain.sum() < 64:
        return np.zeros_like(unlike)
    noise = float(np.percentile(unlike[certain], 85))
    threshold = float(np.clip(2 * noise, 8, 40))
    reliability = float(np.clip(2 - noise / 12, 0, 1))
    evidence = np.clip(unlike / threshold - 1, -1, 1)
    middle = (plate.lowest.astype(np.float32) + plate.highest) / 2
    darker = (picture * middle).sum(2) / np.maximum((middle * middle).sum(2), 1)
    residual = np.abs(picture - darker[..., None] * middle).max(2)
    shadow = (darker > 0.4) & (darker < 1) & (residual < 0.7 * threshold)
    evidence[shadow] = np.minimum(evidence[shadow], 0)
    return np.where(plate.known, reliability * evidence, 0).astype(np.float32)
