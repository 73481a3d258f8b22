"""Less GPU memory: one network of a pipeline on the device at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn


class OneAtATime:
    """Brings a network to the device when it, or one of its direct children, is called, and sends the others away.

    For owners' pipelines whose own offloading does not work: hy3dgen's asks for ``components`` that it does not have.

    Args:
        networks: by name; each starts in main memory.
        device: where they work.
    """

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device) -> None:
        self.device = device
        self.present: nn.Module | None = None
        for network in networks.values():
            network.to("cpu")
            for part in (network, *network.children()):
                part.register_forward_pre_hook(partial(self._before, network), with_kwargs=True)

    def _before(self, network: nn.Module, module: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
        """Bring the network, and to it what it is called with: owners ask a network that is away where it is."""
        self.bring(network)

        def moved(value: Any) -> Any:
            return value.to(self.device) if isinstance(value, torch.Tensor) else value

        return tuple(moved(value) for value in inputs), {name: moved(value) for name, value in named.items()}

    def bring(self, network: nn.Module) -> None:
        """Make ``network`` the one on the device."""
        if self.present is network:
            return
        self.release()
        with torch.inference_mode(False):  # or its parameters would never again serve outside of inference
            network.to(self.device)
        self.present = network

    def release(self) -> None:
        """Send the network that is on the device back to main memory."""
        if self.present is not None:
            with torch.inference_mode(False):
                self.present.to("cpu")
            self.present = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
