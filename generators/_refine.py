"""Appearance refinement: optimisation of the negative embedding of a flow-matching sampler while it samples.

A sampler with classifier-free guidance is conditioned on two embeddings, the frame's and a negative one. With the
camera of the frame known from stage 2, the negative embedding is optimised during the later sampling steps, so that
renders of the predicted clean sample match the frame.

Source: V2M4 (arXiv 2503.09631), section 4.2, and its released values: Adam 0.1, 5 + step // 5 iterations a step while
t <= 0.6, loss of the renders + 0.2 x MSE to the initial embedding, guidance in the whole of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh

State = TypeVar("State")
Term = Callable[[Tensor, Tensor], Tensor]  # distance of a render and an image, (H, W, 3) each


@runtime_checkable
class AppearanceRefiner(Protocol):
    """A generator that can regenerate a mesh with refined appearance, given the frame's camera."""

    def refine(self, frame: Frame, camera: Camera, terms: Sequence[Term] = ()) -> Mesh:
        """Mesh of the frame in the pose of ``generate``'s, with refined appearance.

        The result depends on the frame, the camera, the terms and the config only.

        Args:
            frame: with its background removed.
            camera: batch of 1, for the mesh in canonical pose.
            terms: learned distances, added to the mean squared error.
        """
        ...


class Flow(Protocol[State]):
    """A flow-matching sampler, by single steps."""

    @property
    def times(self) -> Sequence[tuple[float, float]]:
        """Time of each step and of the next one, from 1 (noise) to 0."""
        ...

    def noise(self) -> State:
        """Initial sample; the same at every call."""
        ...

    def step(self, sample: State, time: float, next_time: float, negative: Tensor) -> tuple[State, State]:
        """One guided step: the sample at ``next_time``, and the predicted clean sample.

        Both are differentiable in ``negative``.
        """
        ...


@dataclass(frozen=True)
class Refinement:
    """Options of the optimisation; the defaults are V2M4's.

    Attributes:
        rate: learning rate of Adam.
        iterations: of Adam in the first step.
        steps_per_extra_iteration: one iteration more in every so many steps.
        start_time: the first time at which the embedding is optimised; the shape is settled by then.
        prior_weight: weight of the mean squared difference to the initial embedding.
    """

    rate: float = 0.1
    iterations: int = 5
    steps_per_extra_iteration: int = 5
    start_time: float = 0.6
    prior_weight: float = 0.2


@dataclass(frozen=True)
class RefinementResult(Generic[State]):
    """Result of a refinement.

    Attributes:
        sample: the clean sample.
        negative: the optimised negative embedding.
        losses: for every optimised step, the losses before each iteration.
    """

    sample: State
    negative: Tensor
    losses: list[list[float]] = field(default_factory=list)


def refine(
    flow: Flow[State], negative: Tensor, loss_of: Callable[[State], Tensor], options: Refinement | None = None
) -> RefinementResult[State]:
    """Clean sample, with the negative embedding optimised by Adam on a loss of the predicted clean sample.

    Args:
        flow: the sampler.
        negative: initial negative embedding.
        loss_of: differentiable scalar loss of a clean sample.
        options: ``Refinement()`` if None.
    """
    options = options or Refinement()
    start = negative.detach()
    optimized = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([optimized], lr=options.rate)
    losses = []
    sample = flow.noise()
    for index, (time, next_time) in enumerate(flow.times):
        if time <= options.start_time:
            step_losses = []
            for _ in range(options.iterations + index // options.steps_per_extra_iteration):
                optimizer.zero_grad()
                with torch.enable_grad():
                    _, clean = flow.step(sample, time, next_time, optimized)
                    loss = loss_of(clean) + options.prior_weight * mse_loss(optimized, start)
                loss.backward()
                optimizer.step()
                step_losses.append(loss.item())
            losses.append(step_losses)
        with torch.no_grad():
            sample, _ = flow.step(sample, time, next_time, optimized)
    return RefinementResult(sample, optimized.detach(), losses)


def appearance_loss(render: Tensor, picture: Tensor, mask: Tensor, terms: Iterable[Term] = ()) -> Tensor:
    """Photometric error of a render within the mask of the frame.

    Args:
        render: (H, W, 3) on black.
        picture: (H, W, 3) on black.
        mask: (H, W, 1).
        terms: learned distances, each added with weight 1, as V2M4 adds DreamSim and LPIPS.
    """
    masked_render = render * mask
    return mse_loss(masked_render, picture) + sum(
        (term(masked_render, picture) for term in terms), masked_render.new_zeros(())
    )
