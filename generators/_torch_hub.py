"""Loading of networks by ``torch.hub`` from local files only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from v2m4.config import Config
from v2m4.preflight.generators import hub_folder


@contextmanager
def from_disk(code: str, config: Config) -> Iterator[None]:
    """Context in which ``torch.hub.load`` reads a local repository: by itself it queries GitHub even if one exists.

    Args:
        code: folder of the repository's code in the hub's folder; if it is missing, torch.hub fetches it.
        config: gives the hub's folder (``weights_dir``).
    """
    before, hub, members = torch.hub.get_dir(), hub_folder(config), vars(torch.hub)
    load = members["load"]

    def load_local(repository: str, model: str, **options: Any) -> Any:
        return load(str(hub / code), model, source="local", **options)

    torch.hub.set_dir(str(hub))
    if (hub / code).is_dir():
        members["load"] = load_local
    try:
        yield
    finally:
        members["load"] = load
        torch.hub.set_dir(before)
