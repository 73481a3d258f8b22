"""Descents that are killed again and again, for the tests of their resumption."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from v2m4 import partial_results
from v2m4.adam import AdamUniform
from v2m4.partial_results import PartialResults

Result = TypeVar("Result")


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_every(steps: int, folder: Path, run: Callable[[PartialResults], Result]) -> tuple[Result, int]:
    """Result of runs that are each killed before a step, until one is not, and the number of kills.

    Args:
        steps: of a descent that each run does.
        folder: of the stored parts.
        run: computes the result.
    """
    step, kills = AdamUniform.step, 0
    while True:
        done = 0

        def counted(self: AdamUniform) -> None:
            nonlocal done
            done += 1
            if done > steps:
                raise Killed
            step(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partial_results, "INTERVAL", 0.0)
            patch.setattr(AdamUniform, "step", counted)
            try:
                return run(PartialResults(folder, "key")), kills
            except Killed:
                kills += 1
                assert kills < 50
