"""Foreground segmentation: the input's alpha, keying of a plain background, GrabCut, or a network's masks.

All methods return RGBA with straight alpha, specks removed, and the object's colours extended under the transparent
pixels around it, so that neither bilinear sampling nor a filter mixes in the old background.

Rules that decide what is kept:

- Regions of the background's colour that the object surrounds are parts of the object (dark boots, white eyes), unless
  they are as uniform as the background outside, large enough and sharply bounded: then they are holes.
- Components other than the largest one are kept if they have at least ``SPECK`` of its area; smaller ones are specks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from v2m4.io.matting import fitted_to_picture, is_compressed, matte, nearest_known, solid_mask, unmixed

Mode = Literal["auto", "alpha", "key", "grabcut"]

SPECK = 0.005  # relative to the largest component's area
BLEED = 1 / 100  # relative to the picture's longer side: how far colours are extended outwards
PLAIN_TOLERANCE = 20  # levels of 255 (largest channel) that a border pixel may differ from a plain background
PLAIN_SHARE = 0.6  # of the border's pixels; the object may cover the rest
SATURATED = 60  # levels of 255 between a background's largest and smallest channel, from which it has a colour
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Method:
    """Segmentation method of one clip; chosen once, so that all frames use the same one.

    Attributes:
        kind: of the method.
        background: (key) the background's colour, sRGB 0-255.
        threshold: (key) largest difference from that colour, over channels, that counts as background, of 255.
        ringing: (key) amplitude of compression ringing beside an edge, as a fraction of the edge's contrast.
    """

    kind: Literal["alpha", "key", "grabcut"]
    background: tuple[int, int, int] = BLACK
    threshold: int = 6
    ringing: float = 0.12

    def __str__(self) -> str:
        if self.kind != "key":
            return self.kind
        return "key #{:02x}{:02x}{:02x}, threshold {}".format(*self.background, self.threshold)


def choose_method(samples: Sequence[np.ndarray], mode: Mode = "auto") -> Method:
    """Choose the segmentation method of a clip.

    Args:
        samples: some of its frames, (H, W, 3 or 4) uint8.
        mode: the option's value; ``auto`` selects the input's alpha, else keying, else GrabCut.

    Raises:
        ValueError: no samples, ``alpha`` asked for but not there, or ``key`` asked for but the border is not plain.
    """
    if not samples:
        raise ValueError("foreground: no pictures to decide from")
    if mode == "grabcut":
        return Method("grabcut")
    if mode in ("auto", "alpha") and all(has_alpha(sample) for sample in samples):
        return Method("alpha")
    if mode == "alpha":
        raise ValueError("foreground alpha: the pictures have no transparent background; use auto, key or grabcut")
    keyed = _plain_background(samples)
    if keyed is not None:
        return keyed
    if mode == "key":
        raise ValueError("foreground key: the pictures' borders have no plain colour; use auto or grabcut")
    return Method("grabcut")


def has_alpha(picture: np.ndarray) -> bool:
    """Whether the picture has an alpha channel with both opaque and transparent pixels."""
    if picture.shape[2] < 4:
        return False
    alpha = picture[..., 3]
    return bool((alpha < 64).mean() > 1e-3 and (alpha > 192).any())


def remove_background(
    picture: np.ndarray, method: Method | Mode = "auto", previous: np.ndarray | None = None
) -> np.ndarray:
    """Segment a picture and make its background transparent.

    Args:
        picture: (H, W, 3 or 4) uint8 sRGB, straight alpha.
        method: the clip's method; a mode is resolved by this picture alone.
        previous: (H, W, 4) result of the previous frame, which initialises GrabCut.

    Returns:
        (H, W, 4) uint8 sRGB, straight alpha. All of it may be transparent where no object is found.
    """
    if isinstance(method, str):
        method = choose_method([picture], method)
    rgb = np.ascontiguousarray(picture[..., :3])
    if method.kind == "alpha":
        alpha, colour = picture[..., 3] if picture.shape[2] == 4 else np.full(rgb.shape[:2], 255, np.uint8), rgb
    elif method.kind == "key":
        alpha, colour = _key(rgb, method)
    else:
        alpha, colour = _grabcut(rgb, None if previous is None else previous[..., 3])
    return _finished(colour, alpha)


def cut_out(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Apply a network's alpha to a picture; the result is as that of ``remove_background``.

    Args:
        picture: (H, W, 3 or 4) uint8 sRGB; its own alpha is ignored.
        alpha: (H, W) uint8.
    """
    rgb = np.ascontiguousarray(picture[..., :3])
    return _finished(unmixed(rgb, alpha), alpha)


