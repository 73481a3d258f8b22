"""Masks, mattes (soft alpha) and straight colours of an object in front of a background."""

from __future__ import annotations

import cv2
import numpy as np

MIN_GAP_AREA = 2e-4  # share of the object's area: smaller enclosed regions are never holes
CLEAN_THRESHOLD = 6  # levels of 255: the threshold of a background without visible noise at the picture's border
CERTAIN_DISTANCE = 32  # levels of 255: a pixel this far from the background's colour is certainly the object


def is_compressed(distance: np.ndarray) -> bool:
    """Whether the background near the object has artefacts of JPEG or video compression.

    Such artefacts are faint: many pixels differ by a single level, which hardly any pixel of an uncompressed picture
    does.

    Args:
        distance: (H, W) uint8, colour distance of each pixel from the background.
    """
    outside_distance = cv2.distanceTransform((distance <= CERTAIN_DISTANCE).astype(np.uint8), cv2.DIST_L2, 3)
    nearby = distance[(outside_distance > 3) & (outside_distance <= 8)]
    return nearby.size > 0 and float((nearby == 1).mean()) > 0.02


def solid_mask(distance: np.ndarray, threshold: int, ringing: float, saturated: bool = False) -> np.ndarray:
    """The object's mask (H, W) bool: what a flood fill of the background from the border does not reach, less holes.

    Args:
        distance: (H, W) uint8, colour distance of each pixel from the background.
        threshold: largest distance that counts as background.
        ringing: amplitude of compression ringing beside an edge, as a share of the edge's contrast.
        saturated: the background has a colour (a green screen) that shadows and highlights of an object hardly have:
            enclosed regions of it are taken for holes more readily.
    """
    # Ringing beside an edge is proportional to its contrast: near the object the threshold rises with it.
    kernel_side = 2 * round(max(distance.shape) / 128) + 1
    local_maximum = cv2.dilate(distance, cv2.getStructuringElement(cv2.MORPH_RECT, (kernel_side, kernel_side)))
    different = distance > np.maximum(threshold, ringing * local_maximum)
    # In a dark part on black, pixels scatter around the threshold: a morphological closing joins them, but only over
    # pixels that differ from the bare background, so that gaps between fingers stay open.
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
        inside &= ~_gaps(distance, enclosed, inside, threshold, saturated)
    return inside


