"""Errors of engines, and outcomes of animations whose process did not live to report one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from v2m4.console import Outcome

if TYPE_CHECKING:
    from v2m4.engines.task import Task

log = logging.getLogger(__name__)


class EngineError(Exception):
    """No animation can run with the engine as it was asked for; the message says in one line what to do."""


def lost(task: Task, reason: str) -> Outcome:
    """The outcome of an animation whose process ended without one; logs why."""
    outcome = Outcome(task.source.name, task.source.count, error=" ".join(reason.split()))
    log.error("%s: %s", outcome.name, outcome.error)
    return outcome
