"""Batches of stored samples: fresh points, mirror images, colours and backgrounds at every use.

What a batch consists of is a function of the seed, the step and the number of samples in the pool, so that a run that
was resumed, or runs on several processes, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from motion324.embedding import SurfacePoints
from motion324.observations import CHANNELS, COMPOSED, DIRECT, FILLED
from motion324.samples import SampleConfig
from motion324.shards import ShardPool

MIRRORED = np.ones(CHANNELS, np.float32)  # factors on what frames show of points, in the mirror image
MIRRORED[[COMPOSED.start, DIRECT.start, FILLED.start]] = -1


@dataclass(frozen=True)
class DataConfig:
    """Where the training samples are from, and how they are used.

    Attributes:
        folder: with animated .glb and .gltf files; None for generated characters only.
        owners_folder: in the layout of Motion 3-to-4's owners, instead.
        owners_list: its list file.
        generated: share of generated characters among the samples.
        frames: of a stored sample.
        used_frames: of these, as many are trained on at a time: the first, and others at random.
        surface_points: points that show the network the reference pose.
        query_points: points whose trajectories are trained at a time.
        samples: stored before the training begins.
        workers: processes that render more samples during the training.
        validation_samples: of families that are not trained on.
        backgrounds: share of the windows on a random background; the others are on black.
        recolored: share of the windows whose colours are changed.
        sample: how samples are rendered.
    """

    folder: str | None = None
    owners_folder: str | None = None
    owners_list: str | None = None
    generated: float = 0.4
    frames: int = 12
    used_frames: int = 12
    surface_points: int = 4096
    query_points: int = 4096
    samples: int = 4096
    workers: int = 0
    validation_samples: int = 256
    backgrounds: float = 0.0
    recolored: float = 0.7
    sample: SampleConfig = field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        if not 2 <= self.used_frames <= self.frames:
            raise ValueError(f"used_frames: expected 2 to {self.frames} (frames), got {self.used_frames}")
        if max(self.surface_points, self.query_points) > self.sample.points:
            raise ValueError(
                f"surface_points {self.surface_points}, query_points {self.query_points}: no more than the stored "
                f"points (data.sample.points={self.sample.points})"
            )


@dataclass(frozen=True)
class Batch:
    """Windows as the network sees them, and the truth.

    Attributes:
        surface: N points of the reference pose.
        frames: (B, T, 3, S, S) sRGB in [0, 1].
        queries: Q points of the reference pose.
        targets: (B, T, Q, 3) their positions in all frames.
        crops: (B, T, 3) of the frames, see ``view_frame.following_crops``.
        kinds: of the bodies, B names.
    """

    surface: SurfacePoints
    frames: Tensor
    queries: SurfacePoints
    targets: Tensor
    crops: Tensor
    kinds: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.surface.to(device),
            self.frames.to(device),
            self.queries.to(device),
            self.targets.to(device),
            self.crops.to(device),
            self.kinds,
        )


def training_batch(pool: ShardPool, config: DataConfig, seed: int, step: int, size: int, part: range) -> Batch:
    """The samples ``part`` of the random batch of a step.

    Args:
        pool: stored samples.
        config: of their use.
        seed: of the run.
        step: number of the step.
        size: of the whole batch, over all processes.
        part: the positions within it that are wanted.
    """
    chosen = np.random.default_rng([seed, step]).integers(len(pool), size=size)
    windows = []
    for position in part:
        rng = np.random.default_rng([seed, step, position])
        windows.append(_window(pool[int(chosen[position])], config, rng, augment=True))
    return _stacked(windows)


def validation_batch(records: Iterable[np.void], config: DataConfig) -> Batch:
    """Stored samples as they are: the first of their points, frames evenly over the window, on black."""
    return _stacked([_window(record, config, np.random.default_rng(0), augment=False) for record in records])


@dataclass(frozen=True)
class _Window:
    frames: np.ndarray  # (T, 3, S, S)
    points: np.ndarray  # (T, P, 3)
    normals: np.ndarray  # (P, 3)
    colors: np.ndarray  # (P, 3)
    crops: np.ndarray  # (T, 3)
    observed: np.ndarray  # (T - 1, P, C)
    surface: np.ndarray  # (N,) indices
    queries: np.ndarray  # (Q,)
    kind: str


def _window(record: np.void, config: DataConfig, rng: np.random.Generator, augment: bool) -> _Window:
    stored = len(record["frames"])
    if augment:
        others = np.sort(rng.permutation(np.arange(1, stored))[: config.used_frames - 1])
        chosen = np.concatenate([[0], others])
        surface = rng.permutation(record["points"].shape[1])[: config.surface_points]
        queries = rng.permutation(record["points"].shape[1])[: config.query_points]
    else:
        chosen = np.round(np.linspace(0, stored - 1, config.used_frames)).astype(int)
        surface = np.arange(config.surface_points)
        queries = record["points"].shape[1] - 1 - np.arange(config.query_points)
    frames = record["frames"][chosen].astype(np.float32) / 255
    points = record["points"][chosen].astype(np.float32)
    normals = record["normals"].astype(np.float32)
    colors = record["colors"].astype(np.float32) / 255
    crops = record["crops"][chosen]
    observed = record["observed"][chosen[1:] - 1].astype(np.float32)
    picture, alpha = frames[..., :3], frames[..., 3:]
    background: np.ndarray | float = 0.0
    if augment:
        if rng.uniform() < config.recolored:
            picture, colors = _recolored(picture, colors, rng)
        if rng.uniform() < config.backgrounds:
            background = random_background(picture.shape[1], rng)
        if config.sample.camera_axes and rng.uniform() < 0.5:  # mirror image
            picture, alpha = picture[:, :, ::-1], alpha[:, :, ::-1]
            points, normals = points * [-1, 1, 1], normals * [-1, 1, 1]
            crops, observed = crops * [-1, 1, 1] + [1, 0, 0], observed * MIRRORED
    shown = picture * alpha + background * (1 - alpha)
    return _Window(
        shown.transpose(0, 3, 1, 2), points, normals, colors, crops, observed, surface, queries,
        str(record["kind"]),
    )  # fmt: skip


def _recolored(picture: np.ndarray, colors: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, S, S, 3) and point colours (P, 3): the same change of hues, another exposure of the frames."""
    matrix = np.eye(3)[rng.permutation(3)] if rng.uniform() < 0.5 else np.eye(3)
    if rng.uniform() < 0.1:
        matrix = np.full((3, 3), 1 / 3)
    matrix = (matrix * np.exp(rng.normal(0, 0.2, (3, 1)))).astype(np.float32)
    exposure, gamma = float(np.exp(rng.normal(0, 0.15))), float(np.exp(rng.normal(0, 0.2)))
    changed = np.clip(picture @ matrix.T, 0, 1)
    return np.clip(changed**gamma * exposure, 0, 1), np.clip(colors @ matrix.T, 0, 1)


