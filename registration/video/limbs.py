"""Limbs of a mesh, found on its deformation graph.

A limb is what lies beyond a narrow place on the way from a tip (a hand, a foot, the head) to the middle of the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from registration.deformation_graph.graph import DeformationGraph, Poses
from v2m4.rotation import rotation_vector_between

TIP = 0.2  # of the object's size, the least way between two tips
LEVELS = 24  # places on the way from a tip at which a cut is tried
LARGEST = 0.5  # share of the nodes that a limb has at most
SHORTEST = 0.08  # of the object's size, that a limb is long at least
SLENDER = 0.6  # of its length, that its joint is wide at most
SAME = 0.8  # share of nodes in common from which on two limbs are one
SWINGS = 64  # directions all round that a limb is swung to
TWISTS = (-1.4, -0.7, 0.7, 1.4)  # turns about its own axis, radians


@dataclass(frozen=True)
class Limb:
    """Nodes that turn about a joint.

    Attributes:
        nodes: (K,) bool, which of the graph's belong to it.
        ties: (N,) edges of the graph that join it to the rest.
    """

    nodes: np.ndarray
    ties: np.ndarray

    def joint(self, graph: DeformationGraph, poses: Poses) -> np.ndarray:
        """Where it turns, (3,), in one pose: the mean of its ties' anchors as the rest of the body carries them."""
        edges = graph.edges[self.ties]
        body = np.where(self.nodes[edges[:, 0]], edges[:, 1], edges[:, 0])
        offsets = graph.anchors[self.ties] - graph.centres[body]
        return (np.einsum("nab,nb->na", poses.rotations[0, body], offsets) + poses.positions[0, body]).mean(0)

    def swings(self, graph: DeformationGraph, poses: Poses) -> np.ndarray:
        """Turns (N, 3), axis times angle, that bring the limb of one pose to directions all round, and twists."""
        along = poses.positions[0, self.nodes].mean(0) - self.joint(graph, poses)
        along /= max(float(np.linalg.norm(along)), 1e-12)
        height = 1 - 2 * (np.arange(SWINGS) + 0.5) / SWINGS
        around = np.arange(SWINGS) * math.pi * (3 - math.sqrt(5))
        flat = np.sqrt(1 - height**2)
        there = np.stack([flat * np.cos(around), height, flat * np.sin(around)], 1)
        swings = rotation_vector_between(along, there)
        return np.concatenate([swings, np.array(TWISTS)[:, None] * along])

    def turned(self, graph: DeformationGraph, poses: Poses, rotations: np.ndarray) -> Poses:
        """A pose with the limb turned by each of (T, 3, 3)."""
        joint = self.joint(graph, poses)
        turns = np.repeat(poses.rotations, len(rotations), 0)
        places = np.repeat(poses.positions, len(rotations), 0)
        turns[:, self.nodes] = rotations[:, None] @ turns[:, self.nodes]
        offsets = places[:, self.nodes] - joint
        places[:, self.nodes] = np.einsum("tab,tkb->tka", rotations, offsets) + joint
        return Poses(turns, places)


def find_limbs(graph: DeformationGraph) -> list[Limb]:
    """All limbs, those of the narrowest joints for their length first; no two are much the same."""
    count = len(graph)
    first, second = graph.edges[:, 0], graph.edges[:, 1]
    matrix = sparse.csr_matrix((np.maximum(graph.lengths, 1e-9), (first, second)), shape=(count, count))
    matrix = matrix.maximum(matrix.T)
    ways = dijkstra(matrix, directed=False)
    ways = np.where(np.isfinite(ways), ways, 0.0)
    found: list[tuple[float, Limb]] = []
    for tip in tips(ways, graph.unit):
        cuts = []
        reach = np.quantile(ways[tip], LARGEST)
        for level in np.linspace(0, reach, LEVELS + 1)[1:]:
            nodes = ways[tip] < level
            ties = np.flatnonzero(nodes[first] != nodes[second])
            if len(ties) == 0:
                continue
            anchors = graph.anchors[ties]
            joint = anchors.mean(0)
            width = float(np.sqrt(np.square(anchors - joint).sum(1).mean()))
            length = float(np.linalg.norm(graph.centres[nodes] - joint, axis=1).max())
            if length > SHORTEST * graph.unit and width < SLENDER * length:
                cuts.append((width / length, Limb(nodes, ties)))
        # The narrowest of each size, an octave of nodes: a hand, an arm with it, a whole side.
        sizes = [int(math.log2(limb.nodes.sum())) for _, limb in cuts]
        for size in set(sizes):
            found.append(
                min((cut for cut, own in zip(cuts, sizes, strict=True) if own == size), key=lambda cut: cut[0])
            )
    limbs: list[Limb] = []
    for _, limb in sorted(found, key=lambda cut: cut[0]):
        if all(_common(limb, other) < SAME for other in limbs):
            limbs.append(limb)
    return limbs


def tips(ways: np.ndarray, unit: float) -> list[int]:
    """Nodes that are farther from all others, on average, than any node nearby; the farthest first.

    Args:
        ways: (K, K) between nodes.
        unit: the object's size.
    """
    mean = ways.mean(1)
    return [int(node) for node in np.argsort(-mean) if mean[node] >= mean[ways[node] < TIP * unit].max()]


def _common(first: Limb, second: Limb) -> float:
    """Share of nodes that two limbs have in common."""
    return float((first.nodes & second.nodes).sum() / (first.nodes | second.nodes).sum())


def ball(count: int, radius: float) -> np.ndarray:
    """Points (N, 3) spread evenly in a ball: the R sequence of Roberts 2018 in the cube, cut to the ball."""
    golden = 1.2207440846057596
    steps = 0.5 + np.arange(1, 3 * count)[:, None] / golden ** np.arange(1, 4)
    points = 2 * (steps % 1) - 1
    return radius * points[np.linalg.norm(points, axis=1) < 1][:count]
