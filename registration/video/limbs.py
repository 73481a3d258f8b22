"""Segmentation of a deformation graph into limbs.

A limb is what lies beyond a narrow cut between a tip (a hand, a foot, the head) and the middle of the body. Tips are
local maxima of the mean geodesic distance; cuts are level sets of the geodesic distance from a tip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.tuning import TUNING
from v2m4.rotation import rotation_vector_between


@dataclass(frozen=True)
class Limb:
    """Nodes of a deformation graph that rotate together about a pivot.

    Attributes:
        nodes: (K,) bool, nodes that belong to the limb.
        cut: (N,) edges of the graph that connect it to the other nodes.
    """

    nodes: np.ndarray
    cut: np.ndarray

    def pivot(self, graph: DeformationGraph, poses: Poses) -> np.ndarray:
        """Centre of rotation (3,) in one pose: mean of the cut edges' anchors, transformed with the other nodes."""
        edges = graph.edges[self.cut]
        body = np.where(self.nodes[edges[:, 0]], edges[:, 1], edges[:, 0])
        offsets = graph.anchors[self.cut] - graph.centres[body]
        return (np.einsum("nab,nb->na", poses.rotations[0, body], offsets) + poses.positions[0, body]).mean(0)

    def candidate_rotations(self, graph: DeformationGraph, poses: Poses) -> np.ndarray:
        """Rotation vectors (N, 3), radians, that bring the limb to directions over the whole sphere, and twists.

        The directions are a Fibonacci lattice; the rotation to each is the smallest. Twists are rotations about the
        limb's own direction, from its pivot to the mean of its nodes.
        """
        direction = poses.positions[0, self.nodes].mean(0) - self.pivot(graph, poses)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        count = TUNING.candidate_directions
        height = 1 - 2 * (np.arange(count) + 0.5) / count
        azimuth = np.arange(count) * math.pi * (3 - math.sqrt(5))
        radius = np.sqrt(1 - height**2)
        targets = np.stack([radius * np.cos(azimuth), height, radius * np.sin(azimuth)], 1)
        swings = rotation_vector_between(direction, targets)
        return np.concatenate([swings, np.array(TUNING.candidate_twists)[:, None] * direction])

    def rotated(self, graph: DeformationGraph, poses: Poses, rotations: np.ndarray) -> Poses:
        """One pose with the limb rotated about its pivot by each of (T, 3, 3): T poses."""
        pivot = self.pivot(graph, poses)
        node_rotations = np.repeat(poses.rotations, len(rotations), 0)
        positions = np.repeat(poses.positions, len(rotations), 0)
        node_rotations[:, self.nodes] = rotations[:, None] @ node_rotations[:, self.nodes]
        offsets = positions[:, self.nodes] - pivot
        positions[:, self.nodes] = np.einsum("tab,tkb->tka", rotations, offsets) + pivot
        return Poses(node_rotations, positions)


def find_limbs(graph: DeformationGraph) -> list[Limb]:
    """All limbs of a graph, by ascending ratio of the cut's radius to the limb's length.

    No two limbs have more nodes in common than ``VideoTuning.max_limb_overlap``.
    """
    count = len(graph)
    first, second = graph.edges[:, 0], graph.edges[:, 1]
    matrix = sparse.csr_matrix((np.maximum(graph.lengths, 1e-9), (first, second)), shape=(count, count))
    matrix = matrix.maximum(matrix.T)
    distances = dijkstra(matrix, directed=False)
    distances = np.where(np.isfinite(distances), distances, 0.0)
    candidates: list[tuple[float, Limb]] = []
    for tip in find_tips(distances, graph.unit):
        cuts = []
        farthest = np.quantile(distances[tip], TUNING.max_limb_share)
        for level in np.linspace(0, farthest, TUNING.cut_levels + 1)[1:]:
            nodes = distances[tip] < level
            cut = np.flatnonzero(nodes[first] != nodes[second])
            if len(cut) == 0:
                continue
            anchors = graph.anchors[cut]
            pivot = anchors.mean(0)
            radius = float(np.sqrt(np.square(anchors - pivot).sum(1).mean()))
            length = float(np.linalg.norm(graph.centres[nodes] - pivot, axis=1).max())
            if length > TUNING.min_limb_length * graph.unit and radius < TUNING.max_cut_radius * length:
                cuts.append((radius / length, Limb(nodes, cut)))
        # The narrowest of each octave of the number of nodes: a hand, the whole arm, a whole side.
        octaves = [int(math.log2(limb.nodes.sum())) for _, limb in cuts]
        for octave in set(octaves):
            candidates.append(
                min((cut for cut, own in zip(cuts, octaves, strict=True) if own == octave), key=lambda cut: cut[0])
            )
    limbs: list[Limb] = []
    for _, limb in sorted(candidates, key=lambda cut: cut[0]):
        if all(_jaccard_index(limb, other) < TUNING.max_limb_overlap for other in limbs):
            limbs.append(limb)
    return limbs


def find_tips(distances: np.ndarray, unit: float) -> list[int]:
    """Nodes whose mean geodesic distance from all nodes is a local maximum, in descending order of it.

    Args:
        distances: (K, K) geodesic distances between nodes.
        unit: the object's size; a neighbourhood is ``VideoTuning.tip_radius`` of it.
    """
    mean = distances.mean(1)
    return [
        int(node) for node in np.argsort(-mean) if mean[node] >= mean[distances[node] < TUNING.tip_radius * unit].max()
    ]


def _jaccard_index(first: Limb, second: Limb) -> float:
    """Number of nodes in both limbs over the number of nodes in either."""
    return float((first.nodes & second.nodes).sum() / (first.nodes | second.nodes).sum())


def points_in_ball(count: int, radius: float) -> np.ndarray:
    """Evenly distributed points (N, 3), N <= count, of a ball about the origin.

    The R sequence of Roberts 2018, "The unreasonable effectiveness of quasirandom sequences", in the cube around it.
    """
    golden = 1.2207440846057596
    steps = 0.5 + np.arange(1, 3 * count)[:, None] / golden ** np.arange(1, 4)
    points = 2 * (steps % 1) - 1
    return radius * points[np.linalg.norm(points, axis=1) < 1][:count]
