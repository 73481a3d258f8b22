"""Articulation of a deformation graph: edges that bend or stretch in some frames become hinges in all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.deformation_graph.tuning import TUNING


@dataclass(frozen=True)
class Articulation:
    """Accumulated deformation of the graph's edges over frames.

    Attributes:
        squared_stretch: (E,) sum over frames of the squared relative stretch.
        squared_bend: (E,) sum over frames of the squared angle between the two nodes, radians.
        frames: number of frames.
    """

    squared_stretch: np.ndarray
    squared_bend: np.ndarray
    frames: int = 0

    @classmethod
    def none(cls, graph: DeformationGraph) -> Articulation:
        """Zero deformation over zero frames: all edges are equally stiff."""
        return cls(np.zeros(len(graph.edges)), np.zeros(len(graph.edges)))

    def updated(self, graph: DeformationGraph, poses: Poses) -> Articulation:
        """The sums with T more poses of the graph added."""
        first, second = graph.edges.T
        offsets = graph.offsets
        gap = np.einsum("teab,eb->tea", poses.rotations[:, first], offsets[:, 0]) + poses.positions[:, first]
        gap -= np.einsum("teab,eb->tea", poses.rotations[:, second], offsets[:, 1]) + poses.positions[:, second]
        squared_stretch = np.square(gap).sum((0, 2)) / np.square(graph.lengths)
        squared_bend = 0.5 * np.square(poses.rotations[:, first] - poses.rotations[:, second]).sum((0, 2, 3))
        return Articulation(
            self.squared_stretch + squared_stretch, self.squared_bend + squared_bend, self.frames + len(poses)
        )

    def hinge_weights(self, strain_scale: float, bend_scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Factors on each edge's resistance to stretch and to bend, by iteratively reweighted least squares.

        They are the weights of a Cauchy kernel on an edge's root mean square over the frames: a prior that is sparse
        over the edges, so deformation gathers in a few hinges.

        Args:
            strain_scale: relative stretch, root mean square, at which an edge keeps half of its resistance.
            bend_scale: angle in radians, root mean square, at which an edge keeps half of its resistance.

        Returns:
            (E,) for stretch and (E,) for bend, in (0, 1]; 1 where the edge never deformed.
        """
        count = max(self.frames, 1)
        stretch = 1 / (1 + self.squared_stretch / count / strain_scale**2)
        bend = 1 / (1 + self.squared_bend / count / bend_scale**2)
        return np.maximum(stretch, TUNING.min_stretch_weight), bend
