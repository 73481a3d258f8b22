"""Errors of predicted trajectories against those of standing still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from motion324.dataset import DataConfig, validation_batch

F_SCORE_RADIUS = 0.02  # in a cube of side 2, as in the measurements of published results
BATCH = 16


@dataclass(frozen=True)
class Figures:
    """Means over validation samples; distances are percentages of the reference's longest side.

    Attributes:
        trajectory: mean distance of points from their true positions, over all frames but the first.
        still: the same, had nothing moved.
        chamfer: distance between the sets of predicted and true points, both ways added.
        chamfer_still: the same, had nothing moved.
        f_score: at a hundredth of the size.
        f_score_still: the same, had nothing moved.
        kinds: trajectory and still by kind of body.
    """

    trajectory: float
    still: float
    chamfer: float
    chamfer_still: float
    f_score: float
    f_score_still: float
    kinds: dict[str, tuple[float, float]]

    @property
    def ratio(self) -> float:
        """Trajectory error relative to that of standing still."""
        return self.trajectory / max(self.still, 1e-9)

    def scalars(self) -> dict[str, float]:
        """The means by name."""
        names = ("trajectory", "still", "chamfer", "chamfer_still", "f_score", "f_score_still")
        return {name: getattr(self, name) for name in names} | {"ratio": self.ratio}


def trajectory_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean distances (B,) of trajectories (B, T, Q, 3), over all frames but the first."""
    return (predicted - truth)[:, 1:].norm(dim=-1).mean((1, 2))


def chamfer_and_f_score(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Chamfer distance (both ways added) and F-score of point sets (..., Q, 3), (...,) each, in the cube of side 1."""
    distance = torch.cdist(predicted, truth)
    forth, back = distance.amin(-1), distance.amin(-2)
    radius = F_SCORE_RADIUS / 2
    precision, recall = (forth < radius).float().mean(-1), (back < radius).float().mean(-1)
    score = 2 * precision * recall / (precision + recall).clamp_min(1e-9)
    return forth.mean(-1) + back.mean(-1), score


@torch.no_grad()
def validate(network: nn.Module, records: np.ndarray, config: DataConfig, device: torch.device) -> Figures:
    """Figures of a network on stored samples.

    Args:
        network: a ``MotionNetwork``; its mode is kept.
        records: (N,) see ``shards``.
        config: of the samples' use.
        device: of the network.
    """
    training = network.training
    network.eval()
    found: list[np.ndarray] = []
    kinds: list[str] = []
    for start in range(0, len(records), BATCH):
        batch = validation_batch(records[start : start + BATCH], config).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            predicted = network(batch.surface, batch.frames, batch.queries, batch.crops).float()
        still = batch.targets[:, :1].expand_as(batch.targets)
        columns = []
        for guess in (predicted, still):
            chamfer, score = chamfer_and_f_score(guess[:, 1:], batch.targets[:, 1:])
            columns += [trajectory_error(guess, batch.targets) * 100, chamfer.mean(1) * 100, score.mean(1)]
        found.append(torch.stack(columns, 1).cpu().numpy())
        kinds += batch.kinds
    network.train(training)
    values, labels = np.concatenate(found), np.array(kinds)
    error, chamfer_, score_, stands, chamfer_stands, score_stands = (float(value) for value in values.mean(0))
    by_kind = {
        str(kind): (float(values[labels == kind, 0].mean()), float(values[labels == kind, 3].mean()))
        for kind in np.unique(labels)
    }
    return Figures(error, stands, chamfer_, chamfer_stands, score_, score_stands, by_kind)
