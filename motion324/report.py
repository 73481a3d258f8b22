"""Files that a training run writes: log, curve, TensorBoard's events, Weights & Biases."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from motion324.options import RunConfig
from v2m4.weights import Package, require_packages

log = logging.getLogger(__name__)

WANDB = Package("wandb", "pip install wandb")
WIDTH, HEIGHT, EDGE = 760, 420, 60  # of the curve, pixels


class Report:
    """Writer of a run's figures.

    Args:
        folder: of the run.
        config: of the run.

    Raises:
        Unavailable: Weights & Biases was asked for, and its package is missing.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self.rows = _read_rows(folder / "log.csv")
        self.writer: Any = None
        self.wandb: Any = None
        if config.training.tensorboard and importlib.util.find_spec("tensorboard") is not None:
            self.writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))
        if config.training.wandb_project:
            require_packages([WANDB])
            self.wandb = importlib.import_module("wandb")
            self.wandb.init(project=config.training.wandb_project, dir=str(folder), config=config.as_dict())

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        """Add a row, and renew the log and the curve.

        Args:
            step: number of steps made.
            seconds: of training.
            figures: by name.
        """
        self.rows = [row for row in self.rows if row["step"] < step]  # those after the state that a run resumed from
        self.rows.append({"step": float(step), "seconds": seconds, **figures})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        temporary = self.folder / "log.csv.tmp"
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, names)
            table.writeheader()
            table.writerows(self.rows)
        temporary.replace(self.folder / "log.csv")
        draw_curve(self.folder / "curve.png", self.rows)
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)
            self.writer.flush()
        if self.wandb is not None:
            self.wandb.log(figures, step=step)

    def close(self) -> None:
        """Finish the writers."""
        if self.writer is not None:
            self.writer.close()
        if self.wandb is not None:
            self.wandb.finish()


def _read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a log that is there already."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def draw_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Picture of the trajectory error, relative to standing still, over the minutes of training.

    Args:
        path: of a .png.
        rows: with ``seconds`` and ``ratio``.
    """
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    known = [row for row in rows if "ratio" in row]
    longest = max([row["seconds"] / 60 for row in known], default=1.0) or 1.0
    highest = max([1.1, *(row["ratio"] for row in known)])

    def place(minutes: float, ratio: float) -> tuple[int, int]:
        x = EDGE + (WIDTH - 2 * EDGE) * minutes / longest
        return round(x), round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ratio / highest)

    def text(words: str, at: tuple[int, int]) -> None:
        cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        left, right = place(0, share), place(longest, share)
        cv2.line(canvas, left, right, (120, 120, 120) if share in (0.0, 1.0) else (220, 220, 220), 1)
        text(f"{share:.2f}", (14, left[1] + 4))
        text(f"{share * longest:.3g}", (place(share * longest, 0)[0] - 10, HEIGHT - EDGE + 18))
    points = [place(row["seconds"] / 60, row["ratio"]) for row in known]
    for start, end in itertools.pairwise(points):
        cv2.line(canvas, start, end, (160, 90, 30), 2, cv2.LINE_AA)
    text("trajectory error / error of standing still, families not trained on", (EDGE, 24))
    text("minutes of training", (WIDTH // 2 - 60, HEIGHT - 14))
    cv2.imwrite(str(path), canvas)
