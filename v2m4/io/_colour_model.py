"""Colour distributions of an object and its surroundings over a clip, as smoothed histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

LIGHTNESS_BINS, CHROMA_BINS = 16, 32
CHROMA_WIDTH = 4  # levels of OpenCV's 8-bit a and b in one bin: +-64 levels are covered, beyond is the last bin
LARGEST_EVIDENCE = 3.0  # log-odds


def colour_bins(picture: np.ndarray) -> np.ndarray:
    """Index (h, w) int32 of every pixel's bin in CIELAB; the picture is (h, w, 3) uint8 sRGB."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.int32)
    chroma = np.clip((lab[..., 1:] - 128) // CHROMA_WIDTH + CHROMA_BINS // 2, 0, CHROMA_BINS - 1)
    lightness = lab[..., 0] * LIGHTNESS_BINS // 256
    return (lightness * CHROMA_BINS + chroma[..., 0]) * CHROMA_BINS + chroma[..., 1]


def histogram(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of weights in every bin, float64."""
    size = LIGHTNESS_BINS * CHROMA_BINS * CHROMA_BINS
    return np.bincount(bins.ravel(), weights.ravel(), size)


def colour_evidence(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Log-odds of the foreground for every bin, from two histograms; bins that neither holds have 0.

    Each distribution has a uniform part of the size of 20 pixels, so that rare colours decide little.
    """
    shape = (LIGHTNESS_BINS, CHROMA_BINS, CHROMA_BINS)
    densities = []
    for counts in (foreground, background):
        smooth = gaussian_filter(counts.reshape(shape), 0.8, mode="nearest").ravel()
        densities.append(smooth / max(float(counts.sum()), 1.0))
    floor = 2e-5
    odds = np.log((densities[0] + floor) / (densities[1] + floor))
    return np.clip(odds, -LARGEST_EVIDENCE, LARGEST_EVIDENCE).astype(np.float32)


def running_sums(histograms: Iterable[np.ndarray], radius: int) -> Iterator[np.ndarray]:
    """Yield for every frame the sum of the histograms within ``radius``, which are taken one at a time."""
    totals: dict[int, np.ndarray] = {}  # of the frames before a number; those that are needed
    count = 0

    def about(index: int) -> np.ndarray:
        totals.pop(index - radius - 1, None)
        return totals[min(count, index + radius + 1)] - totals[max(0, index - radius)]

    for found in histograms:
        totals[count + 1] = totals.setdefault(count, np.zeros_like(found)) + found
        count += 1
        if count > radius:
            yield about(count - 1 - radius)
    for index in range(max(0, count - radius), count):
        yield about(index)
