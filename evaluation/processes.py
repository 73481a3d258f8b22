"""Commands run as a user would run them: as processes, with their output in a file, their time and their memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ERROR = re.compile(r"^(E |ERROR\b|CRITICAL\b)|\b\w*(Error|Exception|Interrupt)\b(: |$)")
BAR = re.compile(r"\d+%\||\b\d+(it|s/it|\w+/s)\b")  # what tqdm draws


class ProcessFailed(RuntimeError):
    """A command ended with another code than 0; the message is its last line of error."""


@dataclass(frozen=True)
class Usage:
    """What commands took.

    Attributes:
        seconds: wall time.
        peak_memory_mib: resident memory of the largest process among the command and its children, and never less than
            what the calling process takes (a fork's beginnings are counted); 0 where the system does not tell.
    """

    seconds: float
    peak_memory_mib: float


class Processes:
    """Runs commands, from several threads at once if need be, and can end all those that are running."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path, folder: Path) -> Usage:
        """Run one command in ``folder`` to its end; what it says is appended to ``log``.

        Raises:
            ProcessFailed: it could not start or did not end with code 0.
        """
        start = time.perf_counter()
        with log.open("ab") as stream:
            stream.write(f"$ {' '.join(command)}\n".encode())
            stream.flush()
            begin = stream.tell()
            try:
                with self._lock:
                    if self._stopped:
                        raise ProcessFailed("stopped")
                    process = subprocess.Popen(
                        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
                    )
                    self._running.add(process)
            except OSError as error:
                raise ProcessFailed(f"{command[0]}: {error.strerror or error}") from error
            peak = _wait(process)
            with self._lock:
                self._running.discard(process)
        if process.returncode != 0:
            with log.open("rb") as written:
                written.seek(begin)
                said = last_error(written.read().decode("utf-8", "replace"))
            raise ProcessFailed(
                said or f"{Path(command[0]).name} ended with code {process.returncode} and said nothing"
            )
        return Usage(time.perf_counter() - start, peak)

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def _wait(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; the peak resident memory, MiB, of the process and of the children that it waited for."""
    if not hasattr(os, "wait4"):  # Windows
        process.wait()
        return 0.0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def last_error(said: str) -> str:
    """The last line that tells of an error, else the last line that is no progress bar; empty where there is none."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said)]
    lines = [line for line in lines if line and not BAR.search(line)]
    errors = [line for line in lines if ERROR.search(line)]
    found = (errors or lines or [""])[-1]
    return found.removeprefix("E ")
