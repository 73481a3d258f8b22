"""Feed one reader with mutated files for some seconds: ``python -m tests.fuzz.child READER SEED SECONDS FOLDER``.

The program ends with code 1 and one line when a reader raises what it does not document; with a signal when a file
takes it more CPU time or memory than is allowed. The file stays in the folder.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets the OpenMP wait policy
import gc
import logging
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.readers import READERS, Reader

CPU_SECONDS = 20  # for one file, all calls together
COLLECT = 20  # files after which cycles are collected: those of PyAV's objects hold the memory of decoders
MEMORY = 2 << 30  # bytes above what the program takes itself


def limit_memory() -> None:
    """Limit the address space to what is in use and MEMORY more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)


def fault(call: object, path: Path) -> str | None:
    """What a reader does wrong with a file, None for nothing.

    A reader may refuse a file by a ValueError or OSError that names it; one that ran out of memory did not look first.
    """
    try:
        call(path)  # type: ignore[operator]
    except (ValueError, OSError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return f"{type(error).__name__} of a MemoryError: {error}"
            cause = cause.__cause__
        if str(path.parent) not in str(error):
            return f"{type(error).__name__} without the file's name: {error}\n{traceback.format_exc()}"
    except Exception:
        return traceback.format_exc()
    return None


def prepare(reader: Reader, folder: Path) -> dict[str, bytes]:
    """Write the valid files into ``valid``, and those that stay unchanged into ``case``; returns the others."""
    for name in ("valid", "case"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    reader.seeds(folder / "valid")
    files = [path for path in sorted((folder / "valid").iterdir()) if path.is_file()]
    for path in files:
        if path.name.startswith("_"):
            shutil.copyfile(path, folder / "case" / path.name)
    return {path.name: path.read_bytes() for path in files if not path.name.startswith("_")}


def run(reader: Reader, generator: random.Random, seconds: float, folder: Path) -> tuple[int, str | None]:
    """Feed a reader; returns the number of files and the first fault, if any."""
    valid, end, count = prepare(reader, folder), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        name = generator.choice(sorted(valid))
        path = folder / "case" / name
        path.write_bytes(reader.mutation(valid[name], generator))
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # its signal ends the process
        for call in reader.calls:
            if (what := fault(call, path)) is not None:
                return count, f"{path}: {what}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.unlink(missing_ok=True)
        count += 1
        if count % COLLECT == 0:
            gc.collect()
    return count, None


def main(name: str, seed: str, seconds: str, folder: str) -> int:
    """Run one reader; returns the exit code."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    limit_memory()
    count, what = run(READERS[name], random.Random(int(seed)), float(seconds), Path(folder))
    print(f"{name}, seed {seed}: {count} files" if what is None else f"{name}, seed {seed}, file {count}: {what}")
    return 0 if what is None else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
