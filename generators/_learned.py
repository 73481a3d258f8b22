"""What every learned generator needs: its packages and weights, seeds, a picture of the object.

Weights are looked for in ``<weights_dir>/<repository>`` and in the Hugging Face cache. Nothing is fetched unless the
user said ``--download``: without it the hub's client is put offline, so that no owner's loader can fetch either.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from generators.base import GenerationError, GeneratorUnavailable, installed
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.workspace import digest

log = logging.getLogger(__name__)

TRIES = 3  # with other noise, where a network's volume holds no surface
FAINT = 13  # alpha up to here is haze, not object


@dataclass(frozen=True)
class Package:
    """Something the user installs.

    Attributes:
        module: name of the top-level module.
        install: the command that installs it.
    """

    module: str
    install: str


@dataclass(frozen=True)
class Weights:
    """Files of one repository of the Hugging Face hub.

    Attributes:
        repository: ``owner/name``.
        files: files and folders in it without which nothing can be loaded.
        patterns: what ``--download`` fetches.
        places: further folders that may hold a copy of the repository.
    """

    repository: str
    files: tuple[str, ...]
    patterns: tuple[str, ...] = ("*",)
    places: tuple[Path, ...] = ()


def require_packages(packages: Iterable[Package]) -> None:
    """Look whether packages are installed, without importing them.

    Raises:
        GeneratorUnavailable: with the command that installs the first that is not.
    """
    for package in packages:
        if not installed(package.module):
            raise GeneratorUnavailable(f"{package.module} is not installed; {package.install}")


def device_of(config: Config) -> torch.device:
    """The device that ``config.device`` stands for."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def find_weights(weights: Weights, config: Config) -> Path | None:
    """The folder that holds a whole copy of the repository's files, or None."""
    places = [*weights.places]
    if config.weights_dir is not None:
        places[:0] = [config.weights_dir / weights.repository, config.weights_dir / weights.repository.split("/")[-1]]
    places += _cached(weights, config)
    return next((place.resolve() for place in places if not _missing(weights, place)), None)


def require_weights(weights: Weights, config: Config) -> None:
    """Look for weights on the disk, where they may not be fetched.

    Raises:
        GeneratorUnavailable: in one line, with repository, files and folder.
    """
    if config.weights_dir is not None and not config.weights_dir.is_dir():
        raise GeneratorUnavailable(f"--weights_dir {config.weights_dir}: no such folder")
    if config.download or find_weights(weights, config) is not None:
        return
    folder = config.weights_dir or Path("FOLDER")
    place = folder / weights.repository
    names = ", ".join(_missing(weights, place))
    how = "" if config.weights_dir is not None else f" and add --weights_dir {folder}"
    raise GeneratorUnavailable(
        f"weights of {weights.repository} are missing: put {names} into {place}{how}, or add --download to fetch them"
    )


def get_weights(weights: Weights, config: Config) -> Path:
    """The folder of the repository's files; they are fetched where they are missing and the user allows it.

    Raises:
        GeneratorUnavailable: they are not there and may not, or could not, be fetched.
    """
    require_weights(weights, config)
    found = find_weights(weights, config)
    if not config.download:
        _stay_offline()
    if found is not None:
        return found
    from huggingface_hub import snapshot_download

    target = None if config.weights_dir is None else config.weights_dir / weights.repository
    try:
        folder = snapshot_download(weights.repository, allow_patterns=list(weights.patterns), local_dir=target)
    except Exception as error:  # the hub's client raises a dozen kinds; each means that there are no weights
        raise GeneratorUnavailable(
            f"weights of {weights.repository} could not be fetched: {type(error).__name__}"
        ) from error
    return Path(folder).resolve()


def fingerprint(weights: Weights, folder: Path) -> str:
    """What tells one copy of weights from another without reading them: names and sizes of all files of a folder."""
    wanted = [folder / name for name in weights.files]
    files = sorted(path for place in wanted for path in (place.rglob("*") if place.is_dir() else [place]))
    return digest(weights.repository, [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files])


def _missing(weights: Weights, place: Path) -> list[str]:
    return [name for name in weights.files if not (place / name).exists()]


