"""The optimisers of the descents, Adam and AdamUniform, for plain tensors.

``torch.optim`` has the first of them, too; its first use imports PyTorch's compiler, which takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Adam:
    """Adam, with the same arithmetic as ``torch.optim.Adam``.

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.

    Args:
        parameters: leaves that are optimised, changed in place; their gradients are in ``grad``.
        lr: step size.
        betas: decay of the first and second moment.
        epsilon: added to the root of the second moment.

    Attributes:
        lr: may be changed between two steps.
        state: ``step``, and the moments ``first`` and ``second``, by parameter.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters, self.lr, self.betas, self.epsilon = list(parameters), lr, betas, epsilon
        self.state: dict[Tensor, dict[str, Any]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for parameter in self.parameters:
            if parameter.grad is None:
                continue
            if parameter not in self.state:
                zeros = torch.zeros_like(parameter)
                self.state[parameter] = {"step": 0, "first": zeros, "second": zeros.clone()}
            state = self.state[parameter]
            state["step"] += 1
            self._update(parameter, parameter.grad, state)

    def _update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        """Update the moments, and the parameter by them."""
        first_decay, second_decay = self.betas
        state["first"].lerp_(gradient, 1 - first_decay)
        state["second"].mul_(second_decay).addcmul_(gradient, gradient, value=1 - second_decay)
        root = state["second"].sqrt() / math.sqrt(1 - second_decay ** state["step"])
        parameter.addcdiv_(state["first"], root.add_(self.epsilon), value=-self.lr / (1 - first_decay ** state["step"]))


class AdamUniform(Adam):
    """Adam with one second moment for the whole tensor, so that the gradient keeps its direction.

    Source: Nicolet, Jacobson and Jakob 2021, "Large Steps in Inverse Rendering of Geometry", section 4: the step is the
    first moment over the root of the largest second moment, ``lr`` the length of the longest step.
    """

    def _update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> None:
        first_decay, second_decay = self.betas
        state["first"].lerp_(gradient, 1 - first_decay)
        state["second"].lerp_(gradient.square(), 1 - second_decay)
        mean = state["first"] / (1 - first_decay ** state["step"])
        largest = (state["second"].max() / (1 - second_decay ** state["step"])).sqrt()
        parameter.sub_(self.lr * mean / largest.clamp_min(1e-20))
