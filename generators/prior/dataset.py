"""Stored renders (shards), and batches of them with fresh augmentation.

``python -m generators.prior.dataset --data FOLDER --output FOLDER --count 10000`` renders ahead of a training run, or
beside it: a run reads the shards that it finds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generators.prior.clouds import cloud_view
from generators.prior.maps import SIZE
from generators.prior.subjects import SubjectPool
from generators.prior.views import View, random_view
from v2m4 import threads
from v2m4.character_files import find_sources, held_out
from v2m4.command_line import end_with, parse_options

log = logging.getLogger(__name__)

SHARD = 256  # views of a shard
VIEWS = 4  # of each subject drawn
CLOUDS = 0.03  # share of pictures without a body among the training views
CREATURES = 0.25  # share of creatures among the renders for training
# Relative frequency of their use. With 0.2 people and quadrupeds are learnt faster, but kinds of body that are rare
# among the characters (snakes) become worse than the result of ``Inflate``.
USE_CREATURES, USE_STATIC = 0.5, 0.3
VALIDATION_SEED = 1_000_000


@dataclass(frozen=True)
class Batch:
    """Views as tensors, channels first.

    Attributes:
        inputs: (B, C, S, S) float32; see ``network.Prior``.
        base: (B, 2, S, S) centre and thickness of ``Inflate``.
        depth: (B, 4, S, S) true depths; see ``views.View``.
        valid: (B, 1, S, S) 1 where they are known.
        image: (B, 3, S, S) colours as the network sees them.
        back: (B, 3, S, S) true colours of the far side.
        alpha: (B, 1, S, S) mask as the network sees it.
    """

    inputs: Tensor
    base: Tensor
    depth: Tensor
    valid: Tensor
    image: Tensor
    back: Tensor
    alpha: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch(*(getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)))


Arrays = dict[str, np.ndarray]


def render_shard(pool: SubjectPool, seed: int, count: int = SHARD, clouds: float = 0.0) -> Arrays:
    """Stacked arrays of ``count`` random views, and their subjects' names and kinds; a function of the arguments.

    Args:
        pool: subjects.
        seed: of all random choices.
        count: number of views.
        clouds: share of views that show no body.
    """
    rng = np.random.default_rng(seed)
    views: list[View] = []
    names: list[str] = []
    kinds: list[str] = []
    while len(views) < count:
        if clouds > 0 and rng.uniform() < clouds:
            views.append(cloud_view(rng))
            names.append("cloud")
            kinds.append("cloud")
            continue
        subject = pool.draw(rng)
        for _ in range(min(VIEWS, count - len(views))):
            view = random_view(subject, rng)
            if view is not None:
                views.append(view)
                names.append(subject.name)
                kinds.append(subject.kind)
    arrays = {item.name: np.stack([getattr(view, item.name) for view in views]) for item in fields(View)}
    return arrays | {"name": np.array(names), "kind": np.array(kinds)}


def shard_path(folder: Path, number: int) -> Path:
    """Path of a shard's file."""
    return folder / f"shard_{number:05d}.npz"


def make_shard(folder: Path, pool: SubjectPool, number: int, clouds: float = 0.0) -> Path:
    """Render a shard unless its file exists; the file appears whole. See ``render_shard``."""
    path = shard_path(folder, number)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **render_shard(pool, number, clouds=clouds))  # type: ignore[arg-type]
        temporary.replace(path)
    return path


def read_shard(path: Path) -> Arrays:
    """Arrays of a shard's file."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def frequencies_of_use(kinds: np.ndarray) -> np.ndarray:
    """Relative frequencies (N,) at which views of these kinds of body are trained on."""
    creature = np.array([kind.startswith("creature") for kind in kinds])
    return np.where(creature, USE_CREATURES, np.where(kinds == "static", USE_STATIC, 1.0))


def training_pool(data: Path) -> SubjectPool:
    """Subjects to train on: all families but the held-out ones, and creatures."""
    return SubjectPool([source for source in find_sources(data) if not held_out(source.name)], CREATURES)


def validation_pool(data: Path) -> SubjectPool:
    """Subjects of the held-out families.

    Raises:
        FileNotFoundError: the data has none.
    """
    sources = [source for source in find_sources(data) if held_out(source.name)]
    if not sources:
        raise FileNotFoundError(f"{data}: none of the held-out families (see v2m4/character_files.py) is there")
    return SubjectPool(sources, 0.0)


def coordinates(window: Tensor, size: int = SIZE) -> Tensor:
    """Channels (B, 5, S, S): position in the crop, ray through it, and the inverse focal length.

    Args:
        window: (B, 3) focal, offset x, offset y; in half the window's side.
        size: S.
    """
    line = (torch.arange(size, device=window.device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    position = torch.stack([x, y]).expand(len(window), 2, size, size)
    inverse = (1 / window[:, 0])[:, None, None, None]
    ray = (position + window[:, 1:, None, None]) * inverse
    return torch.cat([position, ray, inverse.expand(-1, 1, size, size)], 1)


def assemble_inputs(image: Tensor, alpha: Tensor, base: Tensor, window: Tensor) -> Tensor:
    """Input channels (B, 13, S, S) of the network.

    Args:
        image: (B, 3, S, S) colours in [0, 1].
        alpha: (B, 1, S, S) in [0, 1].
        base: (B, 3, S, S) centre, thickness and distance of ``Inflate``.
        window: (B, 3).
    """
    centre, thickness, distance = base.split(1, 1)
    return torch.cat(
        [(image - 0.5) * alpha * 2, alpha, distance.clamp_min(0).sqrt(), thickness, centre, alpha * 0 + 1,
         coordinates(window, image.shape[-1])], 1,
    )  # fmt: skip


def to_tensors(arrays: Arrays, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The views' arrays of a shard as tensors on a device."""
    return {item.name: torch.from_numpy(arrays[item.name]).to(device) for item in fields(View)}


