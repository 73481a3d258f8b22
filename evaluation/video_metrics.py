"""Metrics between a true video and a result without learned weights.

Pictures are (T, H, W, 3) float32 sRGB in [0, 1], masks (T, H, W) bool; metrics per frame are averaged over the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.frame_figures import BEST_PSNR, check_shapes, mask_iou, psnr

__all__ = ["BEST_PSNR", "VideoScores", "flicker", "mask_iou", "mask_on_white", "psnr", "score_video", "ssim"]

WHITE_FROM = 235 / 255  # a pixel on white is background when its darkest channel is at least this


@dataclass(frozen=True)
class VideoScores:
    """Metrics of one video.

    Attributes:
        psnr: peak signal-to-noise ratio, dB, mean of the frames' values.
        ssim: structural similarity, mean of the frames' values.
        iou: intersection over union of the masks, mean of the frames' values.
        flicker: mean absolute error of the change from frame to frame; 0 is best.
    """

    psnr: float
    ssim: float
    iou: float
    flicker: float


def ssim(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Structural similarity of every frame, (T,).

    As Wang et al. 2004 define it: Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, population
    covariances, mean over the colour channels (RGB in [0, 1]) and over the pixels whose window lies in the picture.
    """
    check_shapes(truth, result)
    return np.array([_ssim(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(truth, result, strict=True)])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two pictures (H, W, 3) float64 in [0, 1]."""
    radius, stabilizers = 5, (0.01**2, 0.03**2)

    def mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.GaussianBlur(image, (2 * radius + 1,) * 2, 1.5))[radius:-radius, radius:-radius]

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + stabilizers[0]) / (mean_a**2 + mean_b**2 + stabilizers[0])
    structure = (2 * covariance + stabilizers[1]) / (variances + stabilizers[1])
    return float((luminance * structure).mean())


def flicker(truth: np.ndarray, result: np.ndarray) -> float:
    """Temporal flicker: mean over pixels, channels and neighbouring frames of |result's change - true change|.

    In [0, 2]; 0 for one frame, and for a result that is off by the same picture in every frame.
    """
    check_shapes(truth, result)
    if len(truth) < 2:
        return 0.0
    pairs = range(len(truth) - 1)
    return float(np.mean([np.abs((result[t + 1] - result[t]) - (truth[t + 1] - truth[t])).mean() for t in pairs]))


def mask_on_white(pictures: np.ndarray) -> np.ndarray:
    """The foreground (T, H, W) of pictures on white: where the darkest channel is below 235 of 255."""
    return pictures.min(-1) < WHITE_FROM - 1e-6


def score_video(truth: np.ndarray, result: np.ndarray, truth_mask: np.ndarray, result_mask: np.ndarray) -> VideoScores:
    """All metrics of one video; pictures (T, H, W, 3), masks (T, H, W)."""
    return VideoScores(
        psnr=float(psnr(truth, result).mean()),
        ssim=float(ssim(truth, result).mean()),
        iou=float(mask_iou(truth_mask, result_mask).mean()),
        flicker=flicker(truth, result),
    )
