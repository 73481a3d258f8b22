"""Which parts of the search are learned, by the options: looked for before any work, loaded when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from camera_search import dust3r, vggt
from camera_search.dreamsim import DreamSimilarity
from camera_search.pointmap import CameraGuess, MatchedPoints, PointMap
from camera_search.pointmap_alignment import AlignedPoints
from camera_search.similarity import PictureAgreement, Similarity
from v2m4 import dreamsim
from v2m4.config import Config
from v2m4.weights import Unavailable


@dataclass(frozen=True)
class Parts:
    """What a search asks.

    Attributes:
        similarity: compares pictures.
        guesses: propose cameras.
    """

    similarity: Similarity
    guesses: Sequence[CameraGuess]

    @classmethod
    def load(cls, config: Config) -> Parts:
        """Load the parts that the options name.

        Raises:
            Unavailable: a package or weights are missing, or cannot be loaded.
        """
        similarity = DreamSimilarity.load(config) if config.search.similarity == "dreamsim" else PictureAgreement()
        network = point_map_of(config)
        if network == "matches":
            return cls(similarity, [MatchedPoints()])
        return cls(similarity, [AlignedPoints(_POINT_MAPS[network](config))])


class _Learned(Protocol):
    """What the module of a learned part offers before it is loaded."""

    def check(self, config: Config) -> None: ...

    def version(self, config: Config) -> str: ...


_POINT_MAPS: dict[str, Callable[[Config], PointMap]] = {"vggt": vggt.VggtPointMap, "dust3r": dust3r.Dust3rPointMap}


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


def describe(config: Config) -> dict[str, str]:
    """Each part by what does its work, for the manifest."""
    similarity = {"agreement": "mask + colour + edges (no weights)", "dreamsim": "DreamSim"}
    point_map = {"matches": "feature matches + PnP (no weights)", "vggt": "VGGT", "dust3r": "DUSt3R"}
    return {"similarity": similarity[config.search.similarity], "point_map": point_map[point_map_of(config)]}


def _learned(config: Config) -> dict[str, _Learned]:
    """The learned parts asked for, by the option that asks for them."""
    found: dict[str, _Learned] = {}
    if config.search.similarity == "dreamsim":
        found["--search.similarity dreamsim"] = dreamsim
    name = point_map_of(config)
    if name != "matches":
        found["--use_vggt" if config.use_vggt else f"--search.point_map {name}"] = {"vggt": vggt, "dust3r": dust3r}[
            name
        ]
    return found
