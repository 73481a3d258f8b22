"""The state of a training run: network, average of its weights, optimisers."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from generators.prior.dataset import Batch
from generators.prior.losses import loss, read_output, true_ramps
from generators.prior.network import Prior
from generators.prior.tilt import tilt_loss
from generators.prior.weights import read_weights
from v2m4.muon import Muon

log = logging.getLogger(__name__)

TILT_WEIGHT = 0.15
BODY_WEIGHT = 0.05


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network: Prior) -> None:
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: Prior, step: int) -> None:
        """Take a step in; the average's memory grows to 1,000 steps."""
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                self.state[name].lerp_(value, 1 - decay)


def rate_factor(progress: float) -> float:
    """Factor on the learning rate at a share of the schedule: linear warm-up, then a half cosine to 2%."""
    warm = 0.02
    if progress < warm:
        return max(progress / warm, 0.01)
    part = min((progress - warm) / (1 - warm), 1.0)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part))


@dataclass
class Trainer:
    """Network, optimiser and their state.

    Attributes:
        network: trained.
        average: of its weights.
        optimizers: Muon for the matrices inside of the network, AdamW for the rest.
        device: of the network.
        step: steps made, of all schedules.
        views: views used.
        seconds: of the current schedule that are over.
        best: least validation error of the average.
    """

    network: Prior
    average: Average
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    step: int = 0
    views: int = 0
    seconds: float = 0.0
    best: float = math.inf

    @classmethod
    def create(cls, rate: float, device: torch.device, seed: int) -> Trainer:
        """A fresh network."""
        torch.manual_seed(seed)
        network = Prior().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner, head, others = [], [], []
        for name, parameter in network.named_parameters():
            if name.startswith("head"):
                head.append(parameter)
            elif parameter.ndim in (2, 4) and not name.startswith("stem"):
                inner.append(parameter)
            else:
                others.append(parameter)
        # The head is zero at the start and sees hundreds of inputs of variance 1: a step of 4e-4 moves its output by
        # up to 0.17; it learnt faster than 1e-4 on views that are seen once.
        groups = [{"params": head, "lr": 0.08 * rate}, {"params": others, "lr": 0.2 * rate}]
        adam = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        optimizers: list[torch.optim.Optimizer] = [Muon(inner, rate, weight_decay=0.05), adam]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["full_lr"] = group["lr"]
        return cls(network, Average(network), optimizers, device)

    def train_step(self, batch: Batch, factor: float) -> float:
        """One step on a batch, with a factor on all learning rates; returns the loss."""
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network(batch.inputs)
        known = (batch.valid.amax((1, 2, 3)) > 0).float()
        value = loss(read_output(output, batch), batch)
        value = value + TILT_WEIGHT * (known * tilt_loss(output.tilt, true_ramps(batch))).mean()
        value = value + BODY_WEIGHT * binary_cross_entropy_with_logits(output.body, known)
        self.network.zero_grad()
        value.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
        self.step += 1
        self.views += len(batch.valid)
        self.average.update(self.network, self.step)
        return float(value.detach())

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Start from weights alone."""
        self.network.load_state_dict(state)
        self.average = Average(self.network)

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on."""
        return {
            "network": self.network.state_dict(), "average": self.average.state,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step, "views": self.views, "seconds": self.seconds, "best": self.best,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.state = {name: value.to(self.device) for name, value in state["average"].items()}
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["full_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(its)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):  # those of this run's options
                group["full_lr"] = rate
        self.step, self.views = state["step"], state["views"]
        self.seconds, self.best = state["seconds"], state["best"]


def restore(trainer: Trainer, folder: Path, start: Path | None) -> None:
    """Go on from the state in the folder, else from its weights, else from ``start``, else afresh."""
    state = folder / "state.pt"
    if state.exists():
        trainer.restore(torch.load(state, map_location=trainer.device, weights_only=True))
        log.info("going on from step %d, %d views", trainer.step, trainer.views)
        return
    weights = start if start is not None else folder / "best.safetensors"
    if start is not None or weights.exists():
        trainer.load_weights(read_weights(weights))
        log.info("starting from the weights of %s", weights)
