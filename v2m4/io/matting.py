"""Masks, soft edges and straight colours of an object before its background."""

from __future__ import annotations

import cv2
import numpy as np

GAP = 2e-4  # of the object's area: smaller enclosed regions are never gaps to see through
SURE = 32  # this far from the background (of 255), a pixel is surely the object


def is_compressed(distance: np.ndarray) -> bool:
    """Whether JPEG or a video codec has left its traces on the background beside the object.

    They are faint: many pixels are off by a single level, which hardly any pixel of an untouched picture is.

    Args:
        distance: (H, W) uint8, how far each pixel is from the background.
    """
    away = cv2.distanceTransform((distance <= SURE).astype(np.uint8), cv2.DIST_L2, 3)
    beside = distance[(away > 3) & (away <= 8)]
    return beside.size > 0 and float((beside == 1).mean()) > 0.02


def solid_mask(distance: np.ndarray, threshold: int, ringing: float) -> np.ndarray:
    """The object (H, W) bool: everything that the background, flooding in from the border, does not reach.

    Args:
        distance: (H, W) uint8, how far each pixel is from the background.
        threshold: largest distance that counts as background.
        ringing: share of an edge's height that may lie on the background beside it.
    """
    # Compression rings beside an edge as loudly as the edge is high: near the object the threshold rises with it.
    reach = 2 * round(max(distance.shape) / 128) + 1
    loudest = cv2.dilate(distance, cv2.getStructuringElement(cv2.MORPH_RECT, (reach, reach)))
    different = distance > np.maximum(threshold, ringing * loudest)
    # A dark part on black is a lace of pixels above and below the threshold: close it, but only over pixels that are
    # not the bare background, so that gaps between fingers stay open.
    radius = max(1, round(max(distance.shape) / 300))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    closed = cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    different |= closed & (distance > max(1, threshold // 4))
    flooded = np.zeros((distance.shape[0] + 2, distance.shape[1] + 2), np.uint8)
    flooded[1:-1, 1:-1] = different
    cv2.floodFill(flooded, None, (0, 0), 2, flags=4)
    inside = flooded[1:-1, 1:-1] != 2
    enclosed = inside & ~different
    if enclosed.any():
        inside &= ~_gaps(distance, enclosed, inside, threshold)
    return inside


def _gaps(distance: np.ndarray, enclosed: np.ndarray, inside: np.ndarray, threshold: int) -> np.ndarray:
    """Of the enclosed regions of the background's colour, those that one sees through (H, W) bool.

    A gap is bare background: flat away from its rim (where compression rings), not tiny, and its rim is a step. A dark
    fold or a highlight fades into the object instead.
    """
    outside = distance[~inside]
    bare = float(np.percentile(outside[:: max(1, outside.size // 20000)], 90)) if outside.size else 0.0
    bare = 1 + max(bare, threshold // 3)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(enclosed.astype(np.uint8), connectivity=4)
    least = max(12.0, GAP * float(np.count_nonzero(inside)))
    gaps = np.zeros_like(enclosed)
    for label in range(1, count):
        x, y, width, height, area = stats[label]
        if area < least:
            continue
        margin = 8
        window = np.s_[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
        region = (labels[window] == label).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        away = cv2.distanceTransform(1 - region, cv2.DIST_L2, 3)
        values = distance[window]
        core = values[depth >= min(3.0, 0.7 * float(depth.max()))]
        near, far = (float(np.median(values[(away > low) & (away <= low + 1)])) for low in (2, 6))
        if (core <= bare).mean() > 0.8 and near > 3 * threshold and near > 0.6 * far:
            gaps[window] |= region > 0
    return gaps


def matte(
    rgb: np.ndarray, inside: np.ndarray, background: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Soft edges: alpha and straight colour from I = a c + (1 - a) b in a band of a few pixels within a binary mask.

    The object's colour c of a pixel in the band is that of the nearest pixel that is surely the object; a is where I
    lies between b and c. Where c is too like b to tell, the mask's own edge stands.

    Args:
        rgb: (H, W, 3) uint8.
        inside: (H, W) bool, the object with its soft edge.
        background: (3,) or (H, W, 3) float32, 0-255.
        threshold: distance from the background that cannot be told from noise, of 255.

    Returns:
        alpha (H, W) and colour (H, W, 3), uint8.
    """
    alpha, colour = inside.astype(np.uint8) * 255, rgb.copy()
    if not inside.any():
        return alpha, colour
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    window = np.s_[max(0, ys[0] - 1) : ys[-1] + 2, max(0, xs[0] - 1) : xs[-1] + 2]
    image, mask = rgb[window], inside[window]
    behind = np.broadcast_to(background, rgb.shape)[window]
    band = 4.0 if max(rgb.shape) > 640 else 3.0
    # The picture's own border is no edge of the object.
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8))) & mask
    contrast_here = np.abs(image - behind).max(2)
    sure = (depth > band) | (ridge & (contrast_here > 3 * threshold))
    edge = mask & ~sure
    if not sure.any() or not edge.any():
        return alpha, colour
    nearest = nearest_known(sure)[edge]
    own, back = image[edge].astype(np.float32), behind[edge].astype(np.float32)
    inner = image.reshape(-1, 3)[nearest].astype(np.float32)
    axis = inner - back
    length = (axis * axis).sum(1)
    soft = np.clip(((own - back) * axis).sum(1) / np.maximum(length, 1e-6), 0, 1)
    # Depth counts too: three or four pixels from the edge a pixel cannot be nearly transparent.
    soft = np.maximum(soft, np.clip((depth[edge] - 2) / band, 0, 1))
    trust = np.clip((np.sqrt(length) - 2 * threshold) / (2 * threshold), 0, 1)
    soft = 1 - trust * (1 - soft)
    soft[soft < 0.04] = 0
    straight = (own - (1 - soft[:, None]) * back) / np.maximum(soft[:, None], 0.04)
    certain = np.clip((soft[:, None] - 0.1) / 0.3, 0, 1)  # thin coverage says little about colour
    straight = certain * np.clip(straight, 0, 255) + (1 - certain) * inner
    alpha[window][edge] = np.round(255 * soft)
    colour[window][edge] = np.round(straight)
    return alpha, colour


def nearest_known(known: np.ndarray) -> np.ndarray:
    """For every pixel the flat index of the nearest known pixel, (H, W)."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    flat = np.flatnonzero(known)
    where = np.zeros(labels.max() + 1, np.int64)
    where[labels.reshape(-1)[flat]] = flat
    return where[labels]


def fitted_to_picture(rgb: np.ndarray, coverage: np.ndarray, radius: int) -> np.ndarray:
    """Alpha (H, W) uint8 of a coarse mask whose edge is drawn to the picture's edges nearby.

    Args:
        rgb: (H, W, 3) uint8.
        coverage: (H, W) float32 in [0, 1], the mask at the picture's size.
        radius: how far its edge may be off, pixels.
    """
    guide = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) / 255
    soft = _guided_filter(guide, coverage, radius, 1e-3)
    return np.round(255 * np.clip((soft - 0.2) / 0.6, 0, 1)).astype(np.uint8)


def matte_coarse(rgb: np.ndarray, coverage: np.ndarray, reach: float) -> np.ndarray:
    """Alpha (H, W) uint8 of a coarse mask before any background: where its edge is in doubt, the colours decide.

    Within ``reach`` of the mask's edge, a pixel lies between the nearest colour that is surely the object's and the
    nearest that is surely the background's. Where these two are alike, the mask stands.

    Args:
        rgb: (H, W, 3) uint8.
        coverage: (H, W) float32 in [0, 1], the mask at the picture's size.
        reach: how far its edge may be off, pixels.
    """
    inside = (coverage > 0.5).astype(np.uint8)
    depth, away = (cv2.distanceTransform(part, cv2.DIST_L2, 3) for part in (inside, 1 - inside))
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8))) & (coverage > 0.9)  # the middle of thin parts
    sure, behind = (depth > reach) | ridge, away > reach
    alpha = coverage.copy()
    if sure.any() and behind.any():
        doubt = ~sure & ~behind
        calm = cv2.blur(rgb, (3, 3)).reshape(-1, 3)
        own, inner, outer = (
            colours.astype(np.float32)
            for colours in (rgb[doubt], calm[nearest_known(sure)[doubt]], calm[nearest_known(behind)[doubt]])
        )
        axis = inner - outer
        length = (axis * axis).sum(1)
        share = np.clip(((own - outer) * axis).sum(1) / np.maximum(length, 1e-6), 0, 1)
        trust = np.clip((np.sqrt(length) - 20) / 40, 0, 1)
        alpha[doubt] = trust * share + (1 - trust) * coverage[doubt]
        alpha[sure], alpha[behind] = 1, 0
    return np.round(255 * alpha).astype(np.uint8)


def unmixed(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight colour (H, W, 3) uint8 of an object: at soft edges the share of the background nearby is taken out.

    Args:
        rgb: (H, W, 3) uint8.
        alpha: (H, W) uint8.
    """
    known_behind = alpha < 8
    if not known_behind.any():
        return rgb
    behind = rgb.reshape(-1, 3)[nearest_known(known_behind)].astype(np.float32)
    opacity = np.maximum(alpha[..., None], 1).astype(np.float32) / 255
    straight = np.clip((rgb - (1 - opacity) * behind) / opacity, 0, 255)
    return np.where(alpha[..., None] > 64, np.round(straight), rgb).astype(np.uint8)


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Values smoothed but for the edges of the guide (He et al. 2010); all (H, W) float32."""

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.blur(image, (2 * radius + 1,) * 2)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
