"""Third-party networks: loaded and run so that their code has no side effects on this process."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from v2m4.config import Config
from v2m4.device import device_of
from v2m4.threads import for_networks
from v2m4.weights import Needs, Unavailable, get_weights, hub_offline

log = logging.getLogger(__name__)


@contextmanager
def owners_code(seed: int) -> Iterator[None]:
    """Context for third-party code, which may seed, print and warn.

    PyTorch's global generators are seeded, and restored afterwards; standard output goes to the log; the Hugging Face
    client is offline; on the CPU all threads are used.
    """
    printed = io.StringIO()
    try:
        with (
            hub_offline(),
            torch.random.fork_rng(),
            redirect_stdout(printed),
            warnings.catch_warnings(),
            for_networks(),
        ):
            warnings.simplefilter("ignore")  # deprecations, which a user cannot fix
            torch.manual_seed(seed)
            yield
    finally:
        if printed.getvalue():
            log.debug("%s", printed.getvalue().rstrip())


@contextmanager
def loading(part: str, place: Path, seed: int = 0) -> Iterator[None]:
    """Context for third-party code that loads a network.

    Args:
        part: name of the network, for the message.
        place: path that is loaded.
        seed: for networks that are filled with noise before their weights are read.

    Raises:
        Unavailable: it cannot be loaded, in one line.
    """
    try:
        with owners_code(seed):
            yield
    except Exception as error:  # import, json, pickle, safetensors, key and shape errors: each owner has its own
        line = " ".join(str(error).split())[:200]
        raise Unavailable(f"{part} cannot be loaded from {place}: {type(error).__name__}: {line}") from error


@dataclass(frozen=True)
class OwnersNetwork:
    """A third-party network for inference only.

    Attributes:
        network: the module.
        device: for inference.
        seed: of PyTorch's generators during inference.
        low_memory: whether it is moved to main memory between uses.
    """

    network: Any
    device: torch.device
    seed: int
    low_memory: bool

    @classmethod
    def load(
        cls, part: str, needs: Needs, config: Config, make: Callable[[Path], Any], file: str = ""
    ) -> OwnersNetwork:
        """Load a network, as the options require.

        Args:
            part: its name, for messages.
            needs: what it needs; its first weights are loaded.
            config: all options.
            make: the owner's loader; given their folder, or a file in it.
            file: of the weights' folder.

        Raises:
            Unavailable: a package or weights are missing, or cannot be loaded.
        """
        needs.check(config)
        place = get_weights(needs.weights[0], config) / file
        with loading(part, place, config.seed):
            network = make(place)
        return cls(network.requires_grad_(False), device_of(config), config.seed, config.low_vram)

    @contextmanager
    def at_work(self) -> Iterator[Any]:
        """Yield the network on its device, in the context of ``owners_code``."""
        self.network.to(self.device)
        with owners_code(self.seed):
            yield self.network
        if self.low_memory:
            self.network.to("cpu")
