"""Preflight: the requirements of the learned parts (packages, weights, a GPU), checked before any work.

Nothing here imports PyTorch, which takes seconds, before everything that can be checked without it has been.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from v2m4.config import Config
from v2m4.device import NoCuda, choose_device
from v2m4.preflight import (
    camera_search,
    engine,
    export,
    foreground,
    formats,
    generators,
    motion,
    published,
    ranges,
    registration,
)
from v2m4.weights import Unavailable

__all__ = ["engine", "formats", "ranges", "require", "resolve"]

log = logging.getLogger("v2m4.preflight")


def require(config: Config) -> None:
    """Check the requirements of all options.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    for part in (export, foreground, generators, camera_search, registration, motion):
        part.require(config)


def resolve(config: Config) -> Config:
    """Select the device, resolve every ``published`` part, and check all requirements.

    Logs one line on why a present GPU is not used, and one on which parts replace published ones.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    try:
        device = choose_device(config.device)
        resolved, stand_ins = _checked(config, device.name)
        if device.name == "cuda":  # all checks without PyTorch have passed: now load it
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