def _finished(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Join straight colour (H, W, 3) and alpha (H, W), remove specks and extend the colours outwards."""
    alpha = _without_specks(alpha)
    return np.dstack([_bled(colour, alpha), alpha])


def _border(picture: np.ndarray) -> np.ndarray:
    """The outermost pixels, (N, 3)."""
    rgb = picture[..., :3]
    return np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])


def _plain_background(samples: Sequence[np.ndarray]) -> Method | None:
    """Keying parameters for a background that is plain in every sample; None where it is not."""
    borders = [_border(sample).astype(np.float64) for sample in samples]
    colour = np.median(np.concatenate(borders), axis=0)
    for ideal in (BLACK, WHITE):
        if np.abs(colour - ideal).max() <= 2:
            colour = np.array(ideal)
    colour = np.round(colour)
    noise = 0.0
    for border in borders:
        distance = np.abs(border - colour).max(1)
        near = distance[distance <= PLAIN_TOLERANCE]
        if len(near) < PLAIN_SHARE * len(border):
            return None
        noise = max(noise, float(np.percentile(near, 95)))
    red, green, blue = (int(value) for value in colour.tolist())
    background = (red, green, blue)
    if noise == 0 and not any(is_compressed(_distance(sample[..., :3], background)) for sample in samples):
        return Method("key", background, threshold=2, ringing=0.0)
    # 6 of 255 is what JPEG and H.264 leave on a black or white that was plain.
    return Method("key", background, threshold=int(np.clip(round(1.5 * noise) + 6, 6, 32)))


def _distance(rgb: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Difference of each pixel from the background, the maximum over channels, (H, W) uint8."""
    if background == BLACK:
        return rgb.max(2)
    return cv2.absdiff(rgb, np.full_like(rgb, background)).max(2)


def _key(rgb: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Alpha (H, W) and straight colour (H, W, 3), uint8, of an object on a plain background."""
    distance = _distance(rgb, method.background)
    saturated = max(method.background) - min(method.background) >= SATURATED
    inside = solid_mask(distance, method.threshold, method.ringing, saturated)
    return matte(rgb, inside, np.array(method.background, np.float32), method.threshold)


def _without_specks(alpha: np.ndarray) -> np.ndarray:
    """Remove connected components far smaller than the largest one, with their soft edges."""
    visible = (alpha > 12).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(visible, connectivity=8)
    if count <= 2:
        return np.where(visible > 0, alpha, 0).astype(np.uint8)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    kept = area >= max(4.0, SPECK * area.max())
    return np.where(kept[labels], alpha, 0).astype(np.uint8)


def _bled(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Extend the object's colours under nearby transparent pixels (nearest known colour); black beyond."""
    result = np.where(alpha[..., None] > 0, colour, 0).astype(np.uint8)
    known = alpha > 127
    if not known.any():
        return result
    reach = max(4, round(BLEED * max(alpha.shape)))
    ys, xs = np.flatnonzero((alpha > 0).any(1)), np.flatnonzero((alpha > 0).any(0))
    window = np.s_[max(0, ys[0] - reach) : ys[-1] + reach + 1, max(0, xs[0] - reach) : xs[-1] + reach + 1]
    known, clear = known[window], alpha[window] == 0
    distance = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 3)
    fill = clear & (distance <= reach)
    view = result[window]
    view[fill] = colour[window].reshape(-1, 3)[nearest_known(known)[fill]]
    return result


def _grabcut(rgb: np.ndarray, previous: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Alpha and straight colour by GrabCut (Rother et al. 2004) at low resolution, edges refined by a guided filter.

    Args:
        rgb: (H, W, 3) uint8.
        previous: (H, W) uint8 alpha of the previous frame, or None.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, 360 / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    earlier = None if previous is None else cv2.resize(previous, size, interpolation=cv2.INTER_AREA) > 127
    state = _first_guess(small, earlier)
    if not np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
        return np.zeros((height, width), np.uint8), rgb
    cv2.setRNGSeed(0)  # its k-means is randomised
    cv2.grabCut(small, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    # Fill enclosed regions.
    flooded = np.pad(_without_specks(opened * 255) >> 7, 1)
    cv2.floodFill(flooded, None, (0, 0), 2, flags=4)
    solid = (flooded[1:-1, 1:-1] != 2).astype(np.float32)
    alpha = fitted_to_picture(rgb, np.asarray(cv2.resize(solid, (width, height))), round(2 / scale) + 1)
    return alpha, unmixed(rgb, alpha)


def _first_guess(small: np.ndarray, earlier: np.ndarray | None) -> np.ndarray:
    """GrabCut's initial labels (h, w) uint8: pixels whose colour differs from the border are probable foreground."""
    height, width = small.shape[:2]
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    ring = np.ones((height, width), bool)
    margin = max(1, round(0.02 * max(height, width)))
    ring[margin:-margin, margin:-margin] = False
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    clusters = min(5, int(ring.sum()))
    _, _, centres = cv2.kmeans(lab[ring], clusters, np.zeros(0, np.int32), criteria, 2, cv2.KMEANS_PP_CENTERS)
    unlike = np.min([np.linalg.norm(lab - centre, axis=2) for centre in centres], axis=0)
    typical = float(np.percentile(unlike[ring], 90))
    likely = unlike > max(2 * typical, 12.0)
    if not 0.03 < likely.mean() < 0.7:  # colour is not informative: start with the middle of the picture
        likely = np.zeros((height, width), bool)
        likely[height // 10 : height - height // 10, width // 8 : width - width // 8] = True
    state = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if earlier is not None and earlier.any():
        reach = np.ones((2 * max(2, margin * 2) + 1,) * 2, np.uint8)
        near = cv2.dilate(earlier.astype(np.uint8), reach) > 0
        core = cv2.erode(earlier.astype(np.uint8), reach) > 0
        state[core] = cv2.GC_PR_FGD
        state[~near & ~likely] = cv2.GC_BGD
    state[ring & ~likely] = cv2.GC_BGD
    return state
