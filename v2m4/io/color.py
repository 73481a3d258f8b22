"""Decoded video frames as 8-bit sRGB: matrix and range as flagged, HDR and wide gamuts mapped.

HDR is mapped so that reference white (203 cd/m^2, 75 % of HLG's signal; ITU-R BT.2408, table 1) becomes SDR white. HLG
is mapped from scene light (BT.2100 inverse OETF, no OOTF), PQ from display light. What is brighter than white is
compressed by a soft clip of the largest channel, all channels by one factor, so that hues stay.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from v2m4.io.picture import opaque_as_rgb, resized
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    import av

# Code points of ITU-T H.273: primaries and matrices, then transfer characteristics.
UNSPECIFIED, BT709, BT2020, P3_DCI, P3_D65 = 2, 1, 9, 11, 12
PQ, HLG = 16, 18
EXACT = 1 << 2 | 1 << 18  # flags of swscale: bicubic, accurate rounding
FULL_CHROMA = 1 << 13  # full horizontal chroma interpolation
HLG_WHITE = 0.75  # signal of reference white
PQ_WHITE = 203.0  # reference white, cd/m^2
KNEE = 0.95  # linear light above which values are compressed
HD_HEIGHT, HD_WIDTH = 720, 1280  # from either on, unflagged video is BT.709, as in players

# Linear light of wide primaries to that of BT.709, both with white D65 (BT.2087; SMPTE EG 432-1).
TO_BT709 = {
    BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    P3_DCI: ((1.2249, -0.2249, 0.0), (-0.0421, 1.0421, 0.0), (-0.0196, -0.0786, 1.0983)),
    P3_D65: ((1.2249, -0.2249, 0.0), (-0.0421, 1.0421, 0.0), (-0.0196, -0.0786, 1.0983)),
}


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether the frame's transfer function is HLG or PQ."""
    return frame.color_trc in (HLG, PQ)


def to_srgb(frame: av.VideoFrame, aspect: float, max_side: int) -> np.ndarray:
    """Convert a decoded frame to (H, W, 3 or 4) uint8 sRGB, straight alpha.

    Args:
        frame: of any pixel format.
        aspect: width / height of its pixels; the result has square ones.
        max_side: longer side of the result at most, pixels; 0 keeps the size.
    """
    matrix: int | None = None  # as the frame says
    if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
        if frame.color_primaries == BT2020:
            matrix = BT2020
        elif frame.height >= HD_HEIGHT or frame.width >= HD_WIDTH:
            matrix = BT709
    primaries = BT2020 if is_hdr(frame) and frame.color_primaries == UNSPECIFIED else frame.color_primaries
    if not is_hdr(frame) and primaries not in TO_BT709:
        if not any(component.is_alpha for component in frame.format.components):
            return resized(np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=matrix)), max_side, aspect)
        # swscale's fast conversion to RGBA leaves columns at the right edge unset at some widths.
        rgba = frame.to_ndarray(format="rgba", src_colorspace=matrix, interpolation=EXACT)
        return resized(opaque_as_rgb(np.asarray(rgba)), max_side, aspect)
    deep = np.asarray(
        frame.to_ndarray(format="rgba64le", interpolation=EXACT | FULL_CHROMA, src_colorspace=matrix), np.uint16
    )
    # swscale brings white to 255 x 256, but keeps what is RGB already.
    white = 65535 if frame.format.is_rgb else 65280
    deep = resized(deep[..., :3] if deep[..., 3].min() >= 65280 else deep, max_side, aspect)
    light = _linear_light(frame.color_trc, white)[deep[..., :3]]
    if primaries in TO_BT709:
        light = light @ np.array(TO_BT709[primaries], np.float32).T
    color = np.round(linear_to_srgb(soft_clip(light)) * 255).astype(np.uint8)
    return color if deep.shape[2] == 3 else np.dstack([color, (deep[..., 3] >> 8).astype(np.uint8)])


@lru_cache(maxsize=4)
def _linear_light(transfer: int, white: int) -> np.ndarray:
    """Linear light (65536,) float32 of every signal value, of which ``white`` is the largest; SDR white is 1."""
    signal = np.minimum(np.arange(65536) / white, 1)
    if transfer == HLG:
        light = _hlg_scene_light(signal) / _hlg_scene_light(np.array(HLG_WHITE))
    elif transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # BT.2100, table 4
        root = signal ** (1 / m2)
        light = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / PQ_WHITE
    else:  # SDR of wide primaries: players take its code values for those of sRGB
        light = srgb_to_linear(signal)
    return light.astype(np.float32)


def _hlg_scene_light(signal: np.ndarray) -> np.ndarray:
    """The inverse OETF of HLG (BT.2100, table 5)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def soft_clip(light: np.ndarray) -> np.ndarray:
    """Linear light (H, W, 3) scaled to [0, 1] where the largest channel is above the knee; 0 where it is negative."""
    light = np.maximum(light, 0)
    brightest = np.maximum(light.max(2, keepdims=True), KNEE)
    compressed = KNEE - (1 - KNEE) * np.expm1(-(brightest - KNEE) / (1 - KNEE))
    return light * (compressed / brightest)
