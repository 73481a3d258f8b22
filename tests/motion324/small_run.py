"""A run so small that tests can train it, and its stored samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from motion324.config import preset
from motion324.dataset import DataConfig
from motion324.observations import observe
from motion324.options import RunConfig, TrainingConfig
from motion324.samples import Sample, SampleConfig
from motion324.shards import shard_path, to_records

MODEL = replace(
    preset("tiny"), width=48, head_width=16, latents=16, video_layers=2, image_width=8, image_size=32
)  # fmt: skip
SAMPLES = SampleConfig(size=32, points=64)
DATA = DataConfig(
    frames=4, used_frames=3, surface_points=16, query_points=16, samples=16, validation_samples=4, sample=SAMPLES
)
TRAINING = TrainingConfig(
    batch_size_per_gpu=4, lr=3e-3, warmup=2, train_steps=6, use_checkpoint=False, amp_dtype="fp32", average=3,
    checkpoint_every=3, validate_every=3, print_every=1, tensorboard=False,
)  # fmt: skip
RUN = RunConfig(MODEL, DATA, TRAINING)


def moving_square(seed: int, frames: int = 4, points: int = 64, size: int = 32) -> Sample:
    """A bright square that moves across the picture, and points on it."""
    rng = np.random.default_rng(seed)
    speed = rng.uniform(-0.08, 0.08, 2)
    pictures = np.zeros((frames, size, size, 4), np.uint8)
    places = np.zeros((points, 3), np.float32)
    places[:, :2] = rng.uniform(-0.5, 0.5, (points, 2))
    depth = 2 * abs(speed[0])  # towards the camera: what the flow does not tell
    trajectories = np.stack([places + np.array([*(speed * frame), depth * frame]) for frame in range(frames)])
    for frame in range(frames):
        centre = (np.array([0.7, -0.7]) * speed * frame + 0.5) * size
        low, high = np.round(centre - 0.35 * size).astype(int), np.round(centre + 0.35 * size).astype(int)
        pictures[frame, max(low[1], 0) : high[1], max(low[0], 0) : high[0]] = (*rng.integers(150, 255, 3), 255)
    normals = np.tile(np.array([0, 0, 1], np.float16), (points, 1))
    colors = np.full((points, 3), 200, np.uint8)
    crops = np.tile(np.float32([0.5, 0.5, 1.0]), (frames, 1))
    return Sample(
        pictures, trajectories.astype(np.float16), normals, colors, crops, observed_in(pictures, places, normals)
    )


def observed_in(pictures: np.ndarray, places: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """What frames (T, S, S, 4) from afar show of points (P, 3) that the first one shows, (T - 1, P, C) float16."""
    shown = torch.from_numpy(pictures[..., :3] * np.float32(pictures[..., 3:] / 255)).permute(0, 3, 1, 2) / 255
    everywhere = torch.tensor([0.5, 0.5, 1.0]).expand(len(pictures), -1)
    visible, eye = torch.ones(len(places), dtype=torch.bool), torch.tensor([0.0, 0.0, 1e4])
    found = observe(shown, everywhere, torch.from_numpy(places), torch.from_numpy(normals).float(), visible, eye)
    return found.numpy().astype(np.float16)


def store(folder: Path, count: int = 16, shards: int = 1, first: int = 0) -> None:
    """Shards of moving squares."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        samples = [(moving_square(first + number * count + seed), "square", "square") for seed in range(count)]
        np.save(shard_path(folder, number), to_records(samples))
