"""The joint tree of a skinning decomposition: which bones are connected, and where.

Source: Le and Deng 2014, "Robust and Accurate Skeletal Rigging from Mesh Sequences", section 5 (a minimum spanning tree
over pairs of bones, by how well a common point stays together).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree, shortest_path
from scipy.spatial import cKDTree

from v2m4.skinning.decomposition import Decomposition, JointConstraint, MotionData
from v2m4.skinning.tuning import SKINNING

_LEAST_COST = 1e-6  # a sparse graph drops edges of cost 0


@dataclass(frozen=True)
class JointTree:
    """Bones as a tree; a bone's joint is the point at which its parent holds it.

    Attributes:
        parents: (B,) index of the parent, which precedes its children; -1 for the root.
        joints: (B, 3) positions in the rest pose.
    """

    parents: np.ndarray
    joints: np.ndarray

    def constraints(self) -> list[JointConstraint]:
        """The joints of all bones but the root."""
        return [
            JointConstraint((int(parent), bone), self.joints[bone])
            for bone, parent in enumerate(self.parents)
            if parent >= 0
        ]


def joint_tree(data: MotionData, found: Decomposition) -> tuple[JointTree, Decomposition]:
    """Connect the bones of a decomposition; returns the tree and the decomposition with its bones in the tree's order.

    The root is the bone to which the vertices are nearest along the tree: a body's trunk.

    Args:
        data: the sequence.
        found: its decomposition; every bone has vertices.
    """
    bones = len(found.transforms)
    cost, positions = _pair_costs(data, found)
    tree = minimum_spanning_tree(csr_array(np.triu(cost, 1))).toarray()
    tree = np.maximum(tree, tree.T)
    mass = found.weights.sum(0)
    middles = (found.weights.T @ data.rest[:, :3]) / mass[:, None]
    lengths = np.where(tree > 0, np.linalg.norm(middles[:, None] - middles[None], axis=2) + _LEAST_COST, 0)
    root = int((shortest_path(csr_array(lengths), directed=False) @ mass).argmin()) if bones > 1 else 0
    order, before = breadth_first_order(csr_array(tree), root, directed=False)
    place = np.empty(bones, dtype=np.int64)
    place[order] = np.arange(bones)
    parents = np.array([-1 if bone == root else place[before[bone]] for bone in order])
    joints = np.array([middles[root] if bone == root else positions[before[bone], bone] for bone in order])
    return JointTree(parents, joints), Decomposition(found.weights[:, order], found.transforms[order])


def _pair_costs(data: MotionData, found: Decomposition) -> tuple[np.ndarray, np.ndarray]:
    """Cost (B, B) of connecting two bones, and the joint's position (B, B, 3).

    The cost is the rms distance between the joint moved by both bones, plus the gap between their vertices in the rest
    pose, plus a penalty where they share few vertices.
    """
    weights, rest = found.weights, data.rest[:, :3]
    bones, mass = weights.shape[1], weights.sum(0)
    overlap = weights.T @ weights
    dominant = [rest[weights[:, bone] >= min(0.5, weights[:, bone].max())] for bone in range(bones)]
    trees = [cKDTree(points) for points in dominant]
    cost, positions = np.full((bones, bones), np.inf), np.zeros((bones, bones, 3))
    for a in range(bones):
        for b in range(a + 1, bones):
            shared = weights[:, a] * weights[:, b]
            distances, nearest = trees[b].query(dominant[a])
            closest = int(distances.argmin())
            gap = float(distances[closest])
            middle = (dominant[a][closest] + dominant[b][nearest[closest]]) / 2
            if overlap[a, b] > 0:
                middle = shared @ rest / overlap[a, b]
            joint, residual = _joint_position(found.transforms[a], found.transforms[b], middle)
            share = min(overlap[a, b] / (SKINNING.overlap * min(mass[a], mass[b])), 1.0)
            cost[a, b] = cost[b, a] = residual + gap + SKINNING.overlap_penalty * (1 - share) + _LEAST_COST
            positions[a, b] = positions[b, a] = joint
    return cost, positions


def _joint_position(first: np.ndarray, second: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, float]:
    """The rest point (3,) that two bones (T, 3, 4) move alike, near ``middle``, and its images' rms distance."""
    rotation, translation = (first - second)[:, :, :3].reshape(-1, 3), (first - second)[:, :, 3].reshape(-1)
    frames = len(first)
    matrix = rotation.T @ rotation / frames + SKINNING.joint_prior * np.eye(3)
    target = -rotation.T @ (translation + rotation @ middle) / frames
    joint = middle + np.linalg.solve(matrix, target)
    return joint, float(np.sqrt(((rotation @ joint + translation) ** 2).sum() / frames))
