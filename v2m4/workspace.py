"""Output folder of one animation: file names, atomic writes, and a cache of artefacts by key.

An artefact is a file whose contents are determined by a key: a hash of its inputs, options and code. The manifest
stores the key of every artefact; where the requested key differs, the artefact is stale and is written anew. Results
are always read back from disk, so that a resumed run gives the same results as an uninterrupted one.

The manifest also stores each file's size, modification time and hash. A file of the recorded size and time counts as
unchanged; where only the time differs, as in a copied folder, the hash decides. Therefore only the manifest has to be
synchronised with the disk, at the end of each stage: artefacts that a loss of power has cut are found by their size or
hash. A copy of that manifest takes its place where it is damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.files import DAMAGED, Arrays, atomic, file_hash, read_arrays, write_arrays
from v2m4.manifest import MANIFEST, read_manifest, write_manifest
from v2m4.memory import return_free_memory
from v2m4.partial_results import SUFFIX, PartialResults

__all__ = [
    "MANIFEST",
    "REPORT",
    "STAGE_FOLDERS",
    "Arrays",
    "MissingResultError",
    "Redo",
    "Workspace",
    "atomic",
    "code_version",
    "digest",
    "folder_version",
    "peak_memory_mib",
]

log = logging.getLogger(__name__)

REPORT = "report.html"
STAGE_FOLDERS = {
    "generation": "1_generation",
    "camera_search": "2_camera_search",
    "registration": "3_registration",
    "texture": "4_texture",
}


class MissingResultError(RuntimeError):
    """A result of an earlier stage is not on disk, and the options do not allow to compute it."""


@dataclass(frozen=True)
class Redo:
    """A request to compute results of earlier runs again.

    Attributes:
        option: of the command line that asks for it.
        stages: names of the stages whose results are computed again; None for all, the frames included.
    """

    option: str
    stages: frozenset[str] | None = None


def digest(*parts: Any) -> str:
    """A hash of plain values, arrays and other digests; equal content gives equal digests on every machine."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype}{part.shape}".encode())
            state.update(np.ascontiguousarray(part).data)
        elif isinstance(part, bytes):
            state.update(part)
        else:
            state.update(json.dumps(part, sort_keys=True, default=str).encode())
        state.update(b"\0")
    return state.hexdigest()[:32]


def code_version(*packages: str) -> str:
    """Hash of the sources of top-level packages, so that results of older code are stale.

    Args:
        packages: folder names beside ``v2m4``, which is always included.
    """
    return folder_version("v2m4", *packages)


def folder_version(*folders: str) -> str:
    """Hash of the sources in folders of this repository, such as ``v2m4/io``."""
    root = Path(__file__).resolve().parent.parent
    state = hashlib.sha256()
    for folder in sorted(set(folders)):
        for file in sorted((root / folder).rglob("*.py")):
            state.update(file.relative_to(root).as_posix().encode())
            state.update(file.read_bytes())
    return state.hexdigest()[:16]


