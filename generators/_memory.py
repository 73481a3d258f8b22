"""Sequential offloading: only one network of a pipeline is on the device at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn


class SequentialOffload:
    """Moves a network to the device when it, or one of its direct children, is called, and the previous one back.

    For pipelines whose own offloading does not work: hy3dgen's uses an attribute ``components`` that it does not have.

    Args:
        networks: by name; each is moved to main memory first.
        device: on which they run.
    """

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device) -> None:
        self.device = device
        self.on_device: nn.Module | None = None
        for network in networks.values():
            network.to("cpu")
            for part in (network, *network.children()):
                part.register_forward_pre_hook(partial(self._before_forward, network), with_kwargs=True)

    def _before_forward(
        self, network: nn.Module, module: nn.Module, inputs: tuple, keywords: dict
    ) -> tuple[tuple, dict]:
        """Move the network and its inputs to the device: callers may have taken the device of an offloaded network."""
        self.load(network)

        def moved(value: Any) -> Any:
            return value.to(self.device) if isinstance(value, torch.Tensor) else value

        return tuple(moved(value) for value in inputs), {name: moved(value) for name, value in keywords.items()}

    def load(self, network: nn.Module) -> None:
        """Move ``network`` to the device, and the previous one back to main memory."""
        if self.on_device is network:
            return
        self.release()
        with torch.inference_mode(False):  # else its parameters could not be used outside inference mode any more
            network.to(self.device)
        self.on_device = network

    def release(self) -> None:
        """Move the network on the device back to main memory."""
        if self.on_device is not None:
            with torch.inference_mode(False):
                self.on_device.to("cpu")
            self.on_device = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
