"""Particle swarms that maximise a function, several islands at once.

One swarm with one global best forgets the second-best view after a few rounds, and an object's front and back look much
alike in silhouette. So every promising view keeps its own small swarm (an island); the islands are evaluated in one
batch, and those that fall behind give their particles up.
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
    """What a swarm found.

    Attributes:
        positions: (G, D) the best of every island.
        values: (G,) their values.
        history: the best value of all after every round, the start included.
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
    """Maximise a function of D numbers from several starts.

    Source: Kennedy and Eberhart 1995; V2M4 section 3.2 (25 rounds, inertia 0.5).

    Args:
        function: values (B,) of positions (B, D); larger is better.
        starts: (G, D), each becomes an island's first particle, unchanged; or (G, P, D), all particles of each island.
        spread: (D,) standard deviation of the other particles about their start; velocities begin at half of it.
        particles: particles of all islands together; at least three on each. Does not count where they are given.
        steps: rounds at most.
        generator: source of randomness.
        margin: an island this far behind the best island stops.
        patience: rounds without progress after which an island stops.
        tolerance: progress smaller than this is none.

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
    own, own_value = position.clone(), value.clone()
    alive = torch.ones(count, dtype=torch.bool, device=starts.device)
    stale = torch.zeros(count, dtype=torch.long, device=starts.device)
    history = [float(own_value.max())]
    for _ in range(steps):
        best_value, leader = own_value.max(1)
        alive &= (best_value >= best_value.max() - margin) & (stale < patience)
        # The draws cover all islands, so that one island's end does not change another's luck.
        pulls = torch.rand(2, count, size, dimensions, generator=generator).to(starts)
        live = torch.nonzero(alive)[:, 0]
        if len(live) == 0:
            break
        best = own[torch.arange(count, device=starts.device), leader]
        to_own, to_best = own - position, best[:, None] - position
        velocity = INERTIA * velocity + ATTRACTION * (pulls[0] * to_own + pulls[1] * to_best)
        position = torch.where(alive[:, None, None], position + velocity, position)
        value = function(position[live].reshape(-1, dimensions)).reshape(len(live), size)
        better = value > own_value[live]
        own[live] = torch.where(better[..., None], position[live], own[live])
        own_value[live] = torch.where(better, value, own_value[live])
        progress = own_value.amax(1) > best_value + tolerance
        stale = torch.where(progress, torch.zeros_like(stale), stale + 1)
        history.append(float(own_value.max()))
    best_value, leader = own_value.max(1)
    return SwarmResult(own[torch.arange(count, device=starts.device), leader], best_value, history)
