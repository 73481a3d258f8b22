"""The progress of a batch on the terminal: one line for all animations that run, one for each that has ended."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from v2m4.console import REFRESH, Console, Outcome
from v2m4.engines.events import Event
from v2m4.engines.task import Task
from v2m4.remaining_time import RemainingTime
from v2m4.report import NOTICE
from v2m4.sharding import expected_counts

log = logging.getLogger("v2m4.engines")

LAYOUT = "{desc} |{bar:12}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
SHOWN = 3  # running animations that are named, at most


class BatchProgress:
    """How far a batch is; a context manager. Where standard error is no terminal, only the ends are told."""

    def __init__(self, tasks: Sequence[Task], console: Console, at_once: int) -> None:
        """Show the progress of a batch.

        Args:
            tasks: all animations.
            console: names the stages.
            at_once: animations that run at the same time, for the estimate of the time left.
        """
        counts = expected_counts([task.source for task in tasks])
        self._frames = dict(counts)
        self._left = {name: list(console.stages) for name in counts}
        self._running: dict[str, Event] = {}
        self._began: dict[str, float] = {}
        self._remaining, self._at_once, self._count = RemainingTime(console.way), at_once, len(tasks)
        self._ended = 0
        self._refreshed = 0.0
        self._bar = tqdm(
            total=len(tasks),
            desc="animations",
            bar_format=LAYOUT,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> BatchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.set_postfix_str("", refresh=False)
        self._bar.close()

    def handle(self, event: Event) -> None:
        """Show a log record, or note where an animation is."""
        if event.level:
            known = event.message.startswith(f"{event.animation}:")
            message = event.message if known else f"{event.animation}: {event.message}"
            log.log(event.level, "%s", message, extra=NOTICE)
            return
        name, left = event.animation, self._left[event.animation]
        self._began.setdefault(name, time.perf_counter())
        self._running[name] = event
        self._frames[name] = event.frames or self._frames[name]
        if event.stage in left:  # one that is begun again stands in no list: it has been left behind
            del left[: left.index(event.stage) + (event.seconds is not None)]
        if event.seconds is not None:
            self._remaining.add(event.stage, self._frames[name], event.seconds)
        self.refresh()

    def end(self, outcome: Outcome) -> None:
        """Tell that an animation has ended."""
        self._ended += 1
        self._left[outcome.name] = []
        self._running.pop(outcome.name, None)
        how = "failed" if outcome.error else "done"
        began = self._began.get(outcome.name)
        after = "" if began is None else f" after {time.perf_counter() - began:.0f} s"
        log.info("[%d/%d] %s: %s%s", self._ended, self._count, outcome.name, how, after, extra=NOTICE)
        self._bar.update()
        self.refresh()

    def refresh(self) -> None:
        """Write the line anew, once in a while."""
        now = time.perf_counter()
        if self._bar.disable or now - self._refreshed < REFRESH:
            return
        self._refreshed = now
        self._bar.set_postfix_str(self.line(), refresh=True)

    def line(self) -> str:
        """An estimate of the seconds left, and where the animations are that run."""
        at = [
            " ".join(part for part in (f"{name}:", event.stage.replace("_", " "), event.step) if part)
            for name, event in self._running.items()
        ]
        more = [f"{len(at) - SHOWN} more"] if len(at) > SHOWN else []
        return ", ".join([f"about {max(round(self.seconds_left()), 1)} s left", *at[:SHOWN], *more])

    def seconds_left(self) -> float:
        """Expected seconds until the end of the batch."""
        work = sum(
            self._remaining.expected(stage, self._frames[name]) for name, left in self._left.items() for stage in left
        )
        at_once = max(min(self._at_once, self._count - self._ended), 1)
        return work * self._remaining.factor / at_once
