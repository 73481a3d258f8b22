"""Gradient descent on the vertices of a pose: AdamUniform in the variables of Large Steps, for any energy terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.descent_state import DescentState
from registration.keyframes.energy import REDRAW_EVERY, State, Term, total
from v2m4.adam import AdamUniform
from v2m4.partial_results import PartialResults


@dataclass(frozen=True)
class Descent:
    """The result of a descent.

    Attributes:
        vertices: (V, 3).
        curves: each term's unweighted value at every step, (steps,).
        takes_shape: whether the pose has the shape of the key frame's own mesh (from non-rigid ICP);
            else that mesh was only one term of the energy.
    """

    vertices: Tensor
    curves: dict[str, np.ndarray]
    takes_shape: bool = False


def cosine(step: int, steps: int, last: float = 0.1) -> float:
    """Cosine learning-rate schedule: the factor at ``step`` of ``steps``, falling from 1 to ``last``."""
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))


def descend(
    vertices: Tensor,
    terms: Sequence[Term],
    large_steps: LargeSteps,
    steps: int,
    rate: float,
    generator: torch.Generator,
    parts: PartialResults | None = None,
) -> Descent:
    """Minimises the weighted sum of the terms by AdamUniform.

    Args:
        vertices: (V, 3), the initial pose.
        terms: of the energy.
        large_steps: the change of variables.
        steps: number of steps.
        rate: initial learning rate, the length of the longest step in units of the vertices.
        generator: of the terms' random samples.
        parts: storage of the state between two steps; None for none.
    """
    differential = large_steps.to_differential(vertices.detach()).requires_grad_()
    optimizer = AdamUniform([differential], lr=rate, betas=(0.9, 0.99))
    state = DescentState(parts or PartialResults(), "descent", differential, optimizer, generator)
    for step in range(state.steps, steps):
        optimizer.lr = rate * cosine(step, steps)
        optimizer.zero_grad()
        energy, values = total(terms, State(large_steps.from_differential(differential), step, generator))
        energy.backward()
        optimizer.step()
        state.add(values, may_be_stored=(step + 1) % REDRAW_EVERY == 0)
    optimum = large_steps.from_differential(differential.detach()).detach()
    return Descent(optimum, read_curves(state.curves))


def read_curves(curves: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    """Each term's values, a list of tensors (), as an array (steps,) float32, with one GPU synchronisation a term."""
    return {name: torch.stack(list(values)).float().cpu().numpy() for name, values in curves.items()}
