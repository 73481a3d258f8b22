"""Appearance refinement: the negative condition of a flow-matching sampler, optimised while it samples.

A sampler with classifier-free guidance is steered by two embeddings, the frame's and a negative one. The camera of the
frame is known once stage 2 has found it; the negative embedding is then moved, during the later steps of sampling, so
that what the steps lead to looks like the frame from there.

Source: V2M4 (arXiv 2503.09631), section 4.2, and its released values: Adam 0.1, 5 + step // 5 iterations a step while
t <= 0.6, loss of the renders + 0.2 x MSE to where the embedding started, guidance in the whole of [0, 1].
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
Term = Callable[[Tensor, Tensor], Tensor]  # render and picture, (H, W, 3) each, to a distance


@runtime_checkable
class Refining(Protocol):
    """A generator that can make a mesh anew, towards its frame, once the frame's camera is known."""

    def refine(self, frame: Frame, camera: Camera, terms: Sequence[Term] = ()) -> Mesh:
        """The mesh that ``generate`` makes of the frame, in the same pose, with another appearance.

        The result follows from the frame, the camera, the terms and the config alone.

        Args:
            frame: any.
            camera: batch of 1, of the canonical pose.
            terms: learned distances that are added to the mean squared error.
        """
        ...


class Flow(Protocol[State]):
    """A flow-matching sampler, opened up step by step."""

    @property
    def times(self) -> Sequence[tuple[float, float]]:
        """Each step's time and the next one, from 1 (noise) to 0."""
        ...

    def noise(self) -> State:
        """Where sampling starts; the same at every call."""
        ...

    def step(self, sample: State, time: float, earlier: float, negative: Tensor) -> tuple[State, State]:
        """One step under guidance: the sample at ``earlier``, and the clean sample that it leads to.

        Both are differentiable in ``negative``.
        """
        ...


@dataclass(frozen=True)
class Refinement:
    """How the embedding is optimised; the values are V2M4's."""

    rate: float = 0.1
    iterations: int = 5
    more_every: int = 5  # one iteration more in every so many steps
    until: float = 0.6  # the shape stands by then
    pull: float = 0.2


@dataclass(frozen=True)
class Refined(Generic[State]):
    """What came out.

    Attributes:
        sample: the clean sample.
        negative: the embedding in the end.
        losses: of every optimised step, the losses before each iteration.
    """

    sample: State
    negative: Tensor
    losses: list[list[float]] = field(default_factory=list)


def refine(
    flow: Flow[State], negative: Tensor, loss_of: Callable[[State], Tensor], options: Refinement | None = None
) -> Refined[State]:
    """Sample while the negative embedding follows a loss of the predicted clean sample.

    Args:
        flow: the sampler.
        negative: the embedding to start from, and to stay near to.
        loss_of: scalar, differentiable.
        options: V2M4's if left out.
    """
    options = options or Refinement()
    start = negative.detach()
    moved = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([moved], lr=options.rate)
    losses = []
    sample = flow.noise()
    for index, (time, earlier) in enumerate(flow.times):
        if time <= options.until:
            told = []
            for _ in range(options.iterations + index // options.more_every):
                optimizer.zero_grad()
                with torch.enable_grad():
                    _, clean = flow.step(sample, time, earlier, moved)
                    loss = loss_of(clean) + options.pull * mse_loss(moved, start)
                loss.backward()
                optimizer.step()
                told.append(loss.item())
            losses.append(told)
        with torch.no_grad():
            sample, _ = flow.step(sample, time, earlier, moved)
    return Refined(sample, moved.detach(), losses)


def appearance_loss(render: Tensor, picture: Tensor, mask: Tensor, terms: Iterable[Term] = ()) -> Tensor:
    """How unlike the picture a render is where the picture shows the object.

    Args:
        render: (H, W, 3) on black.
        picture: (H, W, 3) on black.
        mask: (H, W, 1).
        terms: learned distances, each added with weight 1, as V2M4 adds DreamSim and LPIPS.
    """
    seen = render * mask
    return mse_loss(seen, picture) + sum((term(seen, picture) for term in terms), seen.new_zeros(()))
