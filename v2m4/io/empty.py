"""Find the frames of a clip that do not show the object: blank or faded ones, and those without foreground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

SIDE = 64  # pixels of the thumbnails that are compared
BLANK = 0.06  # range of values, relative to the clip's, below which a frame is blank
NOISE = 4.0  # levels of 255: range of values of a blank frame at least
FADED = 0.97  # contrast relative to a full frame's below which a frame is faded
EXPLAINED = 0.6  # of the difference to a full frame that remains when a fade is undone, at most
LEAST_OBJECT = 1e-4  # least area of the foreground, relative to the picture's
LEAST_SHARE = 0.02  # of the clip's median area of the foreground, below which a frame is empty
LEAVING = 0.4  # of that area, for first and last frames where the foreground touches the picture's border


def blank_or_faded(images: Sequence[np.ndarray]) -> np.ndarray:
    """Which frames (T,) bool have no content, or are part of a fade from or to a plain colour.

    A fade changes all values by one factor and offset: I = g J + o with g < 1, J a full frame. Frames are tested from
    the clip's ends and from blank frames on, as long as they are faded.

    Args:
        images: (H, W, 3 or 4) uint8, all of one size.
    """
    small = [_thumbnail(image) for image in images]
    ranges = np.array([np.ptp(each, axis=(1, 2)).max() for each in small])
    full = float(np.percentile(ranges, 95))
    blank = ranges <= max(NOISE, BLANK * full)
    result = blank.copy()
    count = len(images)
    borders = [(0, 1), (count - 1, -1)]
    borders += [border for first, last in runs(blank) for border in ((first - 1, -1), (last + 1, 1))]
    for start, step in borders:
        index = start
        while 0 <= index < count and not blank[index] and _is_faded(small, ranges, full, index, step):
            result[index] = True
            index += step
    return result


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Luminance on black, and alpha where there is one, (1 or 2, h, w) float32."""
    small = np.asarray(cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    luminance = cv2.cvtColor(np.ascontiguousarray(small[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    if image.shape[2] == 3:
        return luminance[None]
    alpha = small[..., 3].astype(np.float32)
    return np.stack([luminance * alpha / 255, alpha])


def _is_faded(small: Sequence[np.ndarray], ranges: np.ndarray, full: float, index: int, step: int) -> bool:
    """Whether a frame is a full one's, further on, with less contrast."""
    inner = index + step
    while 0 <= inner < len(small) and ranges[inner] < 0.95 * full:
        inner += step
    if not 0 <= inner < len(small) or ranges[index] > 0.99 * ranges[inner] or small[index].shape != small[inner].shape:
        return False
    for plane, reference in zip(small[index], small[inner], strict=True):
        gain, offset = _robust_line(reference.ravel(), plane.ravel())
        before = float(np.abs(plane - reference).mean())
        after = float(np.abs(plane - gain * reference - offset).mean())
        if gain < FADED and after < EXPLAINED * before and before > 1:
            return True
    return False


def _robust_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Gain and offset that minimise the sum of |y - gain x - offset|, by iteratively reweighted least squares."""
    weight = np.ones_like(x)
    gain, offset = 1.0, 0.0
    for _ in range(15):
        total = weight.sum()
        mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
        variance = (weight * (x - mean_x) ** 2).sum()
        if variance <= 1e-6 * total:
            return 1.0, 0.0
        gain = float((weight * (x - mean_x) * (y - mean_y)).sum() / variance)
        offset = float(mean_y - gain * mean_x)
        weight = 1 / np.maximum(np.abs(y - gain * x - offset), 0.5)
    return gain, offset


def without_object(alphas: Iterable[np.ndarray]) -> np.ndarray:
    """Which frames (T,) bool show none of the object, or, first and last, only a part of it that leaves the picture.

    Args:
        alphas: (H, W) uint8 each, of the segmented frames; taken one at a time.
    """
    found = [
        (np.count_nonzero(alpha > 127), max(16.0, LEAST_OBJECT * alpha.size), _touches_border(alpha))
        for alpha in alphas
    ]
    areas, least, touching = (np.array(values, np.float64) for values in zip(*found, strict=True))
    seen = areas >= least
    if not seen.any():
        return ~seen
    typical = float(np.median(areas[seen]))
    result = ~seen | (areas < LEAST_SHARE * typical)
    for order in (range(len(found)), reversed(range(len(found)))):
        for index in order:
            if not result[index]:
                if areas[index] >= LEAVING * typical or not touching[index]:
                    break
                result[index] = True
    return result


def _touches_border(alpha: np.ndarray) -> bool:
    return any(np.count_nonzero(line > 127) > 1 for line in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of true values."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))
