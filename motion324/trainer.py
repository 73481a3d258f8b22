"""The state of a training run: network, moving average of its weights, optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motion324.dataset import Batch
from motion324.flow_network import AnyMotionNetwork, motion_network
from motion324.options import RunConfig, TrainingConfig
from v2m4.muon import Muon

ADAM_SHARE = 0.1  # of Muon's learning rate
OUTSIDE = (
    "latent_queries",
    "reference_tokens",
    "other_tokens",
    "head.3",
    "point_embedding",
    "observed_embedding.0",
    "frame_embedding.0",
    "patches",
    "stem",
    "scale",
)
EPSILON = 1e-4  # keeps the gradient of a distance finite
LEAST_DISPLACEMENT = 0.1  # of the size, added to the true displacement that a relative loss divides by


def rate_factor(progress: float, step: int, config: TrainingConfig) -> float:
    """Factor on the learning rate: a linear rise over the first steps, and a half cosine over the schedule.

    Args:
        progress: share of the schedule that is over.
        step: number of the step, from 0.
        config: warm-up and last rate.
    """
    rise = min((step + 1) / max(config.warmup, 1), 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return rise * (config.last_lr + (1 - config.last_lr) * cosine)


def loss_of(predicted: Tensor, targets: Tensor, kind: str) -> Tensor:
    """Loss of predicted positions (B, T, Q, 3); the true ones of frame 0 are the reference's.

    Args:
        predicted: positions.
        targets: true positions.
        kind: ``mse`` of coordinates, mean ``distance``, or ``relative``: the mean distance of each sample relative to
            its true mean displacement, so that a few samples that move much do not drown the others.
    """
    if kind == "mse":
        return (predicted - targets).square().mean()
    distance = ((predicted - targets).square().sum(-1) + EPSILON**2).sqrt().mean((1, 2))
    if kind == "relative":
        distance = distance / ((targets - targets[:, :1]).norm(dim=-1).mean((1, 2)) + LEAST_DISPLACEMENT)
    return distance.mean()


class Trainer:
    """Network, optimisers and their state, of one process.

    Args:
        config: of the run.
        device: of the network.
        world: number of processes that share each step.
    """

    def __init__(self, config: RunConfig, device: torch.device, world: int = 1) -> None:
        torch.manual_seed(config.training.seed)
        self.config, self.device, self.world = config.training, device, world
        self.network = motion_network(config.model, gradient_checkpointing=config.training.use_checkpoint).to(device)
        self.network.train()
        self.parallel: nn.Module = self.network
        if world > 1:
            self.parallel = DistributedDataParallel(
                self.network, device_ids=[device.index] if device.type == "cuda" else None
            )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimizers = _optimizers(self.network, config.training)
        self.step, self.seconds, self.best = 0, 0.0, math.inf

    @property
    def progress(self) -> float:
        """Share of the schedule that is over."""
        if self.config.minutes > 0:
            return self.seconds / (60 * self.config.minutes)
        return self.step / max(self.config.train_steps, 1)

    def train_step(self, batch_of: Callable[[int], Batch]) -> float:
        """One step; returns the loss of this process's samples.

        Args:
            batch_of: batch of each part of the step, whose gradients are added up.
        """
        total = 0.0
        count = self.config.grad_accum_steps
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        for part in range(count):
            batch = batch_of(part).to(self.device)
            if self.world > 1:
                self.parallel.require_backward_grad_sync = part == count - 1  # type: ignore[assignment]
            enabled = self.config.amp_dtype == "bf16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
                predicted = self.parallel(batch.surface, batch.frames, batch.queries, batch.crops)
            loss = loss_of(predicted.float(), batch.targets, self.config.loss) / count
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip_norm)
        factor = rate_factor(self.progress, self.step, self.config)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
        self.step += 1
        self._update_average()
        return total

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average; its memory grows to the configured one."""
        memory = self.config.average
        decay = min(1 - 1 / memory, (1 + self.step) / (10 + self.step)) if memory > 0 else 0.0
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self, network: AnyMotionNetwork) -> AnyMotionNetwork:
        """Load the averaged weights into a network of the same sizes."""
        network.load_state_dict(self.average)
        return network

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on."""
        return {
            "network": self.network.state_dict(), "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step, "seconds": self.seconds, "best": self.best,
        }  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the state; the file appears whole."""
        temporary = path.with_name(path.name + ".tmp")
        torch.save(self.state(), temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a state.

        Raises:
            ValueError: it is of a network of other sizes.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(f"{path}: a state of a network of other sizes; give another --output") from error
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["full_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(its)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):  # those of this run's options
                group["full_lr"] = rate
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]


def _optimizers(network: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW, without decay of biases, norms and tokens; with Muon for the matrices inside of the network."""
    inner: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2 and not name.endswith("_tokens")
        if config.optimizer == "muon" and matrix and not any(part in name for part in OUTSIDE):
            inner.append(parameter)
        else:
            (decayed if matrix else plain).append(parameter)
    rate = config.lr * (ADAM_SHARE if config.optimizer == "muon" else 1.0)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(config.beta1, config.beta2), fused=True)
    optimizers: list[torch.optim.Optimizer] = [adam]
    if inner:
        optimizers.append(Muon(inner, config.lr, config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers
