"""Run the animations of a batch with the engine of ``--engine``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2m4 import threads
from v2m4.config import Config
from v2m4.console import Console, Outcome
from v2m4.engines.task import Task, Work, compile_kernels, name_of
from v2m4.sharding import shortest_first
from v2m4.workspace import peak_memory_mib

if TYPE_CHECKING:
    from v2m4.io.sources import Source


def run_batch(sources: Sequence[Source], config: Config, console: Console, work: Work) -> list[Outcome]:
    """Run all animations; the results do not depend on the engine nor on how many run at the same time.

    Args:
        sources: the animations.
        config: all options, resolved.
        console: shows the progress.
        work: runs one animation and reports its errors in the outcome; a function at the top level of a module.

    Returns:
        The outcome of every animation, in the order of ``sources``.

    Raises:
        EngineError: the engine cannot be reached, or has not the resources.
    """
    if config.engine != "local":
        config, sources = absolute(config), [replace(source, path=source.path.absolute()) for source in sources]
        tasks = [Task(source, config, name_of(work), console.way, 0) for source in sources]
        if config.engine == "ray":
            from v2m4.engines import ray_cluster

            return ray_cluster.run(tasks, config, console)
        from v2m4.engines import slurm

        return slurm.run(tasks, config, console)
    compile_kernels()  # before several processes would do so
    at_once = min(max(config.jobs, 1), len(sources))
    if at_once <= 1:
        return in_this_process(sources, config, console, work)
    from v2m4.engines import local

    share = max(threads.count() // at_once, 1)
    return local.run([Task(source, config, name_of(work), console.way, share) for source in sources], at_once, console)


def in_this_process(sources: Sequence[Source], config: Config, console: Console, work: Work) -> list[Outcome]:
    """Run the animations one after the other, the shortest first, so that there is soon one to look at.

    As ``run_batch``.
    """
    outcomes = {}
    for number, source in enumerate(shortest_first(sources), 1):
        with console.animation(source.name, number, len(sources), source.count) as progress:
            outcomes[source.name] = replace(work(source, config, progress), peak_memory_mib=peak_memory_mib())
    return [outcomes[source.name] for source in sources]


def absolute(config: Config) -> Config:
    """The options with absolute paths, for processes that work in other folders."""
    changed: dict[str, Any] = {
        field.name: value.absolute()
        for field in fields(config)
        if isinstance(value := getattr(config, field.name), Path)
    }
    return replace(config, **changed)
