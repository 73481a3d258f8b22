"""Validation of a training run on held-out families, and the files that are written with it."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from generators.prior.dataset import Arrays, to_batch, to_tensors
from generators.prior.losses import errors, read_output, true_ramps, view_scale
from generators.prior.network import OUTPUTS, Output, Prior
from generators.prior.tilt import BINS, fit_ramps
from generators.prior.trainer import Trainer
from generators.prior.weights import write_weights

log = logging.getLogger(__name__)

FIGURES = ("front", "back", "thickness", "gradient", "color")


@torch.no_grad()
def validate(network: Prior | None, shards: list[Arrays], device: torch.device) -> dict[str, float]:
    """Mean errors over stored views; without a network those of ``Inflate``'s maps.

    ``tilt`` is the mean error of the ramps of ``tilt.fit_ramps``, ``shape`` the sum of the errors of front and back
    relative to the object's size, ``shape_<kind>`` the same for a kind of body.
    """
    found: dict[str, list[np.ndarray]] = {}
    kinds: list[str] = []
    for arrays in shards:
        tensors = to_tensors(arrays, device)
        for start in range(0, len(arrays["valid"]), 64):
            batch = to_batch({name: values[start : start + 64] for name, values in tensors.items()})
            if network is None:
                maps = torch.zeros(len(batch.valid), OUTPUTS, *batch.valid.shape[2:], device=device)
                output = Output(
                    maps, torch.zeros(len(maps), 2, BINS, device=device), torch.zeros(len(maps), device=device)
                )
            else:
                with torch.autocast(device.type, torch.bfloat16):
                    output = network(batch.inputs)
            prediction = read_output(output, batch)
            values = errors(prediction, batch)
            shape = (values.front + values.back) / view_scale(batch)
            truth = true_ramps(batch)
            reached = truth - fit_ramps(prediction.centre - batch.base[:, :1], batch.valid)
            found.setdefault("tilt", []).append(reached.abs().mean(1).cpu().numpy())
            for name in FIGURES:
                found.setdefault(name, []).append(getattr(values, name).cpu().numpy())
            found.setdefault("shape", []).append(shape.cpu().numpy())
        kinds += list(arrays["kind"])
    means = {name: float(np.concatenate(values).mean()) for name, values in found.items()}
    relative = np.concatenate(found["shape"])
    for kind in sorted(set(kinds)):
        means[f"shape_{kind}"] = float(relative[np.array(kinds) == kind].mean())
    return means


def draw_curve(path: Path, rows: list[dict[str, str]], base: dict[str, float]) -> None:
    """PNG of the validation error over views, beside that of ``Inflate``."""
    picture = np.full((360, 640, 3), 255, np.uint8)
    views = np.array([float(row["views"]) for row in rows])
    values = np.array([float(row["shape"]) for row in rows])
    top = 1.1 * max(base["shape"], float(values.max()))
    right = max(float(views.max()), 1.0)

    def place(x: float, y: float) -> tuple[int, int]:
        return round(60 + 560 * x / right), round(330 - 300 * y / top)

    for share in np.linspace(0, 1, 6):
        cv2.putText(picture, f"{share * top:.2f}", (8, place(0, share * top)[1]), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0)
        cv2.line(picture, place(0, share * top), place(right, share * top), (225, 225, 225))
    cv2.line(picture, place(0, base["shape"]), place(right, base["shape"]), (60, 60, 220), 1)
    cv2.putText(picture, "Inflate", place(0.8 * right, base["shape"]), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 220))
    points = np.array([place(x, y) for x, y in zip(views, values, strict=True)], np.int32)
    cv2.polylines(picture, [points], False, (180, 90, 20), 2, cv2.LINE_AA)
    label = f"error of front and back, held-out families; {int(right)} views, now {values[-1]:.3f}"
    cv2.putText(picture, label, (60, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0)
    cv2.imwrite(str(path), picture)


@dataclass
class Report:
    """Validation, its log and the files that are written with it."""

    folder: Path
    shards: list[Arrays]
    device: torch.device

    def __post_init__(self) -> None:
        self.base = validate(None, self.shards, self.device)
        log.info("Inflate: %s", _listed(self.base))

    def write(self, trainer: Trainer, training_loss: float, rate: float) -> dict[str, float]:
        """Validate the average, write state, weights, log and curve; returns the figures."""
        network = Prior().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.load_state_dict(trainer.average.state)
        means = validate(network.eval(), self.shards, self.device)
        log.info("step %d, %d views, loss %.4f: %s", trainer.step, trainer.views, training_loss, _listed(means))
        notes = {"step": str(trainer.step), "views": str(trainer.views), "shape": f"{means['shape']:.4f}"}
        write_weights(self.folder / "last.safetensors", trainer.average.state, notes)
        if means["shape"] <= trainer.best:
            trainer.best = means["shape"]
            write_weights(self.folder / "best.safetensors", trainer.average.state, notes)
        temporary = self.folder / "state.pt.tmp"
        torch.save(trainer.state(), temporary)
        temporary.replace(self.folder / "state.pt")
        row = {"views": trainer.views, "step": trainer.step, "seconds": round(trainer.seconds), "rate": f"{rate:.2e}"}
        row |= {"loss": f"{training_loss:.5f}"} | {name: f"{value:.5f}" for name, value in means.items()}
        table = self.folder / "log.csv"
        new = not table.exists()
        with table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        with table.open(newline="", encoding="utf-8") as file:
            draw_curve(self.folder / "curve.png", list(csv.DictReader(file)), self.base)
        return means


def _listed(means: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in means.items())
