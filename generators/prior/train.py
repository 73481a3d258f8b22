"""Train the network on renders of glTF characters and random creatures.

``python -m generators.prior.train --data FOLDER_OF_GLBS --hours 2 --output FOLDER`` renders and trains in turns on a
CPU; run again, it goes on from the state in the output folder, or, where only weights are left (``best.safetensors``
there, or ``--start FILE``), from those. On a machine with a GPU and many cores: ``--workers 14 --batch 256 --minutes
8``, and ``--packed characters.tar.xz`` where the data has to travel.

Written every few minutes: ``state.pt`` (everything that a run needs to go on), ``last.safetensors`` and
``best.safetensors`` (averaged weights in half precision), ``log.csv``, ``curve.png``.
"""

from __future__ import annotations

import csv
import logging
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from tqdm import tqdm

from generators.prior.dataset import (
    SHARD,
    Arrays,
    Batch,
    RenderPool,
    make_shard,
    read_shard,
    to_batch,
    to_tensors,
    training_pool,
    validation_pool,
)
from generators.prior.losses import errors, loss, view_scale
from generators.prior.muon import Muon
from generators.prior.network import OUTPUTS, Prior, interpret
from generators.prior.weights import read_weights, write_weights
from v2m4 import threads

log = logging.getLogger(__name__)

VALIDATION_SHARDS = 2
FIGURES = ("front", "back", "thickness", "gradient", "color")


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


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network: Prior) -> None:
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: Prior, step: int) -> None:
        """Take a step in; the average's memory grows to 1,000 steps."""
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                self.state[name].lerp_(value, 1 - decay)


def rate_factor(progress: float) -> float:
    """Factor on the learning rate at a share of the schedule: linear warm-up, then a half cosine to 2%."""
    warm = 0.02
    if progress < warm:
        return max(progress / warm, 0.01)
    part = min((progress - warm) / (1 - warm), 1.0)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part))


@dataclass
class Trainer:
    """Network, optimiser and their state.

    Attributes:
        network: trained.
        average: of its weights.
        optimizers: Muon for the matrices inside of the network, AdamW for the rest.
        device: of the network.
        step: steps made, of all schedules.
        views: views used.
        seconds: of the current schedule that are over.
        best: least validation error of the average.
    """

    network: Prior
    average: Average
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    step: int = 0
    views: int = 0
    seconds: float = 0.0
    best: float = math.inf

    @classmethod
    def create(cls, rate: float, device: torch.device, seed: int) -> Trainer:
        """A fresh network."""
        torch.manual_seed(seed)
        network = Prior().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner, head, others = [], [], []
        for name, parameter in network.named_parameters():
            if name.startswith("head"):
                head.append(parameter)
            elif parameter.ndim in (2, 4) and not name.startswith("stem"):
                inner.append(parameter)
            else:
                others.append(parameter)
        # The head is zero at the start and sees hundreds of inputs of variance 1: a step of 1e-4 moves its output by
        # up to 0.04.
        groups = [{"params": head, "lr": 0.02 * rate}, {"params": others, "lr": 0.2 * rate}]
        adam = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        optimizers: list[torch.optim.Optimizer] = [Muon(inner, rate, weight_decay=0.02), adam]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["full_lr"] = group["lr"]
        return cls(network, Average(network), optimizers, device)

    def train_step(self, batch: Batch, factor: float) -> float:
        """One step on a batch, with a factor on all learning rates; returns the loss."""
        with torch.autocast(self.device.type, torch.bfloat16):
            raw = self.network(batch.inputs)
        value = loss(interpret(raw, batch.base, batch.image), batch)
        self.network.zero_grad()
        value.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
        self.step += 1
        self.views += len(batch.valid)
        self.average.update(self.network, self.step)
        return float(value.detach())

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Start from weights alone."""
        self.network.load_state_dict(state)
        self.average = Average(self.network)

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on."""
        return {
            "network": self.network.state_dict(), "average": self.average.state,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step, "views": self.views, "seconds": self.seconds, "best": self.best,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.state = {name: value.to(self.device) for name, value in state["average"].items()}
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["full_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(its)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):  # those of this run's options
                group["full_lr"] = rate
        self.step, self.views = state["step"], state["views"]
        self.seconds, self.best = state["seconds"], state["best"]


@torch.no_grad()
def validate(network: Prior | None, shards: list[Arrays], device: torch.device) -> dict[str, float]:
    """Mean errors over stored views; without a network those of ``Inflate``'s maps.

    ``shape`` is the sum of the errors of front and back relative to the object's size; ``shape_<kind>`` the same for a
    kind of body.
    """
    found: dict[str, list[np.ndarray]] = {}
    kinds: list[str] = []
    for arrays in shards:
        tensors = to_tensors(arrays, device)
        for start in range(0, len(arrays["valid"]), 64):
            batch = to_batch({name: values[start : start + 64] for name, values in tensors.items()})
            if network is None:
                raw = torch.zeros(len(batch.valid), OUTPUTS, *batch.valid.shape[2:], device=device)
            else:
                with torch.autocast(device.type, torch.bfloat16):
                    raw = network(batch.inputs)
            prediction = interpret(raw, batch.base, batch.image)
            values = errors(prediction, batch)
            shape = (values.front + values.back) / view_scale(batch)
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


def restore(trainer: Trainer, folder: Path, start: Path | None) -> None:
    """Go on from the state in the folder, else from its weights, else from ``start``, else afresh."""
    state = folder / "state.pt"
    if state.exists():
        trainer.restore(torch.load(state, map_location=trainer.device, weights_only=True))
        log.info("going on from step %d, %d views", trainer.step, trainer.views)
        return
    weights = start if start is not None else folder / "best.safetensors"
    if start is not None or weights.exists():
        trainer.load_weights(read_weights(weights))
        log.info("starting from the weights of %s", weights)


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
    options = tyro.cli(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads.use(options.threads)
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    try:
        train(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
