from pathlib import Path

import numpy as np
import pytest

from motion324.clips import ClipPool
from motion324.samples import SampleConfig
from motion324.shards import VALIDATION_SEED, ShardPool, make_shards, shard_path
from tests.motion324.small_run import store

CONFIG = SampleConfig(size=24, points=32)


def test_a_shard_is_a_function_of_its_number(tmp_path: Path) -> None:
    pool = ClipPool([], 1.0, 3)
    for folder in ("first", "second"):
        make_shards(tmp_path / folder, pool, CONFIG, range(1, 2), count=3)
    first, second = (np.load(shard_path(tmp_path / folder, 1)) for folder in ("first", "second"))
    assert first.dtype == second.dtype
    assert first.tobytes() == second.tobytes()
    assert len(first) == 3
    assert all(name.startswith("generated/") for name in first["name"])
    assert first["frames"].shape == (3, 3, 24, 24, 4)
    assert not list(tmp_path.rglob("*.tmp.npy"))
    make_shards(tmp_path / "validation", pool, CONFIG, range(1, 2), count=3, seed=VALIDATION_SEED)
    assert np.load(shard_path(tmp_path / "validation", 1)).tobytes() != first.tobytes()


def test_shards_that_are_there_stay(tmp_path: Path) -> None:
    store(tmp_path, count=2)
    before = shard_path(tmp_path, 0).read_bytes()
    make_shards(tmp_path, ClipPool([], 1.0, 3), CONFIG, range(1), count=2)
    assert shard_path(tmp_path, 0).read_bytes() == before


def test_a_pool_takes_in_new_shards(tmp_path: Path) -> None:
    store(tmp_path, count=3)
    pool = ShardPool(tmp_path)
    assert len(pool) == 3
    assert not pool.refresh()
    store(tmp_path, count=3, shards=2)
    assert pool.refresh()
    assert len(pool) == 6
    whole = np.concatenate([np.load(shard_path(tmp_path, number)) for number in range(2)])
    for index in range(6):
        np.testing.assert_array_equal(pool[index]["points"], whole[index]["points"])


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m motion324\.shards"):
        ShardPool(tmp_path)