def to_batch(tensors: dict[str, Tensor], rng: np.random.Generator | None = None) -> Batch:
    """Batch of stored views, augmented if ``rng`` is given: mirrored, colours changed, noise.

    Args:
        tensors: fields of ``View``, each with a leading B.
        rng: of the augmentation.
    """

    def first(name: str) -> Tensor:
        return tensors[name].permute(0, 3, 1, 2).float()

    picture = first("image") / 255
    image, alpha = picture[:, :3], picture[:, 3:]
    back = first("back") / 255
    depth, base = first("depth"), first("base")
    valid = tensors["valid"][:, None].float()
    window = tensors["window"]
    if rng is not None:
        mirrored = torch.from_numpy(rng.uniform(size=len(image)) < 0.5).to(image.device)

        def mirror(values: Tensor) -> Tensor:
            return torch.where(mirrored[:, None, None, None], values.flip(-1), values)

        image, alpha, back, depth, base, valid = (mirror(v) for v in (image, alpha, back, depth, base, valid))
        window = torch.where(mirrored[:, None], window * window.new_tensor([1, -1, 1]), window)
        image, back = _recolored(image, back, rng)
        image = image.clamp(0, 1)
    return Batch(assemble_inputs(image, alpha, base, window), base[:, :2], depth, valid, image * alpha, back, alpha)


def _recolored(image: Tensor, back: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Front and back colours (B, 3, S, S) under the same random change of colour; noise on the front."""
    count = len(image)
    matrix = np.tile(np.eye(3), (count, 1, 1))
    for number in range(count):
        if rng.uniform() < 0.4:  # other hues
            matrix[number] = matrix[number][rng.permutation(3)]
        if rng.uniform() < 0.15:  # grey
            matrix[number] = np.full((3, 3), 1 / 3)
        matrix[number] *= np.exp(rng.normal(0, 0.15, (3, 1))) * np.exp(rng.normal(0, 0.2))
    bias = image.new_tensor(rng.normal(0, 0.05, (count, 3, 1, 1)))
    gamma = image.new_tensor(np.exp(rng.normal(0, 0.25, (count, 1, 1, 1))))
    change = image.new_tensor(matrix)

    def changed(values: Tensor) -> Tensor:
        return (torch.einsum("bij,bjhw->bihw", change, values) + bias).clamp(1e-4, 1).pow(gamma)

    noise = image.new_tensor(rng.uniform(0, 0.06, (count, 1, 1, 1)) * (rng.uniform(size=(count, 1, 1, 1)) < 0.3))
    generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**31)))
    grain = torch.randn(image.shape, generator=generator, device=image.device)
    return changed(image) + grain * noise, changed(back)


class RenderPool:
    """The latest stored views in memory.

    Args:
        folder: of the shards.
        capacity: views kept, at most.
        device: of the tensors.
    """

    def __init__(self, folder: Path, capacity: int, device: torch.device | str = "cpu") -> None:
        self.folder, self.capacity, self.device = folder, capacity, device
        self.shards: list[dict[str, Tensor]] = []
        self.frequencies: list[np.ndarray] = []
        self._cumulative = np.zeros(0)
        self.number = 0  # of the next shard
        while shard_path(folder, self.number).exists():
            self.number += 1
        for number in range(max(0, self.number - capacity // SHARD), self.number):
            self._add(read_shard(shard_path(folder, number)))

    def __len__(self) -> int:
        return SHARD * len(self.shards)

    @property
    def next_is_there(self) -> bool:
        """Whether the next shard has been rendered."""
        return shard_path(self.folder, self.number).exists()

    def grow(self, pool: SubjectPool) -> None:
        """Add the next shard, rendered unless its file exists; the oldest leaves memory if there are too many."""
        self._add(read_shard(make_shard(self.folder, pool, self.number, CLOUDS)))
        self.number += 1
        if len(self) > self.capacity:
            del self.shards[0], self.frequencies[0]

    def _add(self, arrays: Arrays) -> None:
        self.shards.append(to_tensors(arrays, self.device))
        self.frequencies.append(frequencies_of_use(arrays["kind"]))
        self._cumulative = np.zeros(0)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless random batches."""
        while True:
            if len(self._cumulative) != len(self):
                self._cumulative = np.concatenate(self.frequencies).cumsum()
            drawn = rng.uniform(0, self._cumulative[-1], size)
            places = np.searchsorted(self._cumulative, drawn, side="right").clip(max=len(self) - 1)
            views = [(self.shards[place // SHARD], int(place % SHARD)) for place in places]
            yield to_batch(
                {name: torch.stack([shard[name][view] for shard, view in views]) for name in views[0][0]}, rng
            )


@dataclass
class Options:
    """Render views ahead of a training run."""

    # Folder with .glb and .gltf files.
    data: Path
    # Folder of the shards.
    output: Path
    # Views to be there at the end.
    count: int = 8192
    # Of several such processes, the number of this one, from 0, and how many there are.
    part: tuple[int, int] = (0, 1)
    # Processor threads.
    threads: int = 1


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threads.use(options.threads)
    logging.getLogger("v2m4.io").setLevel(logging.ERROR)  # notes on single files
    pool = training_pool(options.data)
    for number in range(options.part[0], -(-options.count // SHARD), options.part[1]):
        path = make_shard(options.output, pool, number, CLOUDS)
        log.info("%s", path.name)


if __name__ == "__main__":
    end_with(main)
