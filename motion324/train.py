"""Train the motion network.

``python -m motion324.train --config tiny --output FOLDER [data.folder=FOLDER_OF_GLBS] [training.minutes=60 ...]``. On
several GPUs: ``torchrun --nproc_per_node 8 -m motion324.train --config base --output FOLDER``. ``--config`` takes the
name of a preset or a YAML file; overrides are ``section.field=value``. Run again, it goes on from the state in the
output folder.

Without ``data.folder`` and ``data.owners_folder`` all characters are generated. Written to the output folder: shards of
rendered samples, ``state.pt`` (everything that a run needs to go on), ``last.safetensors`` and ``best.safetensors``
(averaged weights), ``config.yaml``, ``log.csv``, ``curve.png``.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import distributed
from tqdm import tqdm

from motion324.checkpoint import save_network
from motion324.clips import ClipPool, training_pool, validation_pool
from motion324.dataset import Batch, DataConfig, training_batch
from motion324.flow_network import motion_network
from motion324.options import RunConfig, read_run_config
from motion324.owners_layout import OwnersFolder
from motion324.report import Report
from motion324.shards import SHARD, VALIDATION_SEED, ShardPool, make_shards
from motion324.trainer import Trainer
from motion324.validation import validate
from v2m4 import threads
from v2m4.command_line import OneLineParser, end_with
from v2m4.weights import Unavailable

log = logging.getLogger(__name__)

REFRESH = 50  # steps between two looks for new shards


def train(config: RunConfig, output: Path, device: torch.device | None = None) -> None:
    """Train as the configuration says; on rank 0 of a process group, also validate and write the files.

    Args:
        config: of the run.
        output: folder of the run.
        device: of this process; None for its GPU where there is one.

    Raises:
        FileNotFoundError: the data has no animated files, or none of a held-out family.
        ValueError: the output folder has a state of a network of other sizes.
        Unavailable: a package that the configuration asks for is missing.
    """
    rank, world = _rank_and_world()
    device = device or _device()
    trainer = Trainer(config, device, world)
    state = output / "state.pt"
    if rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.yaml").write_text(yaml.safe_dump(config.as_dict(), sort_keys=False), "utf-8")
        _prepare(config.data, output)
    _wait(world)
    if state.exists():
        trainer.load(state)
        log.info("going on from step %d", trainer.step)
    pool = ShardPool(output / "shards")
    log.info("%d samples, %.2f M parameters", len(pool), sum(p.numel() for p in trainer.network.parameters()) / 1e6)
    report = Report(output, config) if rank == 0 else None
    with _renderers(config.data, output, pool if rank == 0 else None):
        _run(trainer, config, pool, output, report, rank)
    if report is not None:
        report.close()


def _run(trainer: Trainer, config: RunConfig, pool: ShardPool, output: Path, report: Report | None, rank: int) -> None:
    """Steps to the end of the schedule."""
    training, losses = config.training, []
    records = _validation_records(config.data, output) if report is not None else None
    size = training.batch_size_per_gpu
    whole = size * trainer.world * training.grad_accum_steps
    growing = config.data.workers > 0
    cpu = time.process_time()
    with tqdm(total=training.train_steps or None, initial=trainer.step, disable=rank > 0, mininterval=30) as bar:
        while trainer.progress < 1:
            started = time.perf_counter()
            if growing and trainer.step % REFRESH == 0:
                pool.refresh()

            def batch_of(part: int) -> Batch:
                first = (part * trainer.world + rank) * size
                return training_batch(pool, config.data, training.seed, trainer.step, whole, range(first, first + size))

            losses.append(_mean_over_processes(trainer.train_step(batch_of), trainer))
            trainer.seconds += _longest(time.perf_counter() - started, trainer)
            bar.update()
            step, over = trainer.step, trainer.progress >= 1
            if rank == 0 and (step % training.print_every == 0 or over):
                log.info("step %d: loss %.5f, %.2f s, %d samples", step, losses[-1], trainer.seconds, len(pool))
            if report is not None and records is not None and (step % training.validate_every == 0 or over):
                figures = _validated(trainer, config, records, output)
                spent = {"loss": float(np.mean(losses)), "samples": float(len(pool)), "cpu": time.process_time() - cpu}
                report.write(step, trainer.seconds, {**spent, **figures})
                losses.clear()
            if rank == 0 and (step % training.checkpoint_every == 0 or over):
                trainer.save(output / "state.pt")


def _validated(trainer: Trainer, config: RunConfig, records: np.ndarray, output: Path) -> dict[str, float]:
    """Validate the averaged weights, and write them."""
    network = trainer.averaged(motion_network(config.model).to(trainer.device)).eval()
    figures = validate(network, records, config.data, trainer.device)
    log.info(
        "step %d: trajectory error %.3f %% of the size, standing still %.3f (ratio %.3f); chamfer %.3f, %.3f; "
        "F-score %.3f, %.3f", trainer.step, figures.trajectory, figures.still, figures.ratio, figures.chamfer,
        figures.chamfer_still, figures.f_score, figures.f_score_still,
    )  # fmt: skip
    axes = "camera" if config.data.sample.camera_axes else "object"
    notes = {"axes": axes, "step": str(trainer.step), "ratio": f"{figures.ratio:.4f}"}
    save_network(output / "last.safetensors", network, notes, half=True)
    if figures.trajectory < trainer.best:
        trainer.best = figures.trajectory
        save_network(output / "best.safetensors", network, notes, half=True)
    return figures.scalars()


def _prepare(data: DataConfig, output: Path) -> None:
    """Render the samples of validation, and those that the training begins with."""
    log.info("rendering the samples that are not there yet")
    counts = range(-(-data.validation_samples // SHARD))
    pool: ClipPool | OwnersFolder
    if data.owners_folder is not None:
        names = None if data.owners_list is None else Path(data.owners_list)
        held_out = OwnersFolder(Path(data.owners_folder), names, data.frames, held_out=True)
        make_shards(output / "validation", held_out, data.sample, counts, seed=VALIDATION_SEED)
        pool = OwnersFolder(Path(data.owners_folder), names, data.frames, held_out=False)
    else:
        folder = None if data.folder is None else Path(data.folder)
        if not all((output / "validation" / f"shard_{number:05d}.npy").exists() for number in counts):
            held = validation_pool(folder, data.frames)
            make_shards(output / "validation", held, data.sample, counts, seed=VALIDATION_SEED)
        pool = training_pool(folder, data.generated, data.frames)
    make_shards(output / "shards", pool, data.sample, range(-(-data.samples // SHARD)))


def _validation_records(data: DataConfig, output: Path) -> np.ndarray:
    """Stored samples of validation, as many as the configuration says."""
    stored = ShardPool(output / "validation")
    return np.stack([stored[index] for index in range(min(len(stored), data.validation_samples))])


@contextmanager
def _renderers(data: DataConfig, output: Path, pool: ShardPool | None) -> Iterator[None]:
    """Processes that render further shards until the training ends."""
    command = [sys.executable, "-m", "motion324.shards", "--output", str(output / "shards"), "--count", str(10**8)]
    command += ["--frames", str(data.frames), "--generated", str(data.generated)]
    for name, value in (("data", data.folder), ("owners", data.owners_folder), ("list", data.owners_list)):
        command += [f"--{name}", value] if value is not None else []
    axes = "--sample.camera-axes" if data.sample.camera_axes else "--sample.no-camera-axes"
    command += ["--sample.size", str(data.sample.size), "--sample.points", str(data.sample.points), axes]
    command += ["--sample.yaw", str(data.sample.yaw)]
    count = data.workers if pool is not None else 0
    started = [
        subprocess.Popen([*command, "--part", str(number), str(count)], stderr=subprocess.DEVNULL)
        for number in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def _rank_and_world() -> tuple[int, int]:
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def _wait(world: int) -> None:
    if world > 1:
        distributed.barrier()


def _reduced(value: float, trainer: Trainer, operation: distributed.ReduceOp.RedOpType) -> float:
    """A number of all processes, combined."""
    if trainer.world == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=trainer.device)
    distributed.all_reduce(tensor, operation)
    return float(tensor)


def _mean_over_processes(value: float, trainer: Trainer) -> float:
    return _reduced(value, trainer, distributed.ReduceOp.SUM) / trainer.world


def _longest(seconds: float, trainer: Trainer) -> float:
    """The same duration for all processes, so that their schedules agree."""
    return _reduced(seconds, trainer, distributed.ReduceOp.MAX)


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="tiny, base, or a YAML file")
    parser.add_argument("--output", type=Path, default=Path("motion324_run"), help="folder of the run")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch; 0 for all cores")
    parser.add_argument("overrides", nargs="*", help="section.field=value")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    torch.set_num_threads(options.threads or threads.available())
    grouped = "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    try:
        config = read_run_config(options.config, options.overrides)
        if grouped:
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            if torch.cuda.is_available():
                torch.cuda.set_device(_device())
        train(config, options.output)
    except (ValueError, OSError, Unavailable) as error:
        raise SystemExit(f"error: {error}") from error
    finally:
        if grouped and distributed.is_initialized():
            distributed.destroy_process_group()


if __name__ == "__main__":
    end_with(main)
