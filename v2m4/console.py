"""The terminal output of main.py: one progress line per animation, warnings and notices, and one table at the end.

Log records below WARNING are shown with ``--verbose`` only, except notices (``extra=NOTICE``). A record with
``extra=progress("similarity 0.87", "3 of 8")`` puts these texts into the progress line. So the stages log as ever, and
know nothing of the terminal.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from v2m4.remaining_time import TYPICAL, RemainingTime
from v2m4.report import NOTICE, TqdmHandler, WarningRecorder, table

log = logging.getLogger("v2m4")

STAGES = {  # in order, with the table's short headers
    "frames": "read",
    "generation": "gen",
    "camera_search": "cam",
    "registration": "reg",
    "texture": "tex",
    "export": "exp",
}
HEADERS = ["animation", "frames", *(f"{short} s" for short in STAGES.values())]
LAYOUT = "{desc} |{bar:12}| {elapsed}{postfix}"
REFRESH = 1.0  # seconds between two updates of the progress line


@dataclass
class Outcome:
    """Result of one animation.

    Attributes:
        name: of the animation.
        frames: number of frames.
        result: path of the written GLB, or of the output folder with ``--baseline``; None after an error.
        error: one line; None on success.
        manifest: the animation's manifest, as far as it came.
        seconds: measured duration of each stage that ran.
        peak_memory_mib: of the process that worked on it, MiB; 0 where the system does not report it.
    """

    name: str
    frames: int
    result: Path | None = None
    error: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float = 0.0

    def row(self) -> list[object]:
        """The cells of the summary, "-" for what there is not."""
        figures = self.manifest.get("figures") or {}
        motion = self.manifest.get("motion")
        megabytes = self.result.stat().st_size / 1e6 if self.result is not None and self.result.is_file() else None
        return [
            self.name,
            self.frames,
            *(_number(self.seconds.get(stage), 1) for stage in STAGES),
            _number(figures.get("mean_psnr"), 2),
            _number(figures.get("mean_iou"), 3),
            _number(megabytes, 2),
            "-" if motion is None else len(motion["lost"]),
            f"failed: {self.error}" if self.error else str(self._file_to_open()),
        ]

    def _file_to_open(self) -> Path | None:
        """The page of the result where one was written, else the result."""
        from v2m4.workspace import REPORT  # NumPy takes time to load: main.py refuses invalid options before

        if self.result is None:
            return None
        page = (self.result if self.result.is_dir() else self.result.parent) / REPORT
        return page if page.is_file() else self.result


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table of all animations: seconds per stage, figures against the video, size, lost frames, where to look."""
    sizes = {(outcome.manifest.get("figures") or {}).get("size") for outcome in outcomes} - {None}
    at = f"@{sizes.pop()}" if len(sizes) == 1 else ""
    headers = [*HEADERS, f"PSNR{at}", f"IoU{at}", "MB", "lost", "result"]
    return table([outcome.row() for outcome in outcomes], headers)


class Console(logging.Handler):
    """What main.py shows while it works; a handler of log records."""

    def __init__(self, verbose: bool, way: str, lines: logging.Handler | None = None) -> None:
        """Create the console.

        Args:
            verbose: show all log records.
            way: key of ``remaining_time.TYPICAL``: which stages there are, and how long they take.
            lines: handler of the records that are shown; by default they are written to standard error.
        """
        super().__init__()
        self.way = way
        self.stages = [stage for stage in STAGES if stage in TYPICAL[way]]
        self._verbose, self._lines = verbose, TqdmHandler() if lines is None else lines
        self._progress: AnimationProgress | None = None
        self._remaining = RemainingTime(way)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # logging's name
        """Set the format of the lines."""
        self._lines.setFormatter(fmt)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record's figure in the progress line, and the record where it is to be shown."""
        if self._progress is not None and hasattr(record, "figure") and hasattr(record, "step"):
            self._progress.show(record.figure, record.step)
        if self._verbose or record.levelno >= logging.WARNING or getattr(record, "notice", False):
            self._lines.emit(record)

    @contextmanager
    def animation(self, name: str, number: int, count: int, frames: int) -> Iterator[AnimationProgress]:
        """Show the progress of one animation while it is worked on.

        Args:
            name: of the animation.
            number: its number, from 1.
            count: of all animations.
            frames: number of frames, as far as it is known.
        """
        label = name if count == 1 else f"[{number}/{count}] {name}"
        with WarningRecorder() as warnings:
            self._progress = self.new_progress(label, frames, warnings)
            try:
                yield self._progress
            finally:
                self._progress.close()
                self._progress = None

    def new_progress(self, label: str, frames: int, warnings: WarningRecorder) -> AnimationProgress:
        """Return the progress line of one animation."""
        return AnimationProgress(label, self.stages, frames, self._remaining, warnings)


