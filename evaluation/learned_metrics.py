"""Learned metrics as in V2M4's evaluation: FVD, LPIPS, DreamSim, CLIP.

This module has the arithmetic; networks are passed as functions (``evaluation.backbones`` loads them).

The protocol, read from V2M4's released ``evaluation/``: frames of 512 x 512; a video is cut from its first frame on
into clips of 32 frames, the remainder is dropped; LPIPS, DreamSim and CLIP are means over all frames of all clips;
FVD compares all clips of the set at once. V2M4 skips videos of fewer than 32 frames; here they are padded by
reflection to one clip, which is noted with the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CLIP_FRAMES = 32
FRAME_METRICS = ("lpips", "dreamsim", "clip")
LEARNED = ("fvd", *FRAME_METRICS)

FrameMetric = Callable[[Tensor, Tensor], Tensor]
"""Truth and result, each (B, 3, S, S) float32 in [0, 1] -> one figure per pair of frames, (B,)."""
VideoFeatures = Callable[[Tensor], Tensor]
"""Clips (B, 3, T, S, S) float32 in [0, 1] -> one vector per clip, (B, D)."""


@dataclass(frozen=True)
class Backbones:
    """The networks of the requested metrics.

    Attributes:
        device: where they run.
        frames: available frame metrics by name (of ``FRAME_METRICS``).
        videos: the network of FVD, or None where it was not requested or is missing.
        missing: for each missing metric what to install or which file to put where, in one line.
    """

    device: torch.device
    frames: dict[str, FrameMetric]
    videos: VideoFeatures | None
    missing: dict[str, str]


@dataclass(frozen=True)
class LearnedScores:
    """Learned metrics of one animation; ``None`` where the network was not requested or is missing.

    Attributes:
        clips: number of clips of ``CLIP_FRAMES`` frames that the metrics are means over.
        lpips: LPIPS, VGG; 0 for equal pictures.
        dreamsim: DreamSim, ensemble; 0 for equal pictures.
        clip: cosine between the CLIP embeddings of truth and result ("CLIP loss" in V2M4); 1 for equal pictures.
        truth_features: (clips, D) float64 of FVD's network.
        result_features: the same of the result.
    """

    clips: int
    lpips: float | None = None
    dreamsim: float | None = None
    clip: float | None = None
    truth_features: np.ndarray | None = None
    result_features: np.ndarray | None = None


@dataclass(frozen=True)
class FrechetDistance:
    """Squared Frechet distance of two Gaussians.

    Attributes:
        means: the squared distance between the means.
        covariances: the covariance term; 0 by definition where a side has a single sample.
        samples: number of samples of the smaller side.
    """

    means: float
    covariances: float
    samples: int

    @property
    def value(self) -> float:
        """The distance."""
        return self.means + self.covariances


def clip_windows(frames: int, length: int = CLIP_FRAMES) -> np.ndarray:
    """The frame indices of a video's clips.

    Args:
        frames: number of frames of the video, at least 1.
        length: frames of a clip.

    Returns:
        (C, length) int: the video cut into whole clips; a shorter video gives one clip, padded by reflection:
        0 1 2 1 0 1 2 ... (the ends are not repeated).

    Raises:
        ValueError: no frame.
    """
    if frames < 1:
        raise ValueError("clip_windows: a video without frames")
    if frames >= length:
        clips = frames // length
        return np.arange(clips * length).reshape(clips, length)
    return np.pad(np.arange(frames), (0, length - frames), mode="reflect")[None]


def window_note(frames: int, length: int = CLIP_FRAMES) -> str:
    """A note on frames padded or dropped by ``clip_windows``; empty where there are none."""
    if frames < length:
        return f"{frames} frames padded by reversal to a clip of {length}"
    dropped = frames % length
    return f"learned metrics leave out the last {dropped} of {frames} frames (clips of {length})" if dropped else ""


def frame_scores(
    truth: np.ndarray, result: np.ndarray, metric: FrameMetric, device: torch.device, batch: int = 4
) -> np.ndarray:
    """A metric of every frame.

    Args:
        truth: (T, S, S, 3) float32 sRGB in [0, 1].
        result: the same shape.
        metric: function of a batch of pairs.
        device: where ``metric`` expects its pictures.
        batch: pairs at a time.

    Returns:
        (T,) float64.
    """
    scores = []
    for start in range(0, len(truth), batch):
        pair = [_channels_first(side[start : start + batch], device) for side in (truth, result)]
        with torch.no_grad():
            scores.append(metric(*pair).double().cpu().numpy())
    return np.concatenate(scores)


def clip_features(
    pictures: np.ndarray, windows: np.ndarray, features: VideoFeatures, device: torch.device
) -> np.ndarray:
    """Feature vectors of all clips of a video, (C, D) float64.

    Args:
        pictures: (T, S, S, 3) float32 sRGB in [0, 1].
        windows: (C, L) from ``clip_windows``.
        features: the network.
        device: where it expects its clips.
    """
    vectors = []
    for window in windows:
        clip = _channels_first(pictures[window], device).transpose(0, 1)[None]
        with torch.no_grad():
            vectors.append(features(clip).double().cpu().numpy())
    return np.concatenate(vectors)


def _channels_first(pictures: np.ndarray, device: torch.device) -> Tensor:
    """Pictures (T, S, S, 3) as a tensor (T, 3, S, S)."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(device)


