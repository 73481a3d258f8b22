"""State of a stochastic descent between two steps, stored while it runs, so that a killed one goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from v2m4.adam import AdamUniform
from v2m4.files import Arrays
from v2m4.memory import return_free_memory
from v2m4.partial_results import PartialResults

CURVE = "curve_"  # prefix of the curves' names among the arrays
STEPPED_BYTES = 64 << 20  # of the variable, all steps together, between two returns of freed memory, 0.03 s each
GENERATOR = "generator"  # name of the random generator's state


class DescentState:
    """Variable, moments of the optimizer, random generator, order of the frames and curves of a descent.

    They are restored at once where ``parts`` has them.

    Args:
        parts: storage of the state.
        name: of the state there.
        variable: leaf that is optimised; changed in place.
        optimizer: of the variable alone.
        generator: of all random samples.

    Attributes:
        steps: number of steps that are done.
        order: frames that are still to be drawn.
        curves: each term's values at every step.
    """

    def __init__(
        self, parts: PartialResults, name: str, variable: Tensor, optimizer: AdamUniform, generator: torch.Generator
    ) -> None:
        self._parts, self._name = parts, name
        self._variable, self._optimizer, self._generator = variable, optimizer, generator
        self.steps = 0
        self.order: list[int] = []
        self.curves: dict[str, list[Tensor]] = {}
        stored = parts.load(name)
        if stored is not None:
            self._restore(stored)

    def add(self, values: Mapping[str, Tensor], may_be_stored: bool = True) -> None:
        """Note a finished step and its values; the state is stored from time to time.

        Args:
            values: of the terms.
            may_be_stored: the next step depends on nothing but what is stored here.
        """
        self.steps += 1
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
        if may_be_stored:
            self._parts.save(self._name, self._arrays)
        if self.steps % max(1, STEPPED_BYTES // max(self._variable.nbytes, 1)) == 0:
            return_free_memory()

    def _arrays(self) -> Arrays:
        moments = self._optimizer.state[self._variable]
        return {
            "variable": self._variable.detach().cpu().numpy(),
            "first": moments["first"].cpu().numpy(),
            "second": moments["second"].cpu().numpy(),
            "steps": np.array(self.steps),
            "order": np.array(self.order, np.int64),
            GENERATOR: self._generator.get_state().numpy(),
            **{CURVE + name: torch.stack(values).cpu().numpy() for name, values in self.curves.items()},
        }

    def _restore(self, stored: Arrays) -> None:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(stored[name]).to(self._variable.device)

        with torch.no_grad():
            self._variable.copy_(tensor("variable"))
        self.steps, self.order = int(stored["steps"]), stored["order"].tolist()
        moments = {"step": self.steps, "first": tensor("first"), "second": tensor("second")}
        self._optimizer.state[self._variable] = moments
        self._generator.set_state(torch.from_numpy(stored[GENERATOR]))
        self.curves = {
            name.removeprefix(CURVE): list(tensor(name).unbind()) for name in stored if name.startswith(CURVE)
        }


def stored_with_generator(
    parts: PartialResults, name: str, generator: torch.Generator, make: Callable[[], Arrays]
) -> Arrays:
    """Arrays of a part of a result whose computation draws random numbers: the generator goes on as after it."""

    def with_state() -> Arrays:
        return {**make(), GENERATOR: generator.get_state().numpy()}

    stored = parts.arrays(name, with_state)
    generator.set_state(torch.from_numpy(stored[GENERATOR]))
    return stored
