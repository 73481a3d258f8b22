"""Train the network on renders of glTF characters and random creatures.

``python -m generators.prior.train --data FOLDER_OF_GLBS --hours 2 --output FOLDER`` renders and trains in turns on a
CPU; run again, it goes on from the state in the output folder, or, where only weights are left (``best.safetensors``
there, or ``--start FILE``), from those. On a machine with a GPU and many cores: ``--workers 14 --batch 256 --minutes
8``, and ``--packed characters.tar.xz`` where the data has to travel.

Written every few minutes: ``state.pt`` (everything that a run needs to go on), ``last.safetensors`` and
``best.safetensors`` (averaged weights in half precision), ``log.csv``, ``curve.png``.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from generators.prior.dataset import (
    SHARD,
    Batch,
    RenderPool,
    make_shard,
    read_shard,
    training_pool,
    validation_pool,
)
from generators.prior.report import Report
from generators.prior.trainer import Trainer, rate_factor, restore
from v2m4 import threads
from v2m4.command_line import end_with, parse_options

log = logging.getLogger(__name__)

VALIDATION_SHARDS = 2


@dataclass
class Options:
    """Train the shape prior."""

    # Folder with .glb and .gltf files; or --packed.
    data: Path | None = None
    # Folder of the run: state, weights, log, curve, renders.
    output: Path = Path("prior_run")
    # Hours that the learning rate's schedule takes; a run that was stopped before goes on with its schedule.
    hours: float = 2.0
    # Minutes instead of hours.
    minutes: float | None = None
    # Archive (.zip, .tar.xz) of such a folder, to be carried to another machine.
    packed: Path | None = None
    # Processes that render beside the training; 0 renders and trains in turns.
    workers: int = 0
    # Weights to start from, where the output folder has no state.
    start: Path | None = None
    # Processor threads.
    threads: int = 1
    # Views of a step.
    batch: int = 16
    # Highest learning rate, of Muon; those of AdamW follow.
    rate: float = 5e-3
    # Uses of each render, on average, before the next is made.
    reuse: float = 6.0
    # Renders kept in memory.
    capacity: int = 32768
    # Seconds between two validations.
    validate: float = 300.0
    seed: int = 0
    # auto, cpu or cuda.
    device: str = "auto"


Processes = list[subprocess.Popen[bytes]]


def _batches(
    options: Options, data: Path, trainer: Trainer, renderers: Processes, rng: np.random.Generator
) -> Iterator[Batch]:
    """Endless training batches; new renders come as often as the options' reuse asks for.

    Without processes that render, they are made here, in turns with the training.

    Raises:
        ChildProcessError: such a process has failed.
    """
    subjects = training_pool(data)
    pool = RenderPool(options.output / "shards", options.capacity, trainer.device)
    while len(pool) < 4 * SHARD:
        while renderers and not pool.next_is_there:
            if any(process.poll() is not None for process in renderers):
                raise ChildProcessError("a process that renders has failed; run with --workers 0 to see its error")
            time.sleep(0.5)
        pool.grow(subjects)
    log.info("%d renders in memory", len(pool))
    batches = pool.batches(options.batch, rng)
    due = float(trainer.views)  # uses at which the next renders are wanted
    while True:
        due = min(due, trainer.views + options.reuse * SHARD)
        if trainer.views >= due and (pool.next_is_there or not renderers):
            pool.grow(subjects)
            due += options.reuse * SHARD
        yield next(batches)


@contextmanager
def _renderers(options: Options, data: Path) -> Iterator[Processes]:
    """Processes that render into the output folder until the training ends."""
    command = [sys.executable, "-m", "generators.prior.dataset", "--data", str(data), "--count", str(10**7)]
    command += ["--output", str(options.output / "shards")]
    started = [
        subprocess.Popen([*command, "--part", str(number), str(options.workers)], stderr=subprocess.DEVNULL)
        for number in range(options.workers)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


@contextmanager
def _data_folder(options: Options) -> Iterator[Path]:
    """The folder of the data; that of a packed file exists for the time of the context.

    Raises:
        ValueError: neither data nor a packed file are given.
    """
    if options.data is not None:
        yield options.data
        return
    if options.packed is None:
        raise ValueError("give --data FOLDER_OF_GLBS, or --packed FILE")
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(options.packed, folder, filter="data")
        yield Path(folder)


def train(options: Options) -> None:
    """Train as the options say; see the module's docstring.

    Raises:
        ValueError: neither data nor a packed file are given.
        FileNotFoundError: the data has no models, or none of a held-out family.
    """
    name = options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer.create(options.rate, torch.device(name), options.seed)
    with _data_folder(options) as data:
        options.output.mkdir(parents=True, exist_ok=True)
        restore(trainer, options.output, options.start)
        held_out = validation_pool(data)
        folder = options.output / "validation"
        shards = [read_shard(make_shard(folder, held_out, number)) for number in range(VALIDATION_SHARDS)]
        report = Report(options.output, shards, trainer.device)
        with _renderers(options, data) as renderers:
            generator = np.random.default_rng([options.seed, trainer.step])
            _train(options, trainer, _batches(options, data, trainer, renderers, generator), report)


def _train(options: Options, trainer: Trainer, batches: Iterator[Batch], report: Report) -> None:
    """Run the schedule to its end."""
    length = (options.hours * 60 if options.minutes is None else options.minutes) * 60
    if trainer.seconds >= length:
        log.info("the schedule is over: a new one begins")
        trainer.seconds = 0.0
    before = validated = time.monotonic()
    recent: list[float] = []
    with tqdm(total=round(length), initial=round(trainer.seconds), unit="s", mininterval=30) as bar:
        while trainer.seconds < length:
            factor = rate_factor(trainer.seconds / length)
            recent.append(trainer.train_step(next(batches), factor))
            now = time.monotonic()
            trainer.seconds += now - before
            bar.update(min(now - before, bar.total - bar.n))
            before = now
            if now - validated > options.validate or trainer.seconds >= length:
                report.write(trainer, float(np.mean(recent)), options.rate * factor)
                recent, validated = [], time.monotonic()
                trainer.seconds += validated - before
                before = validated


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads.use(options.threads)
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    try:
        train(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    end_with(main)