def frechet_distance(truth: np.ndarray, result: np.ndarray) -> FrechetDistance:
    """Squared Frechet distance of the Gaussians fitted to two sets of features.

    ``|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2))``, covariances with N - 1. V2M4 (after StyleGAN-V) computes the
    matrix root with scipy; with fewer clips than features (400) the product is singular and that root inexact. Its
    trace is the sum of the singular values of A B^T where C1 = A^T A and C2 = B^T B, which is exact for any number of
    samples. With a single sample on a side the covariance term is left out, as there.

    Args:
        truth: (N, D).
        result: (M, D).

    Raises:
        ValueError: not two tables of one width with a row each.
    """
    if truth.ndim != 2 or result.ndim != 2 or truth.shape[1] != result.shape[1] or not len(truth) or not len(result):
        raise ValueError(f"frechet_distance: expected features (N, D) and (M, D), got {truth.shape}, {result.shape}")
    means = float(((truth.mean(0) - result.mean(0)) ** 2).sum())
    samples = min(len(truth), len(result))
    if samples == 1:
        return FrechetDistance(means, 0.0, samples)
    root_a, root_b = _covariance_root(truth), _covariance_root(result)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    covariances = float((root_a**2).sum() + (root_b**2).sum() - 2 * cross)
    return FrechetDistance(means, max(covariances, 0.0), samples)  # of equal sets, rounding may leave -1e-12


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R (min(N, D), D) with R^T R the covariance of the features (N, D)."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))


def score_clips(truth: np.ndarray, result: np.ndarray, backbones: Backbones) -> LearnedScores:
    """All learned metrics of one animation.

    Args:
        truth: (T, S, S, 3) float32 sRGB in [0, 1].
        result: the same shape.
        backbones: the available networks.

    Raises:
        ValueError: shapes differ, or no frame.
    """
    if truth.shape != result.shape:
        raise ValueError(f"metrics: expected two videos of one shape, got {truth.shape}, {result.shape}")
    windows = clip_windows(len(truth))
    frame_count = int(windows.max()) + 1
    means = {
        name: float(frame_scores(truth[:frame_count], result[:frame_count], metric, backbones.device)[windows].mean())
        for name, metric in backbones.frames.items()
    }
    vectors: list[np.ndarray | None] = [None, None]
    if backbones.videos is not None:
        vectors = [clip_features(side, windows, backbones.videos, backbones.device) for side in (truth, result)]
    return LearnedScores(
        clips=len(windows),
        lpips=means.get("lpips"),
        dreamsim=means.get("dreamsim"),
        clip=means.get("clip"),
        truth_features=vectors[0],
        result_features=vectors[1],
    )


def mean_over_clips(scores: Sequence[LearnedScores], metric: str) -> float | None:
    """The mean of a frame metric over a set, every clip with equal weight as in V2M4; None without scores."""
    scored = [(getattr(score, metric), score.clips) for score in scores if getattr(score, metric) is not None]
    if not scored:
        return None
    values, clips = zip(*scored, strict=True)
    return float(np.average(values, weights=clips))


def video_distance(scores: Sequence[LearnedScores]) -> FrechetDistance | None:
    """FVD of a set; None where no animation has features."""
    truth = [score.truth_features for score in scores if score.truth_features is not None]
    result = [score.result_features for score in scores if score.result_features is not None]
    return frechet_distance(np.concatenate(truth), np.concatenate(result)) if truth and result else None
