"""Animations as tasks of a Ray cluster (``--engine ray``), on nodes that share the output folder.

Ray starts a task again when its node or process has died; it then goes on from the last artefact on disk.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from v2m4 import threads
from v2m4.config import Config
from v2m4.console import REFRESH, Console, Outcome
from v2m4.engines.events import EventFiles
from v2m4.engines.failure import EngineError, lost
from v2m4.engines.node import arrived, perform_on_node
from v2m4.engines.progress import BatchProgress
from v2m4.engines.resources import GIB, Resources, requested, shortage
from v2m4.engines.task import Task
from v2m4.python_path import python_path
from v2m4.report import NOTICE
from v2m4.sharding import longest_first

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds that tasks have to end after Ctrl-C
OBJECT_STORE = 100 * 2**20  # bytes, of a cluster of our own: tasks and outcomes are small


def run(tasks: Sequence[Task], config: Config, console: Console) -> list[Outcome]:
    """Run the tasks, the longest first, and wait for them.

    Args:
        tasks: of animations with unique names; paths are absolute, and the same on all nodes.
        config: all options.
        console: shows the progress.

    Returns:
        The outcomes in the order of the tasks.

    Raises:
        EngineError: the cluster cannot be reached, or no node had the resources for ``cluster.timeout`` seconds.
    """
    by_name = {task.source.name: task for task in tasks}
    waiting = [by_name[source.name] for source in longest_first([task.source for task in tasks])]
    with _connected(config) as ray:
        request = requested(config, _nodes(ray))
        log.info("Ray cluster of %d nodes; for each animation %s", len(_nodes(ray)), request, extra=NOTICE)
        batch = _Batch(ray, waiting, request, config)
        with BatchProgress(tasks, console, batch.at_once) as progress:
            outcomes = batch.run(progress)
    return [outcomes[task.source.name] for task in tasks]


class _Batch:
    """The tasks of one run: waiting, submitted, ended."""

    def __init__(self, ray: Any, waiting: list[Task], request: Resources, config: Config) -> None:
        self._ray, self._waiting, self._request, self._config = ray, waiting, request, config
        self.at_once = config.jobs or len(waiting)
        self._remote = ray.remote(perform_on_node).options(
            num_cpus=request.cpus,
            num_gpus=request.gpus,
            memory=round(request.memory * GIB) or None,
            max_retries=config.cluster.retries,
        )
        self._submitted: dict[Any, Task] = {}
        self._short_since: float | None = None

    def run(self, progress: BatchProgress) -> dict[str, Outcome]:
        """Run all tasks; the outcomes by name."""
        outcomes: dict[str, Outcome] = {}
        files = EventFiles(self._config.output / f".progress-{uuid.uuid4().hex[:8]}")
        try:
            while self._waiting or self._submitted:
                while self._waiting and len(self._submitted) < self.at_once:
                    task = replace(self._waiting.pop(0), threads=self._config.threads or int(self._request.cpus))
                    number = len(outcomes) + len(self._submitted)
                    self._submitted[self._remote.remote(task, str(files.file(number)))] = task
                ended, _ = self._ray.wait(list(self._submitted), timeout=REFRESH)
                for event in files.new():
                    progress.handle(event)
                for reference in ended:
                    outcome = self._outcome(reference, self._submitted.pop(reference))
                    outcomes[outcome.name] = outcome
                    progress.end(outcome)
                progress.refresh()
                short = self._short()
                if short and not outcomes:
                    raise EngineError(f"--engine ray: {short}")
                if short:
                    for task in [*self._submitted.values(), *self._waiting]:
                        outcomes[task.source.name] = lost(task, short)
                        progress.end(outcomes[task.source.name])
                    break
        finally:
            self._cancel()
            files.remove()
        return outcomes

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        """The outcome of a task that has ended, whichever way."""
        try:
            return arrived(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            return lost(task, f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}")

    def _short(self) -> str:
        """Why no node could run an animation for ``cluster.timeout`` seconds; empty if one can."""
        now, nodes = time.monotonic(), _nodes(self._ray)
        if any(node.hold(self._request) for node in nodes):
            self._short_since = None
            return ""
        if self._short_since is None:
            self._short_since = now
            log.warning("waiting %g s for a node: %s", self._config.cluster.timeout, shortage(self._request, nodes))
        return shortage(self._request, nodes) if now - self._short_since >= self._config.cluster.timeout else ""

    def _cancel(self) -> None:
        """Interrupt the tasks that still run, and end those that have not ended after ``GRACE`` seconds."""
        references = list(self._submitted)
        for force in (False, True):
            for reference in references:
                self._ray.cancel(reference, force=force)
            if references:
                _, references = self._ray.wait(references, num_returns=len(references), timeout=GRACE)


def _nodes(ray: Any) -> list[Resources]:
    """The nodes of the cluster that are alive."""
    found = []
    for node in ray.nodes():
        there = node["Resources"]
        if node["Alive"]:
            memory = there.get("memory", 0) / GIB
            found.append(Resources(there.get("CPU", 0), there.get("GPU", 0), memory, node["NodeManagerHostname"]))
    return found


@contextmanager
def _connected(config: Config) -> Iterator[Any]:
    """Connect to the cluster of ``--ray_address`` or RAY_ADDRESS, or to one that is started on this machine.

    Raises:
        EngineError: there is none at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own reports nothing to Ray's makers
    import ray

    address = config.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if address == "local":
        options = {"num_cpus": threads.count(), "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
            log_to_driver=config.verbose,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EngineError(f"--engine ray: no cluster at {address} ({' '.join(str(error).split())[:300]})") from error
    try:
        yield ray
    finally:
        ray.shutdown()
