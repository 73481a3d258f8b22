"""One animation as a task that any process can perform, and its performance: the one code path of all engines."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from v2m4 import threads
from v2m4.config import Config
from v2m4.console import AnimationProgress, Outcome, install, kernel_progress
from v2m4.engines.events import RelayConsole, Send
from v2m4.engines.failure import lost
from v2m4.workspace import peak_memory_mib

if TYPE_CHECKING:
    from v2m4.io.sources import Source

Work = Callable[["Source", Config, AnimationProgress], Outcome]  # runs one animation; reports errors in the outcome
REPORTED = ("figures", "motion")  # entries of the manifest that the summary shows


@dataclass(frozen=True)
class Task:
    """One animation to run, in whichever process; picklable.

    Attributes:
        source: the animation.
        config: all options, resolved.
        work: name of the function that runs it, ``module:function``.
        way: key of ``remaining_time.TYPICAL``.
        threads: number of threads to work with; 0 for all cores.
    """

    source: Source
    config: Config
    work: str
    way: str
    threads: int


def name_of(work: Work) -> str:
    """``module:function`` of a function at the top level of a module; that of a script is the script's own name."""
    module = work.__module__
    if module == "__main__":
        main = sys.modules[module]
        module = main.__spec__.name if main.__spec__ else Path(str(main.__file__)).stem
    return f"{module}:{work.__qualname__}"


def perform(task: Task, send: Send) -> Outcome:
    """Run one animation in this process, and return its outcome as plain values.

    The root logger's handlers are replaced by one that sends the records. Whatever goes wrong is told in the outcome.

    Args:
        task: the animation.
        send: takes the events.
    """
    console = RelayConsole(task.config.verbose, task.way, task.source.name, send)
    install(console, task.config.verbose)
    try:
        threads.use(task.threads)
        compile_kernels()
        module, function = task.work.split(":")
        work: Work = getattr(importlib.import_module(module), function)
        with console.animation(task.source.name, 1, 1, task.source.count) as progress:
            outcome = plain(work(task.source, task.config, progress))
    except Exception as error:  # outside of what reports its errors itself, as an import
        outcome = lost(task, f"{type(error).__name__}: {error}")
    return replace(outcome, peak_memory_mib=peak_memory_mib())


def plain(outcome: Outcome) -> Outcome:
    """The outcome with what the summary shows of the manifest, in values that JSON has."""
    reported = {name: outcome.manifest[name] for name in REPORTED if name in outcome.manifest}
    return replace(outcome, manifest=json.loads(json.dumps(reported, default=str)))


def compile_kernels() -> None:
    """Compile all numba kernels that are not in the cache yet, with a progress bar."""
    from v2m4 import kernels

    if not kernels.compiled():
        with kernel_progress() as done:
            kernels.compile_all(done)
