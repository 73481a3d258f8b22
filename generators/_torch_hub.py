"""Networks that an owner loads through torch.hub, from the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from v2m4.config import Config
from v2m4.preflight.generators import hub_folder


@contextmanager
def from_disk(code: str, config: Config) -> Iterator[None]:
    """Let ``torch.hub.load`` take what lies on the disk: it asks GitHub for the branch even then.

    Args:
        code: name of the folder that holds the repository's code; where it is not there, torch.hub fetches it.
        config: ``weights_dir`` counts here.
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
