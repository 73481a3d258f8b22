"""What the learned parts of the camera search need: point maps by VGGT or DUSt3R, DreamSim's similarity."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

from v2m4 import dreamsim
from v2m4.config import Config
from v2m4.weights import Needs, Package, Unavailable, Weights

FILES = ("config.json", "model.safetensors")

_VGGT = (
    "pip install --no-deps git+https://github.com/facebookresearch/vggt@a288dd0 && "
    "pip install einops safetensors huggingface_hub"
)  # its own list asks for numpy<2, which it does not need
VGGT = Needs(
    packages=tuple(Package(module, _VGGT) for module in ("vggt", "einops", "safetensors", "huggingface_hub")),
    weights=(Weights("facebook/VGGT-1B", FILES, FILES),),
)

_DUST3R = (
    "git clone --recursive https://github.com/naver/dust3r && git -C dust3r checkout --recurse-submodules 4c24a6e && "
    "pip install roma einops huggingface_hub safetensors torchvision, then put the clone on PYTHONPATH"
)


def _require_croco(config: Config) -> None:
    """Look for DUSt3R's submodule.

    Raises:
        Unavailable: with the command that brings it.
    """
    found = importlib.util.find_spec("dust3r")
    places = [Path(place).parent / "croco" for place in (found.submodule_search_locations or ())] if found else []
    if not any((place / "models").is_dir() for place in places):
        where = places[0].parent if places else Path("dust3r")
        raise Unavailable(f"croco is missing beside dust3r; git -C {where} submodule update --init --recursive")


DUST3R = Needs(
    packages=tuple(
        Package(module, _DUST3R)
        for module in ("dust3r", "roma", "einops", "huggingface_hub", "safetensors", "torchvision")
    ),
    weights=(Weights("naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt", FILES, FILES),),
    further=_require_croco,
)


class _Learned(Protocol):
    """What is asked of a learned part before it is loaded."""

    def check(self, config: Config) -> None: ...

    def version(self, config: Config) -> str: ...


SIMILARITIES: dict[str, _Learned] = {"dreamsim": dreamsim}
POINT_MAPS: dict[str, _Learned] = {"dust3r": DUST3R, "vggt": VGGT}


def point_map_of(config: Config) -> str:
    """The point maps asked for; ``--use_vggt`` is short for ``--search.point_map vggt``."""
    return "vggt" if config.use_vggt else config.search.point_map


def require(config: Config) -> None:
    """Refuse, before any work, a part that lacks something here: a package, weights.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    if config.use_vggt and config.search.point_map == "dust3r":
        raise Unavailable("--use_vggt: --search.point_map dust3r asks for another network; leave one of them out")
    for option, part in _learned(config).items():
        try:
            part.check(config)
        except Unavailable as error:
            raise Unavailable(f"{option}: {error}") from error


def version(config: Config) -> str:
    """What tells one copy of the learned parts' weights from another; empty where no part is learned."""
    return "".join(part.version(config) for part in _learned(config).values())


def _learned(config: Config) -> dict[str, _Learned]:
    """The learned parts asked for, by the option that asks for them."""
    found: dict[str, _Learned] = {}
    if config.search.similarity in SIMILARITIES:
        found[f"--search.similarity {config.search.similarity}"] = SIMILARITIES[config.search.similarity]
    name = point_map_of(config)
    if name in POINT_MAPS:
        found["--use_vggt" if config.use_vggt else f"--search.point_map {name}"] = POINT_MAPS[name]
    return found