class Workspace:
    """The folder ``<output>/<animation>`` and its manifest.

    Attributes:
        root: the folder.
        manifest: contents of ``manifest.json``.
        required: names of stages whose arrays must be on disk: they are not computed (``MissingResultError``).
        on_stale: called with the stage's name where an artefact of an earlier run with another key is made anew.
    """

    def __init__(self, root: Path, redo: Redo | None = None) -> None:
        """Open or create the folder.

        Args:
            root: the animation's own folder.
            redo: ignore results of earlier runs, but not those of a run that was begun with the same request and
                interrupted; such a request is over with ``finish``.

        Raises:
            OSError: the folder cannot be created or written.
            ValueError: its manifest is damaged, and there is no copy of it.
        """
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.manifest: dict[str, Any] = {"artefacts": {}, "stages": {}}
        self.required: frozenset[str] = frozenset()
        self.on_stale: Callable[[str], None] = lambda stage: None
        self._stage = ""
        self._lock = threading.Lock()  # held while an artefact is noted: frames are written by several threads
        for leftover in self.root.rglob(".*.part*"):
            leftover.unlink(missing_ok=True)
        try:
            self.manifest |= read_manifest(self.root)
        except ValueError:
            if redo is None or redo.stages is not None:
                raise
        if redo is not None:
            self._begin(redo)

    def _begin(self, redo: Redo) -> None:
        """Forget the artefacts that are to be made again, unless an interrupted run did."""
        if self.manifest.get("redo") == redo.option:
            log.info("%s: resumes the run with %s that was interrupted", self.root, redo.option)
            return
        artefacts = self.manifest["artefacts"]
        if redo.stages is None:
            self.manifest = {"artefacts": {}, "stages": {}}
        else:
            kept = {name: entry for name, entry in artefacts.items() if entry.get("stage") not in redo.stages}
            self.manifest["artefacts"] = kept
        if redo.stages is None:
            for partial_folder in self.root.glob(f"*{SUFFIX}"):  # of the frames
                shutil.rmtree(partial_folder)
        for stage, folder in STAGE_FOLDERS.items():
            if redo.stages is None or stage in redo.stages:
                for partial_folder in (self.root / folder).glob(f"*{SUFFIX}"):
                    shutil.rmtree(partial_folder)
        self.manifest["redo"] = redo.option
        self.save_manifest()

    def finish(self) -> None:
        """Record that the run is complete: a further one with the same ``Redo`` computes again."""
        if self.manifest.pop("redo", None) is not None:
            self.save_manifest(durable=True)

    def path(self, name: str) -> Path:
        """Path of a file of this animation."""
        return self.root / name

    def fresh(self, name: str, key: str) -> bool:
        """Whether the artefact is complete and unchanged on disk and was written for ``key``."""
        entry = self.manifest["artefacts"].get(name)
        if entry is None or entry["key"] != key:
            return False
        try:
            status = (self.root / name).stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.get("bytes"):
                return False
            return status.st_mtime_ns == entry.get("mtime_ns") or file_hash(self.root / name) == entry.get("sha256")
        except (FileNotFoundError, NotADirectoryError):
            return False

    def record(self, name: str, key: str) -> None:
        """Record in the manifest that the artefact has been written for ``key``."""
        with self._lock:
            self._note(name, key)
            self.save_manifest()

    def _note(self, name: str, key: str) -> None:
        file = self.root / name
        status = file.stat()
        self.manifest["artefacts"][name] = {
            "key": key,
            "bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": file_hash(file),
            "stage": self._stage,
        }

    def _is_stale(self, name: str, key: str) -> bool:
        """Whether the artefact has to be written; logs the reason where it is not simply missing."""
        if self.fresh(name, key):
            return False
        entry = self.manifest["artefacts"].get(name)
        if entry is not None and entry["key"] != key:
            self.on_stale(self._stage)
        elif entry is not None and (self.root / name).exists():
            log.warning("%s: changed or damaged since it was written; made again", self.root / name)
        return True

    def make_file(self, name: str, key: str, write: Callable[[Path], None]) -> Path:
        """Path of the file ``name``; written atomically by ``write(temporary path)`` if it is missing or stale."""
        file = self.root / name
        if self._is_stale(name, key):
            with atomic(file) as temporary:
                write(temporary)
            self.record(name, key)
        return file

    def make_files(self, names: Sequence[str], key: str, write: Callable[[int, Path], None], threads: int) -> None:
        """Write the missing or stale ones of several files of one key, on several threads.

        Args:
            names: of the files.
            key: digest of everything that determines them.
            write: writes the file of a position in ``names`` to a temporary path.
            threads: number of threads.
        """

        def make(index: int) -> None:
            with atomic(self.root / names[index]) as temporary:
                write(index, temporary)

        stale = [index for index, name in enumerate(names) if self._is_stale(name, key)]
        if not stale:
            return
        for index in stale:  # an interrupted run must not leave old keys for new files
            self.manifest["artefacts"].pop(names[index], None)
        self.save_manifest()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(make, stale))
        for index in stale:
            self._note(names[index], key)
        self.save_manifest()

    def make_arrays(self, name: str, key: str, make: Callable[[], Arrays]) -> Arrays:
        """Named arrays cached as ``.npz``: computed by ``make()`` if missing or stale, always read back from disk.

        Args:
            name: relative to the animation's folder, ends in ``.npz``.
            key: digest of everything that determines the arrays.
            make: computes them; it may keep parts of them in ``partial_results``, which are removed afterwards.

        Raises:
            MissingResultError: they are missing or stale in a stage that is ``required``.
        """

        def write(path: Path) -> None:
            if self._stage in self.required:
                raise MissingResultError(
                    f"{self.root / name}: missing, or made from other inputs, options or code, and --stage runs one"
                    " stage only; run the stages before it with --until_stage first"
                )
            write_arrays(path, make())

        file = self.make_file(name, key, write)
        try:
            arrays = read_arrays(file)
        except DAMAGED as error:
            log.warning("%s: damaged (%s); made again", file, error)
            del self.manifest["artefacts"][name]
            arrays = read_arrays(self.make_file(name, key, write))
        self.partial_results(name, key).remove()
        return arrays

    def partial_results(self, name: str, key: str) -> PartialResults:
        """Storage of the parts of an artefact that takes long, while ``make_arrays`` makes it."""
        file = self.root / name
        return PartialResults(file.with_name(f"{file.stem}{SUFFIX}"), key)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and record its state in the manifest: running, done, or failed with the reason."""
        start = time.perf_counter()
        entry: dict[str, Any] = {"state": "running"}
        self.manifest["stages"][name] = entry
        self._stage = name
        self.save_manifest()
        try:
            yield
            entry["state"] = "done"
        except BaseException as error:
            entry["state"] = "failed"
            entry["reason"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            return_free_memory()  # so that it is not added to the next stage's
            entry["seconds"] = round(time.perf_counter() - start, 3)
            entry["peak_memory_mib"] = round(peak_memory_mib(), 1)
            if entry["state"] == "done":
                self.save_manifest(durable=True)
            else:  # on a full disk this fails, too, and must not hide the error
                with suppress(OSError):
                    self.save_manifest()

    def save_manifest(self, durable: bool = False) -> None:
        """Write ``manifest.json`` atomically; ``durable`` also synchronises it with the disk, and copies it."""
        write_manifest(self.root, self.manifest, durable)


def peak_memory_mib() -> float:
    """Peak resident memory of this process, MiB (0 where the system does not report it)."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
