"""Skeletons: a tree of nodes, its forward kinematics, and linear blend skinning of points bound to its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """A tree of nodes; a node's matrix to its parent is translation, then rotation, then a fixed linear map.

    Attributes:
        parents: (J,) index of the parent, which precedes its children; -1 for a root.
        translations: (J, 3) float64 in the rest pose.
        rotations: (J, 3, 3) float64 in the rest pose.
        scales: (J, 3, 3) float64 the fixed linear map: a scale, or anything else.
        rotating: (J,) whether a pose may rotate the node.
        translating: (J,) whether a pose may translate it.
    """

    parents: np.ndarray
    translations: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    rotating: np.ndarray
    translating: np.ndarray

    def __len__(self) -> int:
        """Number of nodes J."""
        return len(self.parents)

    def rest(self, frames: int) -> SkeletonPoses:
        """The rest pose, ``frames`` times."""
        shape = (frames, *self.translations.shape)
        rotations = np.broadcast_to(self.rotations, (*shape, 3))
        return SkeletonPoses(rotations.copy(), np.broadcast_to(self.translations, shape).copy())

    def world(self, poses: SkeletonPoses) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics: linear parts (T, J, 3, 3) and translations (T, J, 3) from node to world."""
        linear, origin = poses.rotations @ self.scales, poses.translations.copy()
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                origin[:, node] = (linear[:, parent] @ origin[:, node, :, None])[..., 0] + origin[:, parent]
                linear[:, node] = linear[:, parent] @ linear[:, node]
        return linear, origin

    def parent_linear(self, linear: np.ndarray) -> np.ndarray:
        """The linear part (T, J, 3, 3) from each node's parent to the world; the identity for roots."""
        parents = np.where(self.parents < 0, 0, self.parents)
        root = (self.parents < 0)[None, :, None, None]
        return np.where(root, np.eye(3), linear[:, parents])

    def subtrees(self) -> np.ndarray:
        """(J, J) bool: whether node b lies in the subtree of node a (a itself included)."""
        inside = np.eye(len(self), dtype=bool)
        for node in range(len(self) - 1, -1, -1):
            if self.parents[node] >= 0:
                inside[self.parents[node]] |= inside[node]
        return inside

    def followed(self, bound: np.ndarray) -> np.ndarray:
        """(J,) bool: whether the subtree of each node contains one of the nodes ``bound`` (J,)."""
        result = bound.copy()
        for node in range(len(self) - 1, -1, -1):
            if self.parents[node] >= 0:
                result[self.parents[node]] |= result[node]
        return result


@dataclass(frozen=True)
class SkeletonPoses:
    """Local rotations and translations of all nodes over time.

    Attributes:
        rotations: (T, J, 3, 3) float64.
        translations: (T, J, 3) float64.
    """

    rotations: np.ndarray
    translations: np.ndarray

    def __len__(self) -> int:
        """Number of frames T."""
        return len(self.rotations)


@dataclass(frozen=True)
class Binding:
    """Points bound to nodes by linear blend skinning, with K influences for each of V points.

    Attributes:
        nodes: (V, K) int64.
        weights: (V, K) float64; rows sum to 1.
        local: (V, K, 3) float64 position of the point in each node's space.
    """

    nodes: np.ndarray
    weights: np.ndarray
    local: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Binding:
        """The binding of some points."""
        return Binding(self.nodes[rows], self.weights[rows], self.local[rows])

    def influences(self, linear: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Positions (V, K, 3) of the points moved by each of their nodes alone, for one frame's matrices (J, ...)."""
        return (linear[self.nodes] @ self.local[..., None])[..., 0] + origin[self.nodes]

    def skinned(self, linear: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """The points (T, V, 3) under the nodes' matrices (T, J, 3, 3), (T, J, 3)."""
        return np.stack(list(self.each_skinned(linear, origin)))

    def each_skinned(self, linear: np.ndarray, origin: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the points (V, 3) of each frame, as ``skinned``."""
        for matrices, place in zip(linear, origin, strict=True):
            yield (self.weights[..., None] * self.influences(matrices, place)).sum(1)
