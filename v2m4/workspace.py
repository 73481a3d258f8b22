"""Output folder of one animation: file names, atomic writes, and a cache of artefacts by key.

An artefact is a file whose contents are determined by a key: a hash of its inputs, options and code. The manifest
stores the key of every artefact; where the requested key differs, the artefact is stale and is written anew. Results
are always read back from disk, so that a resumed run gives the same results as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

STAGE_FOLDERS = {
    "generation": "1_generation",
    "camera_search": "2_camera_search",
    "registration": "3_registration",
    "texture": "4_texture",
}
MANIFEST = "manifest.json"


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


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix; it is renamed to ``path`` on success, removed on an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Workspace:
    """The folder ``<output>/<animation>`` and its manifest."""

    def __init__(self, root: Path, overwrite: bool = False) -> None:
        """Open or create the folder.

        Args:
            root: the animation's own folder.
            overwrite: ignore the results of earlier runs.

        Raises:
            OSError: the folder cannot be created or written.
            ValueError: its manifest is not valid JSON, or not one of this program.
        """
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.manifest: dict[str, Any] = {"artefacts": {}, "stages": {}}
        self._lock = threading.Lock()  # held while an artefact is noted: frames are written by several threads
        for leftover in self.root.rglob(".*.part*"):
            leftover.unlink(missing_ok=True)
        if not overwrite:
            self.manifest |= read_manifest(self.root)

    def path(self, name: str) -> Path:
        """Path of a file of this animation."""
        return self.root / name

    def fresh(self, name: str, key: str) -> bool:
        """Whether the artefact is complete on disk and was written for ``key``."""
        entry = self.manifest["artefacts"].get(name)
        file = self.root / name
        return (
            entry is not None
            and entry.get("key") == key
            and file.is_file()
            and file.stat().st_size == entry.get("bytes")
        )

    def record(self, name: str, key: str) -> None:
        """Record in the manifest that the artefact has been written for ``key``."""
        with self._lock:
            self._note(name, key)
            self.save_manifest()

    def _note(self, name: str, key: str) -> None:
        self.manifest["artefacts"][name] = {"key": key, "bytes": (self.root / name).stat().st_size}

    def make_file(self, name: str, key: str, write: Callable[[Path], None]) -> Path:
        """Path of the file ``name``; written atomically by ``write(temporary path)`` if it is missing or stale."""
        file = self.root / name
        if not self.fresh(name, key):
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

        stale = [index for index, name in enumerate(names) if not self.fresh(name, key)]
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
            make: computes them.
        """

        def write(path: Path) -> None:
            arrays = make()
            with path.open("wb") as stream:
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]

        with np.load(self.make_file(name, key, write), allow_pickle=False) as stored:
            return {field: stored[field] for field in stored.files}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and record its state in the manifest: running, done, or failed with the reason."""
        start = time.perf_counter()
        entry: dict[str, Any] = {"state": "running"}
        self.manifest["stages"][name] = entry
        self.save_manifest()
        try:
            yield
            entry["state"] = "done"
        except BaseException as error:
            entry["state"] = "failed"
            entry["reason"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            entry["seconds"] = round(time.perf_counter() - start, 3)
            entry["peak_memory_mib"] = round(peak_memory_mib(), 1)
            self.save_manifest()

    def save_manifest(self) -> None:
        """Write ``manifest.json`` atomically."""
        with atomic(self.root / MANIFEST) as temporary:
            temporary.write_text(
                json.dumps(self.manifest, indent=1, ensure_ascii=False, default=str), "utf-8", "backslashreplace"
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an animation's folder, its tables of artefacts and stages checked; empty where there is none.

    Raises:
        ValueError: it is not valid JSON, or not a manifest; one line with what to do.
        OSError: it cannot be read.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error}); delete it or use --overwrite") from error
    is_manifest = isinstance(stored, dict) and isinstance(stored.get("config", {}), dict)
    for name in ("artefacts", "stages") if is_manifest else ():
        table = stored.get(name, {})
        is_manifest &= isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())
    if not (is_manifest and isinstance(stored.get("fps", 0), int | float)):
        raise ValueError(f"{file}: not a manifest of this program; delete it or use --overwrite")
    return stored


def peak_memory_mib() -> float:
    """Peak resident memory of this process, MiB (0 where the system does not report it)."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
