"""How numba kernels are compiled, and where what was compiled is kept on disk.

All kernels of the program pass through ``kernel``: without the interpreter lock, kept on disk, dividing as numpy does.
Loops that are worth several threads take the first and the last of their tasks, and are run by ``threads.share``: that
compiles in a third of the time of numba's own parallel loops, and several callers may run at once.

numba's index on disk notices an edit of a kernel's own file, but not of a kernel that it imports from another one. So
the folder's name carries a hash of all sources that define kernels: an edit of any of them starts an empty folder. It
lies in NUMBA_CACHE_DIR where that is set, else beside this file, else, where that cannot be written, in the user's
cache folder; of each program the latest few are kept.
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

log = logging.getLogger(__name__)

PACKAGES = ("v2m4", "generators", "camera_search", "registration", "texture", "evaluation")  # where kernels may be
PROCESSES = 4  # that compile at the same time, at most: each loads PyTorch, 2.5 s and 300 MB
KEPT = 4  # cache folders in one place; the least recently used beyond that are removed
_HERE = Path(__file__).resolve()
_PROGRAM = _HERE.parent.parent
_IMPORT = b"from v2m4.kernels import"


def kernel_sources() -> dict[str, bytes]:
    """Every source that defines kernels, by its path relative to the program's folder; this module among them."""
    sources = {}
    for package in PACKAGES:
        for file in sorted((_PROGRAM / package).rglob("*.py")):
            content = file.read_bytes()
            if _IMPORT in content or file == _HERE:
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


@dataclass(frozen=True)
class Declared:
    """A kernel that Python calls.

    Attributes:
        dispatcher: numba's.
        types: of its arguments.
        ahead: whether the default run needs it.
    """

    dispatcher: Any
    types: str
    ahead: bool

    @property
    def signature(self) -> Any:
        """The types as numba holds them."""
        return normalize_signature(f"({self.types},)")[0]

    def compile(self) -> None:
        """Compile it, or load it from disk."""
        self.dispatcher.compile(self.signature)


_declared: list[Declared] = []


def kernel(types: str | Callable[..., Any], ahead: bool = True) -> Any:
    """Compile a function; what is compiled is kept in ``cache_folder``.

    ``@kernel`` is for functions that other kernels call, and only these: what Python needs to call one takes a tenth of
    the time to compile. ``@kernel("f8[:,::1], i8")`` is for those that Python calls.

    Args:
        types: of the arguments, as numba writes them; or the function itself.
        ahead: whether ``compile_all`` compiles it, as the default run needs it.
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
    if cache_folder is not None and hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves the function
        with _decorating:  # the folder is read when the cache is opened: other users of numba keep theirs
            before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
            numba.config.CACHE_DIR = str(cache_folder)  # type: ignore[attr-defined]
            try:
                dispatcher.enable_caching()
            finally:
                numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
    return dispatcher


def compiled() -> bool:
    """Whether ``compile_all`` has been here: on this processor, with this numba, for the sources as they are."""
    return cache_folder is not None and _mark(cache_folder).is_file()


def _mark(folder: Path) -> Path:
    """The file that says that all kernels are in the folder."""
    return folder / f"all.{sys.implementation.cache_tag}.{numba.__version__}.{binding.get_host_cpu_name()}"


def compile_all(progress: Callable[[int, int], object] = lambda done, of: None) -> None:
    """Compile the kernels of the default run that are not on disk yet, some of them in processes of their own.

    A kernel that cannot be compiled here is left to its first call, and a warning says so.

    Args:
        progress: called with the number of kernels that are ready, and of all.
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
    """The kernels that the default run needs, in shares that take about as long; a module's stay together."""
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
    """A process that compiles one of the shares."""
    code = f"from v2m4 import kernels, threads; threads.use({parts}); kernels.compile_share({part})"
    path = os.pathsep.join(filter(None, [str(_PROGRAM), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def compile_share(part: int) -> None:
    """Compile one of the shares in this process; for ``compile_all``."""
    for entry in _shares()[part]:
        entry.compile()