class AnimationProgress:
    """The progress line of one animation: stage, seconds so far, estimate of those left, latest figure.

    Where standard error is no terminal, or ``shown`` is False, nothing is shown but one line at the end.
    """

    def __init__(
        self,
        label: str,
        stages: Sequence[str],
        frames: int,
        remaining: RemainingTime,
        warnings: WarningRecorder,
        shown: bool = True,
    ) -> None:
        self.warnings = warnings
        self.frames, self.seconds = frames, dict[str, float]()
        self._label, self._left, self._remaining = label, list(stages), remaining
        self._stage, self._step, self._figure, self._ending = "", "", "", ""
        self._start = self._stage_start = time.perf_counter()
        self._shown = shown and sys.stderr.isatty()
        self._bar = tqdm(
            total=len(stages), desc=label, bar_format=LAYOUT, dynamic_ncols=True, disable=not self._shown, leave=True
        )
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        if self._shown:
            self._ticker.start()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show and time a stage, and note it for the recorded warnings."""
        self.warnings.stage = name
        self._stage_start = time.perf_counter()
        while self._left and self._left[0] != name:
            del self._left[0]
        self._stage, self._step = name.replace("_", " "), ""
        self._refresh()
        yield
        self.seconds[name] = time.perf_counter() - self._stage_start
        self._remaining.add(name, self.frames, self.seconds[name])
        self._left = self._left[1:]
        self._bar.update()

    def show(self, figure: str, step: str) -> None:
        """Show a figure (empty for the one before) and how far the stage has come."""
        self._figure, self._step = figure or self._figure, step
        self._refresh()

    def end(self, text: str) -> None:
        """Set what remains in the line: "done" and figures, or "failed"."""
        self._ending = text

    def close(self) -> None:
        """End the line."""
        self._ended.set()
        if self._shown:
            self._ticker.join()
        self._bar.set_description_str(f"{self._label}: {self._ending or 'interrupted'}", refresh=False)
        self._bar.set_postfix_str("", refresh=False)
        self._bar.close()
        if not self._shown and self._ending:
            seconds = time.perf_counter() - self._start
            log.info("%s: %s after %.0f s", self._label, self._ending, seconds, extra=NOTICE)

    def _tick(self) -> None:
        while not self._ended.wait(REFRESH):
            self._refresh()

    def _refresh(self) -> None:
        if self._ended.is_set():
            return
        seconds = self._remaining.seconds(self._left, self.frames, time.perf_counter() - self._stage_start)
        described = " ".join(part for part in (f"{self._label}:", self._stage, self._step) if part)
        self._bar.set_description_str(described, refresh=False)
        parts = [f"about {max(round(seconds), 1)} s left", *([self._figure] if self._figure else [])]
        self._bar.set_postfix_str(", ".join(parts), refresh=True)


@contextmanager
def kernel_progress() -> Iterator[Any]:
    """Show the progress of compiling kernels; yields a function of (compiled kernels, all kernels)."""
    with tqdm(desc="compiling kernels, first run only", unit="kernel", dynamic_ncols=True) as progress:

        def done(some: int, of: int) -> None:
            progress.total = of
            progress.update(some - progress.n)

        yield done


def use_console(verbose: bool, way: str) -> Console:
    """Make a console the only handler of all log records, and return it."""
    console = Console(verbose, way)
    install(console, verbose)
    return console


def install(console: Console, verbose: bool) -> None:
    """Make a console the only handler of all log records."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname).1s %(message)s",
        handlers=[console],
        force=True,
    )
    for noisy in ("numba", "PIL", "matplotlib", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
