"""Events that a process sends while it works on an animation: stages, steps, log records.

They reach the driver through a pipe, or through a file of JSON lines on the storage that both share.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from v2m4.console import AnimationProgress, Console
from v2m4.remaining_time import RemainingTime
from v2m4.report import WarningRecorder


@dataclass(frozen=True)
class Event:
    """What happened: a log record where ``level`` is set, else where the animation is.

    Attributes:
        animation: its name.
        stage: the running one, or the one that has ended.
        seconds: duration of a stage that has ended; None while it runs.
        frames: number of frames, as far as it is known.
        step: how far the stage has come, such as "3 of 8".
        level: of a log record.
        message: of a log record.
    """

    animation: str
    stage: str = ""
    seconds: float | None = None
    frames: int = 0
    step: str = ""
    level: int = 0
    message: str = ""


Send = Callable[[Event], object]


class RelayConsole(Console):
    """The console of a process without a terminal of its own: sends what would be shown."""

    def __init__(self, verbose: bool, way: str, animation: str, send: Send) -> None:
        """Create the console of one animation.

        Args:
            verbose: send all log records, with tracebacks.
            way: see ``Console``.
            animation: its name.
            send: takes the events.
        """
        super().__init__(verbose, way, _RecordSender(animation, verbose, send))
        self._animation, self._send = animation, send

    def new_progress(self, label: str, frames: int, warnings: WarningRecorder) -> AnimationProgress:
        """Return the progress of the animation, which sends its stages."""
        return _RelayedProgress(self._animation, self.way, self.stages, frames, warnings, self._send)


class _RelayedProgress(AnimationProgress):
    def __init__(
        self, animation: str, way: str, stages: list[str], frames: int, warnings: WarningRecorder, send: Send
    ) -> None:
        super().__init__(animation, stages, frames, RemainingTime(way), warnings, shown=False)
        self._animation, self._send, self._running = animation, send, ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and send its beginning and its end."""
        self._running = name
        self._send(Event(self._animation, name, frames=self.frames))
        with super().stage(name):
            yield
        self._send(Event(self._animation, name, self.seconds[name], self.frames))

    def show(self, figure: str, step: str) -> None:
        """Send how far the stage has come."""
        self._send(Event(self._animation, self._running, frames=self.frames, step=step))

    def close(self) -> None:
        """Write nothing: the driver has the outcome."""


class _RecordSender(logging.Handler):
    def __init__(self, animation: str, verbose: bool, send: Send) -> None:
        super().__init__()
        self._animation, self._verbose, self._send = animation, verbose, send

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # logging's name
        """Ignore the format: the driver has its own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, with its traceback if all is to be shown."""
        message = self.format(record) if self._verbose else record.getMessage()
        self._send(Event(self._animation, level=record.levelno, message=message))


def sender_to(file: Path) -> Send:
    """Return a function that appends events to a file, as JSON lines."""

    def send(event: Event) -> None:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(event)) + "\n")

    return send


def has_ended_a_stage(file: Path) -> bool:
    """Whether the events of an animation, from an earlier process, tell of a stage that has ended."""
    if not file.exists():
        return False
    lines = file.read_bytes().split(b"\n")[:-1]  # the last one is empty, or was being written
    return any(json.loads(line)["seconds"] is not None for line in lines)


class EventFiles:
    """The files of events of a batch, one for each animation, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Create the folder.

        Raises:
            OSError: it cannot be created.
        """
        self._folder = folder
        self._read: dict[Path, int] = {}  # bytes of each file that have been read
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, number: int) -> Path:
        """The file of one animation."""
        file = self._folder / f"{number}.jsonl"
        self._read.setdefault(file, 0)
        return file

    def new(self) -> Iterator[Event]:
        """The events that were added since the last call."""
        for file, start in self._read.items():
            try:
                with file.open("rb") as stream:
                    stream.seek(start)
                    content = stream.read()
            except FileNotFoundError:  # not begun
                continue
            whole = content[: content.rfind(b"\n") + 1]  # the last line may not be complete yet
            self._read[file] = start + len(whole)
            for line in whole.splitlines():
                yield Event(**json.loads(line))

    def remove(self) -> None:
        """Delete the files and the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)  # a process that is being ended may still write
