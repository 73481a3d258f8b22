"""Whether a clip's masks look like those of one object in front of a background, and a picture that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

LARGEST_SHARE = 0.7  # of the picture that an object covers
LEAST_OVERLAP = 0.5  # intersection over union of consecutive masks, their centres aligned
LARGEST_BORDER = 0.5  # of the picture's border that an object covers
PANEL_HEIGHT = 240  # pixels
BEHIND = (255, 0, 255)  # colour in place of the background


def doubt_of(alphas: Iterable[np.ndarray]) -> str | None:
    """What is wrong with the masks of a clip, with what to do, in one line; None where they look right.

    Args:
        alphas: (H, W) uint8 each; taken one at a time.
    """
    shares, borders, overlaps = [], [], []
    before = None
    for mask in map(_small, alphas):
        shares.append(mask.mean())
        borders.append(_border(mask).mean())
        if before is not None:
            overlaps.append(_overlap(before, mask))
        before = mask
    share = float(np.median(shares))
    advice = "give frames with alpha or a plain background, or crop the video to the object"
    if share > LARGEST_SHARE:
        return f"nothing stands out: the mask covers {share:.0%} of the picture; {advice}"
    border = float(np.median(borders))
    if border > LARGEST_BORDER:
        return f"nothing stands out: the mask covers {border:.0%} of the picture's border; {advice}"
    if overlaps:
        overlap = float(np.median(overlaps))
        if overlap < LEAST_OVERLAP:
            return f"no object persists: masks of consecutive frames overlap by {overlap:.0%} only; {advice}"
    return None


def _small(alpha: np.ndarray) -> np.ndarray:
    """The mask (h, w) bool at a longer side of 128 pixels at most."""
    scale = min(1.0, 128 / max(alpha.shape))
    size = (max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale)))
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)) > 127


def _border(mask: np.ndarray) -> np.ndarray:
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union after the second mask is translated to the first one's centre; 1 for two empty masks."""
    if not first.any() or not second.any():
        return float(first.any() == second.any())
    shift = np.mean(np.nonzero(first), 1) - np.mean(np.nonzero(second), 1)
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float32)
    moved = cv2.warpAffine(second.astype(np.uint8), matrix, first.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    return float((first & moved).sum() / (first | moved).sum())


def side_by_side(pictures: Sequence[np.ndarray], segmented: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (left) and what was kept of them on magenta (right), one below the other, (h, w, 3) uint8.

    Args:
        pictures: (H, W, 3) uint8 each, before segmentation.
        segmented: (H, W, 4) uint8 each.
    """
    rows = []
    for picture, kept in zip(pictures, segmented, strict=True):
        opacity = kept[..., 3:].astype(np.float32) / 255
        cut = np.round(kept[..., :3] * opacity + (1 - opacity) * np.array(BEHIND)).astype(np.uint8)
        row = np.hstack([picture, cut])
        scale = PANEL_HEIGHT / row.shape[0]
        size = (max(1, round(row.shape[1] * scale)), PANEL_HEIGHT)
        rows.append(np.asarray(cv2.resize(row, size, interpolation=cv2.INTER_AREA)))
    return np.vstack(rows)
