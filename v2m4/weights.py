"""Packages and weights of learned parts: where they are searched for, and the errors when they are missing.

Weights are searched for in ``<weights_dir>/<repository>`` and in the Hugging Face cache. Nothing is downloaded without
``--download``. Third-party code runs with the hub's client offline (``hub_offline``), so that no loader downloads on
its own; its files are on disk by then.

Nothing here imports PyTorch, which takes seconds to load.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from v2m4.config import Config
from v2m4.device import on_gpu


class Unavailable(Exception):
    """A learned part cannot run here; the message says in one line what to install, or which file to put where."""


@dataclass(frozen=True)
class Package:
    """A Python package that the user installs.

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
        repository: ``owner/name``, or an absolute path to a copy of it.
        files: files and folders in it that are required.
        patterns: glob patterns of the files that ``--download`` fetches.
        places: further folders that may hold a copy of the repository.
    """

    repository: str
    files: tuple[str, ...]
    patterns: tuple[str, ...] = ("*",)
    places: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Needs:
    """Requirements of a learned part, checked before any work.

    Attributes:
        packages: in the order in which they are checked.
        gpu: error message where there is no GPU; empty if none is required.
        weights: required weights.
        further: checks any other requirement; raises Unavailable.
    """

    packages: tuple[Package, ...] = ()
    gpu: str = ""
    weights: tuple[Weights, ...] = ()
    further: Callable[[Config], None] | None = None

    def check(self, config: Config) -> None:
        """Check all requirements, without loading anything.

        Raises:
            Unavailable: in one line, what to install, or which files to put where.
        """
        require_packages(self.packages)
        if self.gpu and not on_gpu(config):
            raise Unavailable(self.gpu)
        for part in self.weights:
            require_weights(part, config)
        if self.further is not None:
            self.further(config)

    def problems(self, config: Config) -> list[str]:
        """Everything that is missing here, one line each; empty where the part is ready."""
        packages = missing_packages(self.packages)
        found = packages + ([self.gpu] if self.gpu and not on_gpu(config) else [])
        checks = [partial(require_weights, part, config) for part in self.weights]
        if self.further is not None and not packages:  # it may import the packages
            checks.append(partial(self.further, config))
        return found + refusals(checks)

    def folders(self, config: Config) -> dict[Weights, Path]:
        """Folders of the weights; missing ones are downloaded with ``--download``.

        Raises:
            Unavailable: they are not there and may not, or could not, be fetched.
        """
        return {part: get_weights(part, config) for part in self.weights}

    def version(self, config: Config) -> str:
        """Fingerprint of the copies of the weights on disk."""
        found = self.folders(config)
        return "".join(fingerprint(part.repository, folder, part.files) for part, folder in found.items())


_OFFLINE, _CLIENT = "HF_HUB_OFFLINE", "huggingface_hub.constants"  # the variable, and the module that copies it
HUB = Package("huggingface_hub", "--download needs it: pip install huggingface_hub")


def installed(module: str) -> bool:
    """Whether a top-level module can be imported here, without importing it."""
    return importlib.util.find_spec(module) is not None


def require_packages(packages: Iterable[Package]) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        Unavailable: with the command that installs the first that is not.
    """
    for package in packages:
        if not installed(package.module):
            raise Unavailable(f"{package.module} is not installed; {package.install}")


def missing_packages(packages: Iterable[Package]) -> list[str]:
    """The packages that are not installed, one line for each command that installs them."""
    by_command: dict[str, list[str]] = {}
    for package in packages:
        if not installed(package.module):
            by_command.setdefault(package.install, []).append(package.module)
    return [f"{', '.join(modules)} not installed; {command}" for command, modules in by_command.items()]


def refusals(checks: Iterable[Callable[[], object]]) -> list[str]:
    """Messages of the checks that raise Unavailable."""
    said = []
    for check in checks:
        try:
            check()
        except Unavailable as error:
            said.append(str(error))
    return said