def _cached(weights: Weights, config: Config) -> list[Path]:
    """Folders of the repository in the Hugging Face cache, the user's own folder read as a cache first."""
    if not installed("huggingface_hub"):
        return []
    from huggingface_hub import try_to_load_from_cache

    places = []
    for cache in (config.weights_dir, None):
        for name in weights.files:
            found = try_to_load_from_cache(weights.repository, name, cache_dir=cache)
            if isinstance(found, str):
                places.append(Path(found).parents[len(Path(name).parts) - 1])
                break
    return places


def _stay_offline() -> None:
    """Let the hub's client fetch nothing in this process, whatever an owner's loader asks it for."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # read the variable when it was imported
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def seed_for(seed: int, frame: Frame, attempt: int) -> int:
    """The seed of a frame's noise.

    The first attempt takes the same noise for every frame, as V2M4 does, so that frames that look alike give meshes
    that are alike; further attempts draw anew for each frame.
    """
    if attempt == 0:
        return seed
    return int(np.random.SeedSequence([seed, frame.index, attempt]).generate_state(1)[0])


def first_surface(generator: str, frame: Frame, seed: int, make: Callable[[int], Any]) -> Any:
    """The first result of ``make(seed)`` that is not None, over a few seeds.

    Raises:
        GenerationError: the network finds no surface.
    """
    for attempt in range(TRIES):
        found = make(seed_for(seed, frame, attempt))
        if found is not None:
            return found
    raise GenerationError(f"frame {frame.name}: {generator} found no surface in {TRIES} tries; try another --seed")


def object_picture(frame: Frame, margin: float = 0.2, longest: int = 1024) -> np.ndarray:
    """The object alone in the middle of a square picture, as generators expect it.

    Args:
        frame: any size.
        margin: empty space, as a share of the object's longer side.
        longest: side of the result at most, pixels.

    Returns:
        (S, S, 4) uint8, straight alpha.

    Raises:
        GenerationError: the frame has no foreground.
    """
    alpha = np.where(frame.rgba[..., 3] > FAINT, frame.rgba[..., 3], 0)
    rows, columns = np.nonzero(alpha.any(1))[0], np.nonzero(alpha.any(0))[0]
    if len(rows) < 2 or len(columns) < 2:
        raise GenerationError(f"frame {frame.name}: no foreground to make a mesh of")
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    side = max(2, round(max(height, width) * (1 + margin)))
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square[top : top + height, left : left + width] = np.dstack([frame.rgba[part][..., :3], alpha[part]])
    if side <= longest:
        return square
    share = square[..., 3:].astype(np.float32) / 255
    small = cv2.resize(
        np.dstack([square[..., :3] * share, share * 255]), (longest, longest), interpolation=cv2.INTER_AREA
    )
    small[..., :3] /= np.maximum(small[..., 3:] / 255, 1e-6)
    return small.round().clip(0, 255).astype(np.uint8)


def on_grey(picture: np.ndarray, grey: float) -> np.ndarray:
    """An (H, W, 4) picture on a plain background, (H, W, 3) uint8; ``grey`` in [0, 1]."""
    share = picture[..., 3:].astype(np.float32) / 255
    return (picture[..., :3] * share + 255 * grey * (1 - share)).round().astype(np.uint8)


def mean_color(frame: Frame) -> torch.Tensor:
    """The object's mean colour (3,) in [0, 1]."""
    weight = frame.rgba[..., 3:].astype(np.float64)
    mean = (frame.rgba[..., :3] * weight).sum((0, 1)) / max(float(weight.sum()), 1.0) / 255
    return torch.from_numpy(mean.astype(np.float32))


@contextmanager
def owners_code(seed: int) -> Iterator[None]:
    """Around the code of an owner that seeds and prints as it likes.

    PyTorch's global generators are seeded, and put back afterwards; what is printed goes to the log.
    """
    printed = io.StringIO()
    try:
        with torch.random.fork_rng(), redirect_stdout(printed):
            torch.manual_seed(seed)
            yield
    finally:
        if printed.getvalue():
            log.debug("%s", printed.getvalue().rstrip())
