"""What the learned parts need on this machine, all in one place: packages, weights, a GPU.

The stages ask here when they load a part, and the commands before any work. Nothing here imports PyTorch or what rests
on it before all that can be refused has been: that takes seconds, and what is missing is told within one.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from v2m4.config import Config
from v2m4.device import NoCuda, choose_device
from v2m4.preflight import camera_search, foreground, generators, published, registration
from v2m4.weights import Unavailable

log = logging.getLogger("v2m4.preflight")


def require(config: Config) -> None:
    """Refuse whatever the options ask for and cannot be had here.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    for part in (foreground, generators, camera_search, registration):
        part.require(config)


def resolve(config: Config) -> Config:
    """Decide the device and every ``published`` part, and refuse what cannot be had here, before any work.

    One line of the log says why a GPU that is in sight is not used, and one which parts stand in for published ones.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    try:
        device = choose_device(config.device)
        resolved, stand_ins = _checked(config, device.name)
        if device.name == "cuda":  # what can be refused without PyTorch has been: now it is worth its seconds
            device = choose_device(config.device, load=True)
            resolved, stand_ins = _checked(config, device.name)
    except NoCuda as error:
        raise Unavailable(str(error)) from error
    if device.missing:
        log.warning("the GPU is not used: %s", device.missing)
    if stand_ins:
        log.warning("%s", stand_ins)
    return resolved


def _checked(config: Config, device: str) -> tuple[Config, str]:
    """The options for a device, none of them ``published``, all of them to be had; and what stands in for what."""
    resolved, stand_ins = published.resolve(replace(config, device="cuda" if device == "cuda" else "cpu"))
    require(resolved)
    return resolved, stand_ins
