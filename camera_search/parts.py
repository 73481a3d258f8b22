"""Which parts of the search are learned, by the options; loaded when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camera_search.dreamsim import DreamSimilarity
from camera_search.dust3r import Dust3rPointMap
from camera_search.pointmap import CameraGuess, MatchedPoints, PointMap
from camera_search.pointmap_alignment import AlignedPoints
from camera_search.similarity import PictureAgreement, Similarity
from camera_search.vggt import VggtPointMap
from v2m4.config import Config
from v2m4.preflight.camera_search import point_map_of
from v2m4.preflight.published import require_resolved


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
            ValueError: an option is still ``published``.
        """
        require_resolved(config)
        similarity = DreamSimilarity.load(config) if config.search.similarity == "dreamsim" else PictureAgreement()
        network = point_map_of(config)
        if network == "matches":
            return cls(similarity, [MatchedPoints()])
        return cls(similarity, [AlignedPoints(_POINT_MAPS[network](config))])


_POINT_MAPS: dict[str, Callable[[Config], PointMap]] = {"vggt": VggtPointMap, "dust3r": Dust3rPointMap}


def describe(config: Config) -> dict[str, str]:
    """Each part by what does its work, for the manifest."""
    similarity = {"agreement": "mask + colour + edges (no weights)", "dreamsim": "DreamSim"}
    point_map = {"matches": "feature matches + PnP (no weights)", "vggt": "VGGT", "dust3r": "DUSt3R"}
    return {"similarity": similarity[config.search.similarity], "point_map": point_map[point_map_of(config)]}
