from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion324.embedding import SurfacePoints
from motion324.shards import ShardPool
from motion324.validation import chamfer_and_f_score, trajectory_error, validate
from tests.motion324.small_run import DATA, store


class Still(nn.Module):
    def forward(self, surface: SurfacePoints, frames: Tensor, queries: SurfacePoints, crops: Tensor) -> Tensor:
        return queries.points[:, None].expand(-1, frames.shape[1], -1, -1)


def test_standing_still_has_the_error_of_standing_still(tmp_path: Path) -> None:
    store(tmp_path)
    pool = ShardPool(tmp_path)
    records = np.stack([pool[index] for index in range(16)])
    figures = validate(Still(), records, DATA, torch.device("cpu"))
    points = records["points"][:, [0, 2, 3]].astype(np.float32)
    expected = 100 * np.linalg.norm(points - points[:, :1], axis=-1)[:, 1:].mean()
    assert figures.trajectory == pytest.approx(expected, rel=1e-3)
    assert figures.still == figures.trajectory
    assert figures.ratio == pytest.approx(1.0)
    assert figures.kinds == {"square": (pytest.approx(expected, rel=1e-3), pytest.approx(expected, rel=1e-3))}
    assert set(figures.scalars()) >= {"trajectory", "still", "ratio", "chamfer", "f_score"}


def test_the_first_frame_does_not_count() -> None:
    truth = torch.zeros(1, 3, 5, 3)
    predicted = truth.clone()
    predicted[:, 0] = 9
    predicted[:, 1:, :, 0] = 0.25
    assert float(trajectory_error(predicted, truth)) == pytest.approx(0.25)


def test_chamfer_adds_both_ways_and_the_f_score_counts_near_points() -> None:
    truth = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    chamfer, score = chamfer_and_f_score(truth, truth)
    assert float(chamfer) == 0
    assert float(score) == pytest.approx(1)
    chamfer, score = chamfer_and_f_score(torch.tensor([[0.0, 0.005, 0], [0, 0, 0]]), truth)
    assert float(chamfer) == pytest.approx(0.0025 + 0.5, rel=1e-4)
    assert float(score) == pytest.approx(2 * 1 * 0.5 / 1.5)