def find_weights(weights: Weights, config: Config) -> Path | None:
    """Folder with a complete copy of the required files, or None."""
    places = [*weights.places]
    if config.weights_dir is not None:
        places[:0] = [config.weights_dir / weights.repository, config.weights_dir / weights.repository.split("/")[-1]]
    if Path(weights.repository).is_absolute():
        places.append(Path(weights.repository))
    else:
        places += _cached(weights, config)
    return next((place.resolve() for place in places if not _missing(weights, place)), None)


def require_weights(weights: Weights, config: Config) -> None:
    """Check that weights are on disk, or may be downloaded.

    Raises:
        Unavailable: in one line, with repository, files and folder; or what fetches them is not installed.
    """
    require_folder(config)
    if find_weights(weights, config) is not None:
        return
    if config.download:
        require_packages([HUB])
        return
    folder = config.weights_dir or Path("FOLDER")
    place = folder / weights.repository
    names = ", ".join(_missing(weights, place))
    how = "" if config.weights_dir is not None else f" and add --weights_dir {folder}"
    raise Unavailable(
        f"weights of {weights.repository} are missing: put {names} into {place}{how}, or add --download to fetch them"
    )


def torch_hub() -> Path:
    """The folder that torch.hub keeps code and weights in."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return (Path(os.environ.get("TORCH_HOME", Path(cache) / "torch")) / "hub").expanduser()


def require_folder(config: Config) -> None:
    """Check that the folder of ``--weights_dir`` exists.

    Raises:
        Unavailable: names the folder.
    """
    if config.weights_dir is not None and not config.weights_dir.is_dir():
        raise Unavailable(f"--weights_dir {config.weights_dir}: no such folder")


def get_weights(weights: Weights, config: Config) -> Path:
    """Folder of the repository's files; missing ones are downloaded with ``--download``.

    Raises:
        Unavailable: they are not there and may not, or could not, be fetched.
    """
    require_weights(weights, config)
    found = find_weights(weights, config)
    if found is not None:
        return found
    from huggingface_hub import snapshot_download

    target = None if config.weights_dir is None else config.weights_dir / weights.repository
    try:
        folder = snapshot_download(weights.repository, allow_patterns=list(weights.patterns), local_dir=target)
    except Exception as error:  # the hub's client raises a dozen kinds; each means that there are no weights
        raise Unavailable(f"weights of {weights.repository} could not be fetched: {type(error).__name__}") from error
    return Path(folder).resolve()


def fingerprint(name: str, folder: Path, files: Iterable[str]) -> str:
    """Hash of the names and sizes of weight files, to distinguish copies without reading them.

    Args:
        name: of the weights.
        folder: folder of the files.
        files: files and folders in it; absent ones are ignored.
    """
    from v2m4.workspace import digest

    places = [folder / file for file in files]
    found = sorted({path for place in places for path in (place.rglob("*") if place.is_dir() else [place])})
    sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found if path.is_file()]
    return digest(name, sizes)


def _missing(weights: Weights, place: Path) -> list[str]:
    return [name for name in weights.files if not (place / name).exists()]


def _cached(weights: Weights, config: Config) -> list[Path]:
    """Folders of the repository in the Hugging Face cache; ``--weights_dir`` is tried as a cache first."""
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


@contextmanager
def hub_offline() -> Iterator[None]:
    """Context in which the hub's client is offline, so that third-party loaders cannot download.

    The environment variable and the client's copy of it are restored afterwards.
    """
    before, client = os.environ.get(_OFFLINE), sys.modules.get(_CLIENT)
    copied = client is not None and client.HF_HUB_OFFLINE
    os.environ[_OFFLINE] = "1"
    if client is not None:
        client.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OFFLINE]
        else:
            os.environ[_OFFLINE] = before
        if client is None:  # if imported meanwhile, it has read the variable set above
            client, copied = sys.modules.get(_CLIENT), (before or "").upper() in {"1", "ON", "YES", "TRUE"}
        if client is not None:
            client.HF_HUB_OFFLINE = copied  # type: ignore[attr-defined]
