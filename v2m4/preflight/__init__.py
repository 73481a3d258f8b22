"""What the learned parts need on this machine, all in one place: packages, weights, a GPU.

The stages ask here when they load a part, and the commands before any work. Nothing here imports PyTorch or what rests
on it: that takes seconds, and what is missing is told within one.
"""

from __future__ import annotations

from v2m4.config import Config
from v2m4.preflight import camera_search, foreground, generators, registration


def require(config: Config) -> None:
    """Refuse whatever the options ask for and cannot be had here.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    for part in (foreground, generators, camera_search, registration):
        part.require(config)
