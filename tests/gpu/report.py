"""What the checks on a GPU measured, as ``docs/performance_gpu.md``."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance_gpu.md"
INTRODUCTION = """# Performance on a GPU

`pytest -m gpu` writes this page on a machine with a GPU: every check that only a GPU can do, in one command. The memory
is what is in use on the whole device, read 50 times a second, less what was in use before the stage.
"""


class PeakMemory(threading.Thread):
    """Reads how much of the device's memory is in use, by whatever allocator, until it is stopped."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(daemon=True)
        self.device, self._over = device, threading.Event()
        self.start_bytes = self.peak_bytes = self._used()

    def _used(self) -> int:
        if self.device.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info(self.device)
        return total - free

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, self._used())

    def stop(self) -> float:
        """MiB at most, beyond those at the start."""
        self._over.set()
        self.join()
        return (max(self.peak_bytes, self._used()) - self.start_bytes) / 2**20


@dataclass
class Performance:
    """Seconds and memory of stages, and what checks found.

    Attributes:
        device: where the work was done.
        stages: (run, stage, seconds, MiB), in order.
        checks: (what, figure), in order.
    """

    device: torch.device
    stages: list[tuple[str, str, float, float]] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def stage(self, run: str, name: str) -> Iterator[None]:
        """Measure a stage of a run; what failed is not noted."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
        memory, start = PeakMemory(self.device), time.perf_counter()
        memory.start()
        try:
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - start
        finally:
            peak = memory.stop()
        self.stages.append((run, name, seconds, peak))

    def check(self, what: str, figure: str) -> None:
        """Note what a check found."""
        self.checks.append((what, figure))

    def page(self) -> str:
        """The page as Markdown."""
        lines = [INTRODUCTION, f"Run on {_machine(self.device)}, {time.strftime('%Y-%m-%d')}.", ""]
        if self.stages:
            lines += ["| run | stage | seconds | peak GPU memory, MiB |", "| --- | --- | --- | --- |"]
            lines += [f"| {run} | {name} | {seconds:.1f} | {mib:.0f} |" for run, name, seconds, mib in self.stages]
            for run in dict.fromkeys(row[0] for row in self.stages):
                rows = [row for row in self.stages if row[0] == run]
                most = max(row[3] for row in rows)
                lines.append(f"| {run} | all | {sum(row[2] for row in rows):.1f} | {most:.0f} |")
            lines.append("")
        if self.checks:
            lines += ["| check | found |", "| --- | --- |"]
            lines += [f"| {what} | {figure} |" for what, figure in self.checks]
            lines.append("")
        return "\n".join(lines)


def _machine(device: torch.device) -> str:
    """GPU, PyTorch and operating system, in one line."""
    name = "a CPU (no GPU)"
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{name}, PyTorch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"
