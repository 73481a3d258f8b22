"""Shards: files of rendered samples, each used several times with other points and changes.

A shard is an array of records (NumPy's .npy), so that a sample is read from the disk without reading the rest.
``python -m motion324.shards --output FOLDER --count 4096 [--data FOLDER_OF_GLBS]`` renders ahead of a training run, or
beside it: a run takes in new shards as they appear.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from motion324.clips import ClipPool, training_pool, validation_pool
from motion324.owners_layout import OwnersFolder
from motion324.samples import Sample, SampleConfig, random_sample
from v2m4 import threads
from v2m4.command_line import end_with, parse_options

log = logging.getLogger(__name__)

SHARD = 64  # samples of a shard
VIEWS = 2  # of a clip
ARRAYS = ("frames", "points", "normals", "colors", "crops", "observed")
TRAINING_SEED, VALIDATION_SEED = 324, 325  # generated characters are others in training and in validation


def record_type(sample: Sample) -> np.dtype:
    """Type of a record that holds a sample of this shape."""
    arrays = {name: getattr(sample, name) for name in ARRAYS}
    kinds = [(name, array.dtype, array.shape) for name, array in arrays.items()]
    return np.dtype([*kinds, ("name", "U80"), ("kind", "U24")])


def to_records(samples: list[tuple[Sample, str, str]]) -> np.ndarray:
    """Records (N,) of samples with their names and kinds."""
    records = np.empty(len(samples), record_type(samples[0][0]))
    for record, (sample, name, kind) in zip(records, samples, strict=True):
        for part in ARRAYS:
            record[part] = getattr(sample, part)
        record["name"], record["kind"] = name, kind
    return records


def rendered(pool: ClipPool, config: SampleConfig, rng: np.random.Generator) -> Iterator[tuple[Sample, str, str]]:
    """Endless samples of random clips, a few views of each."""
    while True:
        clip = pool.draw(rng)
        for _ in range(VIEWS):
            sample = random_sample(clip, config, rng)
            if sample is not None:
                yield sample, clip.name, clip.kind


def shard_path(folder: Path, number: int) -> Path:
    """Path of a shard's file."""
    return folder / f"shard_{number:05d}.npy"


def write_shard(path: Path, samples: Iterator[tuple[Sample, str, str]], count: int = SHARD) -> None:
    """Write the next ``count`` samples; the file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.stem + ".tmp.npy")
    np.save(temporary, to_records([next(samples) for _ in range(count)]))
    temporary.replace(path)


def make_shards(
    folder: Path,
    pool: ClipPool | OwnersFolder,
    config: SampleConfig,
    numbers: range,
    count: int = SHARD,
    seed: int = TRAINING_SEED,
) -> None:
    """Render the shards of these numbers unless their files exist; each is a function of number, pool and seed."""
    for number in numbers:
        path = shard_path(folder, number)
        if path.exists():
            continue
        before, rng = time.perf_counter(), np.random.default_rng([number, seed])
        samples = pool.samples(config, rng) if isinstance(pool, OwnersFolder) else rendered(pool, config, rng)
        write_shard(path, samples, count)
        log.info("%s: %.2f samples a second", path.name, count / (time.perf_counter() - before))


class ShardPool:
    """The samples of all shards of a folder, read from the disk when they are used.

    Args:
        folder: of the shards.

    Raises:
        FileNotFoundError: the folder has no shard.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: list[np.ndarray] = []
        self.starts = np.zeros(1, dtype=np.int64)
        if not self.refresh():
            raise FileNotFoundError(f"{folder}: no shards; render some with python -m motion324.shards")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> np.void:
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.shards[shard][index - self.starts[shard]]

    def refresh(self) -> bool:
        """Take in new shards; whether there were any."""
        known = len(self.shards)
        while shard_path(self.folder, len(self.shards)).exists():
            self.shards.append(np.load(shard_path(self.folder, len(self.shards)), mmap_mode="r", allow_pickle=False))
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        return len(self.shards) > known


@dataclass
class Options:
    """Render training samples into a folder of shards."""

    # Folder of the shards.
    output: Path
    # Folder with animated .glb and .gltf files; without one, all characters are generated.
    data: Path | None = None
    # Folder in the layout of Motion 3-to-4's owners, instead; with its list of names.
    owners: Path | None = None
    list: Path | None = None
    # Samples to be there at the end.
    count: int = 4096
    # Frames of a sample.
    frames: int = 12
    # Share of generated characters beside files.
    generated: float = 0.4
    # Families or objects that are not trained on, instead.
    held_out: bool = False
    # Of several such processes, the number of this one, from 0, and how many there are.
    part: tuple[int, int] = (0, 1)
    sample: SampleConfig = field(default_factory=SampleConfig)


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    threads.use(1)
    try:
        pool: ClipPool | OwnersFolder
        if options.owners is not None:
            pool = OwnersFolder(options.owners, options.list, options.frames, options.held_out)
        elif options.held_out:
            pool = validation_pool(options.data, options.frames)
        else:
            pool = training_pool(options.data, options.generated, options.frames)
        numbers = range(options.part[0], -(-options.count // SHARD), options.part[1])
        seed = VALIDATION_SEED if options.held_out else TRAINING_SEED
        make_shards(options.output, pool, options.sample, numbers, seed=seed)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    end_with(main)