def _gaps(
    distance: np.ndarray, enclosed: np.ndarray, inside: np.ndarray, threshold: int, saturated: bool
) -> np.ndarray:
    """The enclosed regions of the background's colour that are holes, (H, W) bool.

    A hole is bare background: uniform away from its rim (where compression rings), not tiny, and its rim is a step
    edge. A dark fold or a highlight has a gradual rim instead; so has a hole in front of a saturated background, whose
    colour video stores at half the resolution.
    """
    outside = distance[~inside]
    background_limit = float(np.percentile(outside[:: max(1, outside.size // 20000)], 90)) if outside.size else 0.0
    noisy = threshold > CLEAN_THRESHOLD
    background_limit = 1 + max(background_limit, 2 * threshold // 3 if noisy or saturated else threshold // 3)
    step = 0.4 if saturated else 0.6  # of the contrast, 2 pixels from the region
    count, labels, stats, _ = cv2.connectedComponentsWithStats(enclosed.astype(np.uint8), connectivity=4)
    min_area = max(12.0, MIN_GAP_AREA * float(np.count_nonzero(inside)))
    gaps = np.zeros_like(enclosed)
    for label in range(1, count):
        x, y, width, height, area = stats[label]
        if area < min_area:
            continue
        margin = 8
        window = np.s_[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
        region = (labels[window] == label).astype(np.uint8)
        depth = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        outside_distance = cv2.distanceTransform(1 - region, cv2.DIST_L2, 3)
        values = distance[window]
        core = values[depth >= min(3.0, 0.7 * float(depth.max()))]
        near, far = (
            float(np.median(values[(outside_distance > low) & (outside_distance <= low + 1)])) for low in (2, 6)
        )
        if (core <= background_limit).mean() > 0.8 and near > 3 * threshold and near > step * far:
            gaps[window] |= region > 0
    return gaps


def matte(
    rgb: np.ndarray, inside: np.ndarray, background: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Alpha and straight colour from I = a c + (1 - a) b in a band of a few pixels inside a binary mask.

    The foreground colour c of a pixel in the band is that of the nearest certain foreground pixel; a is the projection
    of I onto the line from b to c. Where c and b are too similar, the mask's own edge is kept.

    Args:
        rgb: (H, W, 3) uint8.
        inside: (H, W) bool, the object with its soft edge.
        background: (3,) or (H, W, 3) float32, 0-255.
        threshold: noise level of the distance from the background, of 255.

    Returns:
        alpha (H, W) and colour (H, W, 3), uint8.
    """
    alpha, colour = inside.astype(np.uint8) * 255, rgb.copy()
    if not inside.any():
        return alpha, colour
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    window = np.s_[max(0, ys[0] - 1) : ys[-1] + 2, max(0, xs[0] - 1) : xs[-1] + 2]
    image, mask = rgb[window], inside[window]
    background_pixels = np.broadcast_to(background, rgb.shape)[window]
    band = 4.0 if max(rgb.shape) > 640 else 3.0
    # The picture's border is not an edge of the object.
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8))) & mask
    contrast = np.abs(image - background_pixels).max(2)
    certain = (depth > band) | (ridge & (contrast > 3 * threshold))
    edge = mask & ~certain
    if not certain.any() or not edge.any():
        return alpha, colour
    nearest = nearest_known(certain)[edge]
    observed, background_colour = image[edge].astype(np.float32), background_pixels[edge].astype(np.float32)
    foreground_colour = image.reshape(-1, 3)[nearest].astype(np.float32)
    axis = foreground_colour - background_colour
    length = (axis * axis).sum(1)
    opacity = np.clip(((observed - background_colour) * axis).sum(1) / np.maximum(length, 1e-6), 0, 1)
    # Three or four pixels inside the edge a pixel cannot be nearly transparent.
    opacity = np.maximum(opacity, np.clip((depth[edge] - 2) / band, 0, 1))
    confidence = np.clip((np.sqrt(length) - 2 * threshold) / (2 * threshold), 0, 1)
    opacity = 1 - confidence * (1 - opacity)
    opacity[opacity < 0.04] = 0
    straight = (observed - (1 - opacity[:, None]) * background_colour) / np.maximum(opacity[:, None], 0.04)
    colour_confidence = np.clip((opacity[:, None] - 0.1) / 0.3, 0, 1)  # low opacity determines the colour poorly
    straight = colour_confidence * np.clip(straight, 0, 255) + (1 - colour_confidence) * foreground_colour
    alpha[window][edge] = np.round(255 * opacity)
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
    """Alpha (H, W) uint8 of a coarse mask, its edge moved to the picture's by a guided filter (He et al. 2010).

    Args:
        rgb: (H, W, 3) uint8.
        coverage: (H, W) float32 in [0, 1], the mask at the picture's size.
        radius: largest error of the mask's edge, pixels.
    """
    guide = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32) / 255
    opacity = _guided_filter(guide, coverage, radius, 1e-3)
    return np.round(255 * np.clip((opacity - 0.2) / 0.6, 0, 1)).astype(np.uint8)


def matte_coarse(rgb: np.ndarray, coverage: np.ndarray, radius: float) -> np.ndarray:
    """Alpha (H, W) uint8 of a coarse mask on any background, refined by colour near its edge.

    Within ``radius`` of the mask's edge, alpha is the projection of a pixel's colour onto the line from the nearest
    certain background colour to the nearest certain foreground colour. Where these two are similar, the mask is kept.

    Args:
        rgb: (H, W, 3) uint8.
        coverage: (H, W) float32 in [0, 1], the mask at the picture's size.
        radius: largest error of the mask's edge, pixels.
    """
    inside = (coverage > 0.5).astype(np.uint8)
    depth, outside_distance = (cv2.distanceTransform(part, cv2.DIST_L2, 3) for part in (inside, 1 - inside))
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8))) & (coverage > 0.9)  # the middle of thin parts
    certain, certain_background = (depth > radius) | ridge, outside_distance > radius
    alpha = coverage.copy()
    if certain.any() and certain_background.any():
        uncertain = ~certain & ~certain_background
        smoothed = cv2.blur(rgb, (3, 3)).reshape(-1, 3)
        observed, foreground_colour, background_colour = (
            colours.astype(np.float32)
            for colours in (
                rgb[uncertain],
                smoothed[nearest_known(certain)[uncertain]],
                smoothed[nearest_known(certain_background)[uncertain]],
            )
        )
        axis = foreground_colour - background_colour
        length = (axis * axis).sum(1)
        opacity = np.clip(((observed - background_colour) * axis).sum(1) / np.maximum(length, 1e-6), 0, 1)
        confidence = np.clip((np.sqrt(length) - 20) / 40, 0, 1)
        alpha[uncertain] = confidence * opacity + (1 - confidence) * coverage[uncertain]
        alpha[certain], alpha[certain_background] = 1, 0
    return np.round(255 * alpha).astype(np.uint8)


def unmixed(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight colour (H, W, 3) uint8 of an object: at soft edges the background's contribution is subtracted.

    Args:
        rgb: (H, W, 3) uint8.
        alpha: (H, W) uint8.
    """
    known_background = alpha < 8
    if not known_background.any():
        return rgb
    background_pixels = rgb.reshape(-1, 3)[nearest_known(known_background)].astype(np.float32)
    opacity = np.maximum(alpha[..., None], 1).astype(np.float32) / 255
    straight = np.clip((rgb - (1 - opacity) * background_pixels) / opacity, 0, 255)
    return np.where(alpha[..., None] > 64, np.round(straight), rgb).astype(np.uint8)


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Guided filter (He et al. 2010): values smoothed except across edges of the guide; all (H, W) float32."""

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.blur(image, (2 * radius + 1,) * 2)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
