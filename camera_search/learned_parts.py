"""The similarity and the camera proposers that the options name: learned networks or their weight-free twins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camera_search.dreamsim import DreamSimilarity
from camera_search.dust3r import Dust3rPointMap
from camera_search.pointmap import CameraProposer, FlowPnpProposer, PointMapNetwork
from camera_search.pointmap_alignment import PointMapProposer
from camera_search.similarity import ImageAgreement, Similarity
from camera_search.vggt import VggtPointMap
from v2m4.config import Config
from v2m4.preflight.camera_search import point_map_of
from v2m4.preflight.published import require_resolved


@dataclass(frozen=True)
class LearnedParts:
    """Exchangeable parts of a camera search.

    Attributes:
        similarity: compares renders with the frame.
        proposers: propose cameras of the frame.
    """

    similarity: Similarity
    proposers: Sequence[CameraProposer]

    @classmethod
    def load(cls, config: Config) -> LearnedParts:
        """Load the parts that the options name.

        Raises:
            Unavailable: a package or weights are missing, or cannot be loaded.
            ValueError: an option is still ``published``.
        """
        require_resolved(config)
        similarity = DreamSimilarity.load(config) if config.search.similarity == "dreamsim" else ImageAgreement()
        network = point_map_of(config)
        if network == "matches":
            return cls(similarity, [FlowPnpProposer()])
        return cls(similarity, [PointMapProposer(_POINT_MAPS[network](config))])


_POINT_MAPS: dict[str, Callable[[Config], PointMapNetwork]] = {"vggt": VggtPointMap, "dust3r": Dust3rPointMap}


def uses_networks(config: Config) -> bool:
    """Whether a part is a learned network."""
    return config.search.similarity != "agreement" or point_map_of(config) != "matches"


def describe(config: Config) -> dict[str, str]:
    """Description of the method of each part, for the manifest."""
    similarity = {"agreement": "mask + colour + edges (no weights)", "dreamsim": "DreamSim"}
    point_map = {"matches": "feature matches + PnP (no weights)", "vggt": "VGGT", "dust3r": "DUSt3R"}
    return {"similarity": similarity[config.search.similarity], "point_map": point_map[point_map_of(config)]}
