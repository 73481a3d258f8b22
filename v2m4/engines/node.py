"""Work on a node of a cluster, and the check that what it wrote is on storage that the driver shares with it."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from pathlib import Path

from v2m4.console import Outcome
from v2m4.engines.events import has_ended_a_stage, sender_to
from v2m4.engines.task import Task, perform

PATIENCE = 10.0  # seconds until a file that another machine wrote is seen here (NFS caches folders)


def perform_on_node(task: Task, file: str) -> Outcome:
    """Run one animation on this node; errors name the node.

    Started again after an interruption, it goes on from what is on disk: ``--overwrite`` discards earlier runs only.

    Args:
        task: the animation.
        file: path of its events, on storage that the driver shares.
    """
    events = Path(file)
    if task.config.overwrite and has_ended_a_stage(events):
        task = replace(task, config=replace(task.config, overwrite=False))
    outcome = perform(task, sender_to(events))
    return replace(outcome, error=f"{outcome.error} (on {platform.node()})") if outcome.error else outcome


def arrived(outcome: Outcome) -> Outcome:
    """The outcome, or a failed one where its result is not to be seen on this machine."""
    if outcome.result is None:
        return outcome
    deadline = time.monotonic() + PATIENCE
    while not outcome.result.exists():
        if time.monotonic() > deadline:
            error = f"{outcome.result} was written on another machine and is not here; give an --output that all share"
            return replace(outcome, result=None, error=error)
        time.sleep(0.5)
    return outcome
