"""How numba kernels are compiled, and where what was compiled is kept on disk.

All kernels of the program pass through ``kernel`` or ``parallel_kernel``: without the interpreter lock, kept on disk,
dividing as numpy does. Threads come from numba's own pool ("workqueue"), which every platform has and whose threads
sleep while they wait for each other. OpenMP's spin: where the cores are shared, a kernel of 1 ms then takes 100 ms. The
pool serves one caller at a time; `launch` sees to that. NUMBA_THREADING_LAYER chooses otherwise.

numba's index on disk notices an edit of a kernel's own file, but not of a kernel that it imports from another one. So
the folder's name carries a hash of all sources that define kernels: an edit of any of them starts an empty folder. It
lies in NUMBA_CACHE_DIR where that is set, else beside this file, else, where that cannot be written, in the user's
cache folder; of each program the latest few are kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba import njit

log = logging.getLogger(__name__)

PACKAGES = ("v2m4", "generators", "camera_search", "registration", "texture", "evaluation")  # where kernels may be
KEPT = 4  # cache folders in one place; the least recently used beyond that are removed
_PROGRAM = Path(__file__).resolve().parent.parent
_IMPORT = b"from v2m4.kernels import"

if "NUMBA_THREADING_LAYER" not in os.environ:
    numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]

launch = threading.Lock()  # to be held while a parallel kernel runs


def kernel_sources() -> dict[str, bytes]:
    """Every source that defines kernels, by its path relative to the program's folder; this module among them."""
    sources = {}
    for package in PACKAGES:
        for file in sorted((_PROGRAM / package).rglob("*.py")):
            content = file.read_bytes()
            if _IMPORT in content or file.name == Path(__file__).name:
                sources[file.relative_to(_PROGRAM).as_posix()] = content
    return sources


def _parents() -> Iterator[Path]:
    """Folders that may hold the cache, in order of preference."""
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    yield _PROGRAM / "v2m4" / "__pycache__"
    if sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "v2m4"
    elif sys.platform == "darwin":
        yield Path.home() / "Library" / "Caches" / "v2m4"
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2m4"


def _choose_folder() -> Path | None:
    """The folder for kernels compiled from the sources as they are now; None where no folder can be written."""
    digest = hashlib.sha256()
    for name, content in kernel_sources().items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in _parents():
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            tempfile.TemporaryFile(dir=folder).close()
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home folder
            log.debug("compiled kernels are not kept in %s: %s", parent, error)
            continue
        _remove_old(parent)
        log.debug("compiled kernels are kept in %s", folder)
        return folder
    log.warning("no folder for compiled kernels can be written; they are compiled in every run (set NUMBA_CACHE_DIR)")
    return None


def _remove_old(parent: Path) -> None:
    """Remove all but the ``KEPT`` folders of kernels that were used last."""
    folders = []
    for folder in parent.glob("kernels-*"):
        try:
            folders.append((folder.stat().st_mtime, folder))
        except OSError:  # another process has just removed it
            continue
    for _, folder in sorted(folders, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


cache_folder = _choose_folder()
_decorating = threading.Lock()


def _compiled(function: Callable[..., Any], parallel: bool) -> Any:
    """The function as numba's dispatcher, which keeps on disk in ``cache_folder`` what it compiles."""
    dispatcher = njit(parallel=parallel, nogil=True, error_model="numpy")(function)
    if cache_folder is not None and hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves the function
        with _decorating:  # the folder is read when the cache is opened: other users of numba keep theirs
            before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
            numba.config.CACHE_DIR = str(cache_folder)  # type: ignore[attr-defined]
            try:
                dispatcher.enable_caching()
            finally:
                numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
    return dispatcher


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call, or that runs on one thread."""
    return _compiled(function, parallel=False)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function whose prange loops run on several threads; keep it short, for compilation takes its time."""
    return _compiled(function, parallel=True)