def random_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A still background (size, size, 3): a colour, or a smooth pattern."""
    first = rng.uniform(0, 1, 3)
    if rng.uniform() < 0.5:
        return np.broadcast_to(first, (size, size, 3)).astype(np.float32)
    line = np.linspace(-1, 1, size)
    wave, shift = rng.normal(0, 4, 2), rng.uniform(0, 6.28)
    share = 0.5 + 0.5 * np.sin(line[:, None] * wave[0] + line * wave[1] + shift)[..., None]
    return (share * first + (1 - share) * rng.uniform(0, 1, 3)).astype(np.float32)


def _stacked(windows: list[_Window]) -> Batch:
    def tensor(values: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values).astype(np.float32))

    observed = windows[0].observed.shape[-1] > 0

    def surface(which: str) -> SurfacePoints:
        at = [getattr(window, which) for window in windows]
        return SurfacePoints(
            tensor([window.points[0, index] for window, index in zip(windows, at, strict=True)]),
            tensor([window.normals[index] for window, index in zip(windows, at, strict=True)]),
            tensor([window.colors[index] for window, index in zip(windows, at, strict=True)]),
            tensor([one.observed[:, index] for one, index in zip(windows, at, strict=True)]) if observed else None,
        )

    return Batch(
        surface("surface"),
        tensor([window.frames for window in windows]),
        surface("queries"),
        tensor([window.points[:, window.queries] for window in windows]),
        tensor([window.crops for window in windows]),
        [window.kind for window in windows],
    )
