"""The object told from its background: a given alpha, a plain background keyed out, GrabCut, or a network's masks.

Every way ends in the same picture: RGBA with straight alpha, specks removed, and the object's colours carried on a
little way under the transparent pixels, so that neither bilinear sampling nor a filter picks up the old background.

Rules that decide what is kept:

- Regions of the background's colour that the object surrounds are parts of the object (dark boots, white eyes), unless
  they are as flat as the background outside, as large as a real gap and sharply bounded: then one sees through there.
- Parts apart from the largest one are kept when they have at least ``SPECK`` of its area; smaller ones are specks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from v2m4.io.matting import fitted_to_picture, is_compressed, matte, nearest_known, solid_mask, unmixed

Mode = Literal["auto", "alpha", "key", "grabcut"]

SPECK = 0.005  # of the largest part's area
BLEED = 1 / 100  # of the picture's longer side: how far colours are carried outwards
PLAIN_TOLERANCE = 20  # how far (largest channel, of 255) a border pixel may be from a plain background
PLAIN_SHARE = 0.6  # of the border's pixels; the object may cover the rest
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Method:
    """How one clip's background is removed; decided once, so that frames do not flicker between ways.

    Attributes:
        kind: the way.
        background: (key) the background's colour, sRGB 0-255.
        threshold: (key) largest distance from that colour, in the channel that differs most, that counts as background.
        ringing: (key) share of an edge's height that may lie on the background beside it.
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
    """Decide how the background of a clip is removed.

    Args:
        samples: some of its frames, (H, W, 3 or 4) uint8.
        mode: what the user asks for; ``auto`` takes a given alpha, else a plain background, else GrabCut.

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
    """Whether the picture's alpha tells an object from a background: both opaque and transparent pixels are there."""
    if picture.shape[2] < 4:
        return False
    alpha = picture[..., 3]
    return bool((alpha < 64).mean() > 1e-3 and (alpha > 192).any())


def remove_background(
    picture: np.ndarray, method: Method | Mode = "auto", previous: np.ndarray | None = None
) -> np.ndarray:
    """The picture with its background transparent.

    Args:
        picture: (H, W, 3 or 4) uint8 sRGB, straight alpha.
        method: the clip's way; a mode is decided from this picture alone.
        previous: (H, W, 4) result of the frame before, which helps GrabCut.

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
    """The picture with an alpha that a network found, as ``remove_background`` returns it.

    Args:
        picture: (H, W, 3 or 4) uint8 sRGB; what alpha it has is passed over.
        alpha: (H, W) uint8.
    """
    rgb = np.ascontiguousarray(picture[..., :3])
    return _finished(unmixed(rgb, alpha), alpha)


def _finished(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight colour (H, W, 3) and alpha (H, W) as one picture without specks, its colours bled outwards."""
    alpha = _without_specks(alpha)
    return np.dstack([_bled(colour, alpha), alpha])


def _border(picture: np.ndarray) -> np.ndarray:
    """The outermost pixels, (N, 3)."""
    rgb = picture[..., :3]
    return np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])


def _plain_background(samples: Sequence[np.ndarray]) -> Method | None:
    """How to key a background that is plain in every sample, or None where it is not."""
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
    """How far each pixel is from the background, in the channel that differs most, (H, W) uint8."""
    if background == BLACK:
        return rgb.max(2)
    return cv2.absdiff(rgb, np.full_like(rgb, background)).max(2)


def _key(rgb: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Alpha (H, W) and straight colour (H, W, 3), uint8, of an object on a plain background."""
    distance = _distance(rgb, method.background)
    inside = solid_mask(distance, method.threshold, method.ringing)
    return matte(rgb, inside, np.array(method.background, np.float32), method.threshold)


def _without_specks(alpha: np.ndarray) -> np.ndarray:
    """Alpha without parts that are far smaller than the largest one; a part's soft rim goes with it."""
    visible = (alpha > 12).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(visible, connectivity=8)
    if count <= 2:
        return np.where(visible > 0, alpha, 0).astype(np.uint8)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    kept = area >= max(4.0, SPECK * area.max())
    return np.where(kept[labels], alpha, 0).astype(np.uint8)


def _bled(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours carried from the object a little way under its transparent surroundings; black beyond."""
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
    """Alpha and straight colour by GrabCut (Rother et al. 2004) at a reduced size, edges then fitted to the picture.

    Args:
        rgb: (H, W, 3) uint8.
        previous: (H, W) uint8 alpha of the frame before, or None.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, 360 / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    earlier = None if previous is None else cv2.resize(previous, size, interpolation=cv2.INTER_AREA) > 127
    state = _first_guess(small, earlier)
    if not np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
        return np.zeros((height, width), np.uint8), rgb
    cv2.setRNGSeed(0)  # its k-means draws at random
    cv2.grabCut(small, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    # What the object surrounds belongs to it.
    flooded = np.pad(_without_specks(opened * 255) >> 7, 1)
    cv2.floodFill(flooded, None, (0, 0), 2, flags=4)
    solid = (flooded[1:-1, 1:-1] != 2).astype(np.float32)
    alpha = fitted_to_picture(rgb, np.asarray(cv2.resize(solid, (width, height))), round(2 / scale) + 1)
    return alpha, unmixed(rgb, alpha)


def _first_guess(small: np.ndarray, earlier: np.ndarray | None) -> np.ndarray:
    """GrabCut's start (h, w) uint8: what looks unlike the border is probably the object."""
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
    if not 0.03 < likely.mean() < 0.7:  # colour tells nothing: begin with the middle of the picture
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
