"""The sRGB transfer function (IEC 61966-2-1): pictures are sRGB, glTF's vertex colours and factors linear."""

from __future__ import annotations

import numpy as np


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """Decode sRGB values of any shape to linear ones; values are clipped to [0, 1]."""
    value = np.clip(np.asarray(srgb, dtype=np.float64), 0.0, 1.0)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Encode linear values of any shape as sRGB; the inverse of ``srgb_to_linear``, values clipped to [0, 1]."""
    value = np.clip(np.asarray(linear, dtype=np.float64), 0.0, 1.0)
    srgb = np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    return srgb.astype(np.float32)
