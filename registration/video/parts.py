"""Parts of a mesh, by which loss of track is reported: its limbs and the body that they hang on.

Limbs are those of ``limbs.find_limbs``, as large as they may be without overlap. A part is named by where it lies in
the first frame's image, seen from the middle of the body: "upper left limb".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from registration.deformation_graph.graph import DeformationGraph
from registration.video.limbs import Limb, find_limbs
from registration.video.tuning import TUNING
from v2m4.camera import Camera, image_fractions

BODY = "body"
SECTORS = ("right", "lower right", "lower", "lower left", "left", "upper left", "upper", "upper right")


@dataclass(frozen=True)
class MeshParts:
    """A partition of a mesh's faces.

    Attributes:
        names: of P parts, unique; the first is the body.
        face_parts: (F,) int64, index of the part that each face belongs to.
    """

    names: tuple[str, ...]
    face_parts: np.ndarray

    @classmethod
    def of(cls, graph: DeformationGraph, camera: Camera) -> MeshParts:
        """Partition the mesh of a graph whose rest pose is that of the first frame.

        Args:
            graph: in the video camera's space.
            camera: of the video.
        """
        limbs = disjoint_limbs(graph)
        node_parts = np.zeros(len(graph), np.int64)
        for index, limb in enumerate(limbs, 1):
            node_parts[limb.nodes] = index
        strongest = graph.weights.argmax(1)[:, None]
        vertex_parts = node_parts[np.maximum(np.take_along_axis(graph.influences, strongest, 1)[:, 0], 0)]
        # A face of several parts belongs to the body's side of the cut.
        return cls((BODY, *_names(graph, limbs, camera)), vertex_parts[graph.faces].min(1))


def disjoint_limbs(graph: DeformationGraph) -> list[Limb]:
    """Limbs of a graph of which no two share a node, the largest first.

    Each holds at most ``VideoTuning.max_part_share`` of the nodes.
    """
    chosen: list[Limb] = []
    limbs = [limb for limb in find_limbs(graph) if limb.nodes.mean() <= TUNING.max_part_share]
    for limb in sorted(limbs, key=lambda limb: -int(limb.nodes.sum())):
        if not any((limb.nodes & other.nodes).any() for other in chosen):
            chosen.append(limb)
    return chosen


def _names(graph: DeformationGraph, limbs: list[Limb], camera: Camera) -> list[str]:
    """A unique name for each limb, by its direction from the body's middle in the image."""
    centres = image_fractions(camera, torch.from_numpy(graph.centres).float()).numpy()
    in_body = ~np.any([limb.nodes for limb in limbs], axis=0) if limbs else np.ones(len(graph), bool)
    middle = centres[in_body if in_body.any() else slice(None)].mean(0)
    names: list[str] = []
    for limb in limbs:
        x, y = (centres[limb.nodes].mean(0) - middle) * (camera.aspect, 1.0)
        sector = round(math.atan2(y, x) / (2 * math.pi / len(SECTORS))) % len(SECTORS)
        name = f"{SECTORS[sector]} limb"
        taken = sum(other == name or other.startswith(f"{name} ") for other in names)
        names.append(f"{name} {taken + 1}" if taken else name)
    return names
