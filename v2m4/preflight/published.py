"""The value ``published`` of options: the network that V2M4 uses if installed, else a method without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from v2m4 import dreamsim, lpips
from v2m4.config import OWN_MODELS, Config
from v2m4.preflight.camera_search import POINT_MAPS
from v2m4.weights import Unavailable

PUBLISHED = "published"


def resolve(config: Config) -> tuple[Config, str]:
    """Replace every ``published`` by an installed network, or by the method that needs no weights.

    Args:
        config: with a resolved device.

    Returns:
        the options, and one line that says which twins stand in for what the preset asks for; empty where none does.
    """
    search, generation = config.search, config.generation
    stand_ins: list[str] = []

    def chosen(networks: Mapping[str, Callable[[Config], None]], twin: str, in_words: str) -> Any:
        found = _first_ready(networks, config)
        if found is None:
            stand_ins.append(in_words)
        return found or twin

    if PUBLISHED in (search.similarity, search.point_map) and config.mesh is None and config.model in OWN_MODELS:
        stand_ins.append(f"{config.model} for a learned generator (--model)")
    if search.point_map == PUBLISHED:
        networks = {name: part.check for name, part in POINT_MAPS.items()}
        words = "feature matches and PnP for DUSt3R's and VGGT's point maps"
        point_map: Any = "vggt" if config.use_vggt else chosen(networks, "matches", words)
        search = replace(search, point_map=point_map)
    if search.similarity == PUBLISHED:
        words = "agreement of masks, colours and edges for DreamSim"
        search = replace(search, similarity=chosen({"dreamsim": dreamsim.check}, "agreement", words))
    if generation.refine == PUBLISHED:
        refines = config.model == "TRELLIS" and config.mesh is None
        words = "differences of pixels for DreamSim and LPIPS in the refinement"
        found: Any = chosen({"networks": _check_refinement}, "pixels", words) if refines else "pixels"
        generation = replace(generation, refine=found)
    told = f"preset {config.preset}: {'; '.join(stand_ins)} (python -m v2m4.doctor says what is missing)"
    return replace(config, search=search, generation=generation), told if stand_ins else ""


def require_resolved(config: Config) -> None:
    """Check that the options have been resolved by ``resolve``.

    Raises:
        ValueError: names the function that resolves them.
    """
    if PUBLISHED in (config.search.similarity, config.search.point_map, config.generation.refine):
        raise ValueError("an option has the value published: resolve it first, with main.check")


def _check_refinement(config: Config) -> None:
    """The networks of ``--generation.refine networks``.

    Raises:
        Unavailable: one of them is missing.
    """
    dreamsim.check(config)
    lpips.check(config)


def _first_ready(networks: Mapping[str, Callable[[Config], None]], config: Config) -> str | None:
    """The first network whose requirements are met; None if there is none."""
    for name, check in networks.items():
        try:
            check(config)
        except Unavailable:
            continue
        return name
    return None
