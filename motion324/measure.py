"""Measure a checkpoint on clips of animated glTF files, against standing still.

``python -m motion324.measure --checkpoint FILE --files Fox.glb RobotExpressive.glb --output FOLDER`` renders windows of
random clips from random cameras and writes ``measure.csv`` (a row for each file) and ``measure.png``: frames with the
true points (green) and the predicted ones (red).
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from motion324.checkpoint import load_network, read_notes
from motion324.clips import ClipPool
from motion324.dataset import DataConfig, validation_batch
from motion324.flow_network import AnyMotionNetwork
from motion324.samples import SampleConfig
from motion324.shards import rendered, to_records
from motion324.validation import Figures, validate
from motion324.view_frame import CUBE
from v2m4 import threads
from v2m4.character_files import Source
from v2m4.command_line import end_with, parse_options

log = logging.getLogger(__name__)

SHOWN_POINTS = 60
SHOWN_WINDOWS = 6  # of a file
ENLARGED = 2


@dataclass
class Options:
    """Measure a checkpoint of the motion network on animated files."""

    # Checkpoint that motion324.train has written.
    checkpoint: Path
    # Animated .glb and .gltf files.
    files: list[Path]
    # Folder of the results.
    output: Path
    # Windows of each file.
    windows: int = 64
    # Frames of a window.
    frames: int = 12
    # Of these, as many are shown to the network.
    used_frames: int = 5
    seed: int = 0


def measure(network: AnyMotionNetwork, records: np.ndarray, config: DataConfig) -> Figures:
    """Figures of a network on stored windows."""
    return validate(network, records, config, torch.device("cpu"))


def windows_of(path: Path, count: int, frames: int, config: SampleConfig, seed: int) -> np.ndarray:
    """Records (count,) of random windows of a file.

    Raises:
        ValueError: the file cannot be read, or nothing in it moves.
    """
    pool = ClipPool([Source(path, path.stem, path.stem, 1.0)], 0.0, frames)
    samples = rendered(pool, config, np.random.default_rng(seed))
    return to_records([next(samples) for _ in range(count)])


@torch.no_grad()
def picture(network: AnyMotionNetwork, records: np.ndarray, config: DataConfig) -> np.ndarray:
    """Rows of frames with true points (green) and predicted points (red), BGR uint8."""
    batch = validation_batch(records, config)
    predicted = network(batch.surface, batch.frames, batch.queries, batch.crops).numpy()
    rows = []
    for frames, truth, guess in zip(batch.frames.numpy(), batch.targets.numpy(), predicted, strict=True):
        row = []
        for frame, true_points, points in zip(frames, truth, guess, strict=True):
            image = (frame.transpose(1, 2, 0)[..., ::-1] * 255).astype(np.uint8)
            image = cv2.resize(image, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)
            for where, color in ((true_points, (0, 220, 0)), (points, (40, 40, 255))):
                for x, y in (where[:SHOWN_POINTS, :2] * [CUBE, -CUBE] + 0.5) * image.shape[0]:
                    cv2.circle(image, (int(x), int(y)), 1, color, -1)
            row.append(image)
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows)


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)
    threads.use(0)
    try:
        network = load_network(options.checkpoint)
        axes = read_notes(options.checkpoint).get("axes", "object")
        size = network.config.image_size
        sample = SampleConfig(size=size, points=1024, camera_axes=axes == "camera")
        config = DataConfig(used_frames=options.used_frames, surface_points=512, query_points=512, sample=sample)
        options.output.mkdir(parents=True, exist_ok=True)
        rows, pictures = [], []
        for path in options.files:
            records = windows_of(path, options.windows, options.frames, sample, options.seed)
            figures = measure(network, records, config)
            log.info("%s: %s", path.name, ", ".join(f"{name} {value:.3f}" for name, value in figures.scalars().items()))
            rows.append({"file": path.name, **figures.scalars()})
            pictures.append(picture(network, records[:SHOWN_WINDOWS], replace(config, query_points=SHOWN_POINTS)))
        with (options.output / "measure.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        cv2.imwrite(str(options.output / "measure.png"), np.concatenate(pictures))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    end_with(main)
