"""Training: the loss falls, resumed and shared runs give the same curve, files are written."""

import csv
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from motion324.checkpoint import load_network, read_notes
from motion324.dataset import training_batch
from motion324.flow_network import FlowMotionNetwork
from motion324.options import RunConfig
from motion324.shards import ShardPool
from motion324.train import main, train
from motion324.trainer import LEAST_DISPLACEMENT, Trainer, loss_of, rate_factor
from tests.motion324.small_run import DATA, MODEL, RUN, TRAINING, store


def prepared(folder: Path) -> Path:
    store(folder / "shards", count=64)
    store(folder / "validation", count=64, first=500)
    return folder


def losses(config: RunConfig, folder: Path, steps: int, trainer: Trainer | None = None) -> list[float]:
    trainer = trainer or Trainer(config, torch.device("cpu"))
    pool, size = ShardPool(folder / "shards"), config.training.batch_size_per_gpu
    whole = size * config.training.grad_accum_steps
    found = []
    for _ in range(steps):
        step = trainer.step
        found.append(
            trainer.train_step(
                lambda part, step=step: training_batch(
                    pool, config.data, 0, step, whole, range(part * size, (part + 1) * size)
                )
            )
        )
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_loss_falls(tmp_path: Path, optimizer: str) -> None:
    rate = {"adamw": 1e-3, "muon": 1e-2}[optimizer]
    training = replace(TRAINING, optimizer=optimizer, lr=rate, train_steps=60, loss="distance")
    trainer = Trainer(replace(RUN, training=training), torch.device("cpu"))
    batch = training_batch(ShardPool(prepared(tmp_path) / "shards"), DATA, 0, 0, 4, range(4))
    found = [trainer.train_step(lambda part: batch) for _ in range(60)]
    assert min(found[-5:]) < 0.5 * found[0]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_has_the_same_curve(tmp_path: Path, optimizer: str) -> None:
    config = replace(RUN, training=replace(TRAINING, optimizer=optimizer))
    whole = losses(config, prepared(tmp_path), 6)
    trainer = Trainer(config, torch.device("cpu"))
    first = losses(config, tmp_path, 2, trainer)
    trainer.save(tmp_path / "state.pt")
    again = Trainer(replace(config, training=replace(config.training, seed=9)), torch.device("cpu"))
    again.load(tmp_path / "state.pt")
    assert again.step == 2
    assert first + losses(config, tmp_path, 4, again) == whole


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    prepared(tmp_path)
    whole = losses(RUN, tmp_path, 4)
    shared = losses(replace(RUN, training=replace(TRAINING, batch_size_per_gpu=2, grad_accum_steps=2)), tmp_path, 4)
    assert shared == pytest.approx(whole, rel=1e-3)


def _process(rank: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    store_file = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store_file, rank=rank, world_size=2)
    train(replace(RUN, training=replace(TRAINING, batch_size_per_gpu=2)), folder / "two", torch.device("cpu"))
    distributed.destroy_process_group()


def curve(folder: Path) -> list[tuple[float, float]]:
    with (folder / "log.csv").open() as file:
        return [(float(row["loss"]), float(row["trajectory"])) for row in csv.DictReader(file)]


def test_two_processes_give_the_curve_of_one(tmp_path: Path) -> None:
    train(RUN, prepared(tmp_path / "one"), torch.device("cpu"))
    prepared(tmp_path / "two")
    multiprocessing.start_processes(_process, (tmp_path,), 2, start_method="spawn")
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=2e-3)


def test_the_command_writes_its_files_and_goes_on(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "run")
    config = tmp_path / "small.yaml"
    values = RUN.as_dict()
    config.write_text(json.dumps(values))
    main(["--config", str(config), "--output", str(folder), "--threads", "1", "training.train_steps=3"])
    assert {path.name for path in folder.iterdir()} >= {
        "state.pt", "last.safetensors", "best.safetensors", "log.csv", "curve.png", "config.yaml",
    }  # fmt: skip
    main(["--config", str(config), "--output", str(folder), "--threads", "1"])
    assert len(curve(folder)) == 2
    network = load_network(folder / "best.safetensors")
    assert isinstance(network, FlowMotionNetwork)
    assert network.config == MODEL
    assert read_notes(folder / "best.safetensors")["axes"] == "camera"


def test_a_state_of_other_sizes_is_an_error(tmp_path: Path) -> None:
    Trainer(RUN, torch.device("cpu")).save(tmp_path / "state.pt")
    other = Trainer(replace(RUN, model=replace(MODEL, video_layers=4)), torch.device("cpu"))
    with pytest.raises(ValueError, match="other sizes"):
        other.load(tmp_path / "state.pt")


def test_the_rate_rises_and_falls() -> None:
    config = replace(TRAINING, warmup=10, last_lr=0.1)
    rates = [rate_factor(step / 100, step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.98, abs=0.03)
    assert rates[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[10:]))


def test_losses() -> None:
    predicted, truth = torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, 3)
    predicted[0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])
    assert float(loss_of(predicted, truth, "mse")) == pytest.approx(25 / 6)
    assert float(loss_of(predicted, truth, "distance")) == pytest.approx(2.5, rel=1e-3)
    moving = torch.zeros(2, 2, 1, 3)
    moving[0, 1], moving[1, 1] = 0.2, 2.0  # one sample moves ten times as far as the other
    halves = loss_of(moving / 2, moving, "relative")
    lengths = [3**0.5 * step / 2 for step in (0.2, 2.0)]  # mean over both frames
    expected = sum(length / 2 / (length + LEAST_DISPLACEMENT) for length in lengths) / 2
    assert float(halves) == pytest.approx(expected, rel=1e-3)
    exact = truth.clone().requires_grad_()
    loss_of(exact, truth, "distance").backward()
    assert exact.grad is not None
    assert bool(exact.grad.isfinite().all())


def test_data_without_characters_is_an_error(tmp_path: Path) -> None:
    config = replace(RUN, data=replace(DATA, folder=str(tmp_path / "none")))
    with pytest.raises(FileNotFoundError):
        train(config, tmp_path / "run", torch.device("cpu"))
