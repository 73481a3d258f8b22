from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion324.dataset import DataConfig, random_background, training_batch, validation_batch
from motion324.shards import ShardPool
from motion324.view_frame import CUBE
from tests.motion324.small_run import DATA, store


@pytest.fixture
def pool(tmp_path: Path) -> ShardPool:
    store(tmp_path)
    return ShardPool(tmp_path)


def test_a_batch_is_a_function_of_seed_and_step(pool: ShardPool) -> None:
    first, second = (training_batch(pool, DATA, 1, 7, 4, range(4)) for _ in range(2))
    assert torch.equal(first.frames, second.frames)
    assert torch.equal(first.targets, second.targets)
    other = training_batch(pool, DATA, 1, 8, 4, range(4))
    assert not torch.equal(first.frames, other.frames)


def test_parts_make_the_whole_batch(pool: ShardPool) -> None:
    whole = training_batch(pool, DATA, 0, 3, 4, range(4))
    parts = [training_batch(pool, DATA, 0, 3, 4, part) for part in (range(2), range(2, 4))]
    assert torch.equal(whole.frames, torch.cat([part.frames for part in parts]))
    assert torch.equal(whole.surface.points, torch.cat([part.surface.points for part in parts]))


def test_shapes_and_the_reference_frame(pool: ShardPool) -> None:
    batch = training_batch(pool, DATA, 0, 0, 4, range(4))
    assert batch.frames.shape == (4, 3, 3, 32, 32)
    assert batch.targets.shape == (4, 3, 16, 3)
    assert torch.equal(batch.targets[:, 0], batch.queries.points)
    assert 0 <= float(batch.frames.min()) <= float(batch.frames.max()) <= 1


def test_mirrored_windows_stay_consistent(pool: ShardPool) -> None:
    for step in range(12):
        batch = training_batch(pool, replace(DATA, recolored=0.0), 0, step, 4, range(4))
        for frames, targets in zip(batch.frames, batch.targets, strict=True):
            for frame, points in zip(frames, targets, strict=True):
                rows, columns = torch.nonzero(frame.sum(0) > 0.1, as_tuple=True)
                centre = torch.stack([columns.float().mean() + 0.5, rows.float().mean() + 0.5]) / 32
                inside = columns.min() > 0 and columns.max() < 31 and rows.min() > 0 and rows.max() < 31
                if inside:
                    # The points' box is the square's, but for chance.
                    middle = (points.amax(0) + points.amin(0))[:2] / 2
                    expected = 0.5 + middle * torch.tensor([CUBE, -CUBE])
                    torch.testing.assert_close(centre, expected, atol=0.12, rtol=0)


def test_validation_batches_are_plain(pool: ShardPool) -> None:
    records = [pool[index] for index in range(3)]
    batch = validation_batch(records, DATA)
    expected = records[0]["frames"][[0, 2, 3]].astype(np.float32) / 255
    np.testing.assert_allclose(
        batch.frames[0].permute(0, 2, 3, 1).numpy(), expected[..., :3] * expected[..., 3:], atol=1e-6
    )
    assert batch.kinds == ["square"] * 3


def test_backgrounds_fill_what_the_object_leaves(pool: ShardPool) -> None:
    plain = training_batch(pool, replace(DATA, recolored=0.0), 0, 0, 4, range(4))
    filled = training_batch(pool, replace(DATA, recolored=0.0, backgrounds=1.0), 0, 0, 4, range(4))
    assert float((plain.frames.sum(2) == 0).float().mean()) > 0.1
    assert float((filled.frames.sum(2) == 0).float().mean()) < 0.01
    background = random_background(8, np.random.default_rng(0))
    assert background.shape == (8, 8, 3)


def test_more_points_than_are_stored_are_an_error() -> None:
    with pytest.raises(ValueError, match="no more than the stored points"):
        DataConfig(query_points=9000)
    with pytest.raises(ValueError, match="used_frames"):
        DataConfig(used_frames=13)
