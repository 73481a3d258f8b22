"""Networks of other people: loaded and run so that their code leaves nothing behind."""

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
    """Around the code of an owner that seeds, prints and warns as it likes.

    PyTorch's global generators are seeded, and put back afterwards; what is printed goes to the log; the Hugging Face
    client is offline. On the CPU networks have all threads.
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
            warnings.simplefilter("ignore")  # of deprecated names: nothing that a user could mend
            torch.manual_seed(seed)
            yield
    finally:
        if printed.getvalue():
            log.debug("%s", printed.getvalue().rstrip())


@contextmanager
def loading(part: str, place: Path, seed: int = 0) -> Iterator[None]:
    """Around the code of an owner that loads a network.

    Args:
        part: its name, for the message.
        place: what is loaded.
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
    """A network that is only asked, never trained.

    Attributes:
        network: the owner's.
        device: where it works.
        seed: of whatever randomness its owner's code has.
        low_memory: whether it waits in main memory.
    """

    network: Any
    device: torch.device
    seed: int
    low_memory: bool

    @classmethod
    def load(
        cls, part: str, needs: Needs, config: Config, make: Callable[[Path], Any], file: str = ""
    ) -> OwnersNetwork:
        """The network as the options want it used.

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
        """The network on its device, its owner's code kept apart."""
        self.network.to(self.device)
        with owners_code(self.seed):
            yield self.network
        if self.low_memory:
            self.network.to("cpu")
