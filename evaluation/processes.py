"""Run commands as processes, with their output in a file, and measure their time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ERROR = re.compile(r"^(E |ERROR\b|CRITICAL\b)|\b\w*(Error|Exception|Interrupt)\b(: |$)")
PROGRESS_BAR = re.compile(r"\d+%\||\b\d+(it|s/it|\w+/s)\b")  # a line of tqdm


class ProcessFailed(RuntimeError):
    """A command did not exit with code 0; the message is its last line of error."""


@dataclass(frozen=True)
class ResourceUsage:
    """Resources used by a command.

    Attributes:
        seconds: wall time.
        peak_memory_mib: peak resident memory of the largest process among the command and its children, never less than
            that of the calling process (a fork starts with it); 0 where the system does not report it.
    """

    seconds: float
    peak_memory_mib: float


class Processes:
    """Runs commands, from several threads if needed, and can terminate all that are running."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], log: Path, folder: Path) -> ResourceUsage:
        """Run one command in ``folder`` and wait for it; its output is appended to ``log``.

        Raises:
            ProcessFailed: it could not start or did not exit with code 0.
        """
        start = time.perf_counter()
        with log.open("ab") as stream:
            stream.write(f"$ {' '.join(command)}\n".encode())
            stream.flush()
            output_start = stream.tell()
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
                written.seek(output_start)
                output = last_error(written.read().decode("utf-8", "replace"))
            raise ProcessFailed(
                output or f"{Path(command[0]).name} ended with code {process.returncode} and said nothing"
            )
        return ResourceUsage(time.perf_counter() - start, peak)

    def stop(self) -> None:
        """Terminate all running processes, and start no more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def _wait(process: subprocess.Popen[bytes]) -> float:
    """Wait for the process; returns the peak resident memory, MiB, of it and of the children that it waited for."""
    if not hasattr(os, "wait4"):  # Windows
        process.wait()
        return 0.0
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def last_error(output: str) -> str:
    """The last line with an error, else the last line that is not a progress bar; empty where there is none.

    Of an output that ends with a box, as tyro frames an invalid command line, its text down to the first rule.
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", output)]
    lines = [line for line in lines if line and not PROGRESS_BAR.search(line)]
    tops = [index for index, line in enumerate(lines) if line.startswith("╭")]
    if tops and lines[-1].startswith("╰"):
        framed = [line.strip("│ ") for line in lines[tops[-1] + 1 : -1]]
        return " ".join(takewhile(lambda line: not line.startswith("─"), framed))
    errors = [line for line in lines if ERROR.search(line)]
    line = (errors or lines or [""])[-1]
    return line.removeprefix("E ")
