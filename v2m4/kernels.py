"""Compilation of numba kernels, ahead of time and in parallel, and their cache on disk.

All kernels of the program are decorated with ``kernel``: compiled without the interpreter lock, cached on disk, with
numpy's rules of division. A parallel loop takes its first and last iteration as arguments and is run by
``threads.share``: that compiles in a third of the time of numba's own parallel loops, and is reentrant.

numba's cache is invalidated by an edit of a kernel's own file, but not by one of a kernel that it imports. Therefore
the cache folder's name contains a hash of all sources that define kernels, so that any edit starts an empty folder. It
is created in NUMBA_CACHE_DIR where that is set, else beside this file, else, if that is not writable, in the user's
cache folder; the latest few folders of each place are kept.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import njit
from numba.core.sigutils import normalize_signature

from v2m4 import threads
from v2m4.python_path import PROGRAM, python_path

log = logging.getLogger(__name__)

PACKAGES = ("v2m4", "generators", "camera_search", "registration", "texture", "evaluation")  # that may define kernels
PROCESSES = 4  # compiling at the same time, at most: each loads PyTorch (2.5 s, 300 MB)
KEPT = 4  # cache folders in one place; the least recently used beyond that are removed
_HERE = Path(__file__).resolve()
_IMPORT = b"from v2m4.kernels import"


def kernel_sources() -> dict[str, bytes]:
    """Contents of every source that defines kernels, and of this module, by path relative to the program's folder."""
    sources = {}
    for package in PACKAGES:
        for file in sorted((PROGRAM / package).rglob("*.py")):
            content = file.read_bytes()
            if _IMPORT in content or file == _HERE:
                sources[file.relative_to(PROGRAM).as_posix()] = content
    return sources


def _parents() -> Iterator[Path]:
    """Candidate parent folders of the cache, in order of preference."""
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    yield PROGRAM / "v2m4" / "__pycache__"
    if sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "v2m4"
    elif sys.platform == "darwin":
        yield Path.home() / "Library" / "Caches" / "v2m4"
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2m4"


def _choose_folder() -> Path | None:
    """Create the cache folder of the current sources; None where no candidate is writable."""
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
            log.debug("compiled kernels cannot be cached in %s: %s", parent, error)
            continue
        _remove_old(parent)
        log.debug("compiled kernels are cached in %s", folder)
        return folder
    log.warning("no cache folder for kernels is writable; they are compiled in every run (set NUMBA_CACHE_DIR)")
    return None


def _remove_old(parent: Path) -> None:
    """Remove all but the ``KEPT`` most recently used cache folders."""
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


@dataclass(frozen=True)
class Declared:
    """A registered kernel that Python code calls.

    Attributes:
        dispatcher: numba's dispatcher.
        types: signature of its arguments, as in ``kernel``.
        ahead: whether ``compile_all`` compiles it.
    """

    dispatcher: Any
    types: str
    ahead: bool

    @property
    def signature(self) -> Any:
        """The argument types, parsed by numba."""
        return normalize_signature(f"({self.types},)")[0]

    def compile(self) -> None:
        """Compile the kernel, or load it from the cache."""
        self.dispatcher.compile(self.signature)


_declared: list[Declared] = []


def kernel(types: str | Callable[..., Any], ahead: bool = True) -> Any:
    """Decorator that compiles a function with numba and caches it in ``cache_folder``.

    ``@kernel`` is for functions that only other kernels call: it omits the wrapper for calls from Python, which takes
    a tenth of the compile time. ``@kernel("f8[:,::1], i8")`` is for functions that Python code calls.

    Args:
        types: signature of the arguments in numba's notation; or the function itself.
        ahead: whether ``compile_all`` compiles it, because the default run calls it.
    """
    if callable(types):
        return _compiled(types, no_cpython_wrapper=True, no_cfunc_wrapper=True)

    def declare(function: Callable[..., Any]) -> Any:
        dispatcher = _compiled(function, no_cfunc_wrapper=True)
        _declared.append(Declared(dispatcher, types, ahead))
        return dispatcher

    return declare


def _compiled(function: Callable[..., Any], **options: bool) -> Any:
    dispatcher = njit(nogil=True, error_model="numpy", **options)(function)  # type: ignore[call-overload]
    if cache_folder is not None and hasattr(dispatcher, "enable_caching"):  # else NUMBA_DISABLE_JIT is set
        with _decorating:  # numba reads CACHE_DIR at this call only: other users of numba keep theirs
            before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
            numba.config.CACHE_DIR = str(cache_folder)  # type: ignore[attr-defined]
            try:
                dispatcher.enable_caching()
            finally:
                numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
    return dispatcher


def compiled() -> bool:
    """Whether the cache is complete for this processor, this version of numba and the current sources."""
    return cache_folder is not None and _mark(cache_folder).is_file()


def _mark(folder: Path) -> Path:
    """Path of the marker file that says that all kernels are in the folder."""
    return folder / f"all.{sys.implementation.cache_tag}.{numba.__version__}.{binding.get_host_cpu_name()}"


def compile_all(progress: Callable[[int, int], object] = lambda done, of: None) -> None:
    """Compile the kernels of the default run that are not cached yet, in several processes.

    Where a process fails, a warning is logged, and its kernels are compiled when they are first called.

    Args:
        progress: callback with the number of compiled kernels and their total.
    """
    shares = _shares()
    count = sum(len(share) for share in shares)
    others = [] if cache_folder is None else [_start(part, len(shares)) for part in range(1, len(shares))]
    mine = shares[0] if others else [entry for share in shares for entry in share]
    for number, entry in enumerate(mine, 1):
        entry.compile()
        progress(number, count)
    failed = [error for error in (process.communicate()[1] for process in others) if error]
    progress(count, count)
    if failed:
        log.warning("kernels are compiled when they are first called: %s", failed[0].strip().splitlines()[-1])
    elif cache_folder is not None:
        _mark(cache_folder).touch()


def _shares() -> list[list[Declared]]:
    """Partition the kernels of the default run into shares of similar source size; a module is never split."""
    sources = kernel_sources()
    names = {name.removesuffix(".py").replace("/", "."): name for name in sources if not name.startswith("evaluation/")}
    for module in names:
        importlib.import_module(module)
    shares: list[list[Declared]] = [[] for _ in range(min(threads.count(), PROCESSES))]
    loads = [0] * len(shares)
    for module in sorted(names, key=lambda module: -len(sources[names[module]])):
        least = loads.index(min(loads))
        shares[least] += [entry for entry in _declared if entry.ahead and entry.dispatcher.py_func.__module__ == module]
        loads[least] += len(sources[names[module]])
    return shares


def _start(part: int, parts: int) -> subprocess.Popen[str]:
    """Start a process that compiles one of the shares."""
    code = f"from v2m4 import kernels, threads; threads.use({parts}); kernels.compile_share({part})"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": python_path()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def compile_share(part: int) -> None:
    """Compile one of the shares in this process; entry point of the processes of ``compile_all``."""
    for entry in _shares()[part]:
        entry.compile()
