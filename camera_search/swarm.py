"""Particle swarm optimisation with several islands.

A swarm with one global best abandons the second-best view after a few rounds, but the silhouettes of an object's front
and back are nearly equal. So every promising view has its own small swarm (an island); all islands are evaluated in one
batch, and those whose best value is too far below the highest end early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

INERTIA = 0.5  # V2M4's released value
ATTRACTION = 1.4  # to a particle's own best, and to its island's


@dataclass(frozen=True)
class SwarmResult:
    """Best positions and values of all islands.

    Attributes:
        positions: (G, D) best position of each of G islands.
        values: (G,) their values.
        history: best value of all islands initially and after every round.
    """

    positions: Tensor
    values: Tensor
    history: list[float]


def particle_swarm(
    function: Callable[[Tensor], Tensor],
    starts: Tensor,
    spread: Tensor,
    particles: int,
    steps: int,
    generator: torch.Generator,
    margin: float = float("inf"),
    patience: int = 4,
    tolerance: float = 5e-4,
) -> SwarmResult:
    """Maxima of a function of D numbers from several starts, by particle swarm optimisation.

    Source: Kennedy and Eberhart 1995; V2M4 section 3.2 (25 rounds, inertia 0.5).

    Args:
        function: values (B,) of positions (B, D); larger is better.
        starts: (G, D) first particle of each island; or (G, P, D) all particles of each island.
        spread: (D,) standard deviation of the other particles about their start; velocities begin at half of it.
        particles: number of particles of all islands together, at least three on each; unused with (G, P, D) starts.
        steps: rounds at most.
        generator: source of randomness.
        margin: an island ends when its best value is lower than the highest one by more than this.
        patience: rounds without progress after which an island ends.
        tolerance: smaller gains are no progress.

    Raises:
        ValueError: no start is given.
    """
    count, dimensions = len(starts), starts.shape[-1]
    if count == 0 or starts.numel() == 0:
        raise ValueError("particle_swarm: no start given")
    if starts.ndim == 3:
        size, position = starts.shape[1], starts.clone()
    else:
        size = max(3, particles // count)
        noise = torch.randn(count, size, dimensions, generator=generator).to(starts) * spread
        noise[:, 0] = 0.0
        position = starts[:, None] + noise
    velocity = 0.5 * torch.randn(count, size, dimensions, generator=generator).to(starts) * spread
    value = function(position.reshape(-1, dimensions)).reshape(count, size)
    personal_best, personal_best_value = position.clone(), value.clone()
    active = torch.ones(count, dtype=torch.bool, device=starts.device)
    stalled_rounds = torch.zeros(count, dtype=torch.long, device=starts.device)
    history = [float(personal_best_value.max())]
    for _ in range(steps):
        best_value, leader = personal_best_value.max(1)
        active &= (best_value >= best_value.max() - margin) & (stalled_rounds < patience)
        # Random factors for all islands, so that the end of one does not change those of another.
        factors = torch.rand(2, count, size, dimensions, generator=generator).to(starts)
        active_indices = torch.nonzero(active)[:, 0]
        if len(active_indices) == 0:
            break
        best = personal_best[torch.arange(count, device=starts.device), leader]
        to_personal_best, to_island_best = personal_best - position, best[:, None] - position
        velocity = INERTIA * velocity + ATTRACTION * (factors[0] * to_personal_best + factors[1] * to_island_best)
        position = torch.where(active[:, None, None], position + velocity, position)
        value = function(position[active_indices].reshape(-1, dimensions)).reshape(len(active_indices), size)
        improved = value > personal_best_value[active_indices]
        personal_best[active_indices] = torch.where(
            improved[..., None], position[active_indices], personal_best[active_indices]
        )
        personal_best_value[active_indices] = torch.where(improved, value, personal_best_value[active_indices])
        progress = personal_best_value.amax(1) > best_value + tolerance
        stalled_rounds = torch.where(progress, torch.zeros_like(stalled_rounds), stalled_rounds + 1)
        history.append(float(personal_best_value.max()))
    best_value, leader = personal_best_value.max(1)
    return SwarmResult(personal_best[torch.arange(count, device=starts.device), leader], best_value, history)
