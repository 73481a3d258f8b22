"""The descent on vertices. It knows terms only by their protocol: a new term needs no change here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.elasticity.large_steps import AdamUniform, LargeSteps
from registration.keyframes.energy import State, Term, total


@dataclass(frozen=True)
class Descent:
    """Where a descent ended and how it went.

    Attributes:
        vertices: (V, 3).
        curves: each term's unweighted value at every step, (steps,).
        trusted: the pose has the shape of the key frame's own mesh, which turned out to be right all round.
    """

    vertices: Tensor
    curves: dict[str, np.ndarray]
    trusted: bool = False


def cosine(step: int, steps: int, last: float = 0.1) -> float:
    """Learning rate at a step, relative to the first: half a cosine from 1 to ``last``."""
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))


def descend(
    vertices: Tensor,
    terms: Sequence[Term],
    large_steps: LargeSteps,
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> Descent:
    """Minimise the sum of the terms.

    Args:
        vertices: (V, 3), where to start.
        terms: the energy.
        large_steps: the change of variables.
        steps: how many.
        rate: length of the longest step at first, in units of the vertices.
        generator: for terms that draw at random.
    """
    differential = large_steps.to_differential(vertices.detach()).requires_grad_()
    optimizer = AdamUniform([differential], lr=rate, betas=(0.9, 0.99))
    curves: dict[str, list[Tensor]] = {}
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * cosine(step, steps)
        optimizer.zero_grad()
        energy, values = total(terms, State(large_steps.from_differential(differential), step, generator))
        energy.backward()
        optimizer.step()
        for name, value in values.items():
            curves.setdefault(name, []).append(value)
    found = large_steps.from_differential(differential.detach()).detach()
    return Descent(found, read_curves(curves))


def read_curves(curves: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    """Each term's values, noted as tensors (), as arrays (steps,) float32: one wait for a GPU instead of many."""
    return {name: torch.stack(list(values)).float().cpu().numpy() for name, values in curves.items()}
