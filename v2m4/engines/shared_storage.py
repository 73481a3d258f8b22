"""Check that what a node of a cluster wrote is on storage that this machine shares with it."""

from __future__ import annotations

import time
from dataclasses import replace

from v2m4.console import Outcome

PATIENCE = 10.0  # seconds until a file that another machine wrote is seen here (NFS caches folders)


def arrived(outcome: Outcome) -> Outcome:
    """The outcome, or a failed one where its result is not to be seen here."""
    if outcome.result is None:
        return outcome
    deadline = time.monotonic() + PATIENCE
    while not outcome.result.exists():
        if time.monotonic() > deadline:
            error = f"{outcome.result} was written on another machine and is not here; give an --output that all share"
            return replace(outcome, result=None, error=error)
        time.sleep(0.5)
    return outcome
