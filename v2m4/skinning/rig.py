"""Fit a rig to a mesh sequence: bones, skin weights, a joint tree, and curves of joint rotations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from v2m4.geometry import unique_edges
from v2m4.memory import return_free_memory
from v2m4.mesh import MeshSequence
from v2m4.skinning.curves import Curve, poses_at, thinned
from v2m4.skinning.decomposition import Decomposition, MotionData, decompose, refined, solve_weights
from v2m4.skinning.hierarchy import JointTree, joint_tree
from v2m4.skinning.pose_fit import fit_poses
from v2m4.skinning.skeleton import Binding, Skeleton, SkeletonPoses
from v2m4.skinning.tuning import POSE_FIT, SKINNING


@dataclass(frozen=True)
class Rig:
    """A skinned, animated skeleton for a mesh.

    Attributes:
        skeleton: one node a bone; all rest rotations are the identity. The root translates, and bones that the motion
            itself pulls off their parents (``loose_joints``).
        binding: of the mesh's vertices, with four influences each, the largest first.
        curves: of the joints, with only the keys that they need.
        rms: root mean square distance of the skinned vertices from the sequence, relative to the object's size.
        largest: largest such distance.
    """

    skeleton: Skeleton
    binding: Binding
    curves: list[Curve]
    rms: float
    largest: float

    def inverse_binds(self) -> np.ndarray:
        """Matrices (B, 4, 4) from the mesh's space to each bone's space in the rest pose."""
        matrices = np.tile(np.eye(4), (len(self.skeleton), 1, 1))
        _, origin = self.skeleton.world(self.skeleton.rest(1))
        matrices[:, :3, 3] = -origin[0]
        return matrices


def fit_rig(sequence: MeshSequence, bones: int, tolerance: float = 0.0) -> Rig:
    """Fit a rig of at most ``bones`` bones.

    Args:
        sequence: T poses of one topology at ``times`` in seconds; its mesh is the rest pose.
        bones: at most; fewer are used where more would not help.
        tolerance: largest distance, relative to the object's size, by which leaving out keys may move a vertex.
    """
    rest = sequence.mesh.vertices.detach().cpu().double().numpy()
    poses = sequence.vertices.detach().cpu().numpy()
    size = max(float(np.ptp(rest, axis=0).max()), 1e-12)
    middle = (rest.min(0) + rest.max(0)) / 2
    unit_rest = (rest - middle) / size

    def unit(some_poses: np.ndarray) -> np.ndarray:
        return (some_poses.astype(np.float64) - middle) / size

    some = np.unique(np.linspace(0, len(poses) - 1, min(len(poses), SKINNING.fitted_frames)).round().astype(int))
    chosen = spread(len(rest), SKINNING.fitted_vertices)
    edges = unique_edges(sequence.mesh.faces.cpu()).numpy()
    if len(chosen) < len(rest):
        edges = _nearest_pairs(unit_rest[chosen])
    data = MotionData.of(unit_rest[chosen], unit(poses[some][:, chosen]), edges)
    found = decompose(data, bones)
    return_free_memory()
    used = found.weights.max(0) > 0  # the weights may leave a bone without vertices
    tree, found = joint_tree(data, Decomposition(found.weights[:, used], found.transforms[used]))
    loose = loose_joints(data, found, tree)
    held = [joint for joint in tree.constraints() if not loose[joint.bones[1]]]
    found = refined(data, found, SKINNING.joint_rounds, held)
    skeleton = _skeleton(tree, loose)
    rows = spread(len(chosen), POSE_FIT.points)
    bound = _binding(tree, found.weights, unit_rest[chosen])[rows]
    return_free_memory()
    articulated = fit_poses(skeleton, bound, unit(poses[some][:, chosen[rows]]), 1.0)
    weights = found.weights
    if len(chosen) < len(rest):
        data = MotionData.of(unit_rest, unit(poses[some]), unique_edges(sequence.mesh.faces.cpu()).numpy())
        weights = weights[cKDTree(unit_rest[chosen]).query(unit_rest)[1]]
    weights = solve_weights(data, _transforms(skeleton, tree, articulated), weights)
    binding = _binding(tree, weights, unit_rest)
    rows = spread(len(rest), POSE_FIT.points)
    return_free_memory()
    final = fit_poses(skeleton, binding[rows], unit(poses[:, rows]), 1.0)
    return_free_memory()
    times = np.asarray(sequence.times, dtype=np.float64)
    curves = thinned(skeleton, binding, final, times, tolerance)
    rms, largest = _errors(binding, skeleton, curves, times, (unit(pose) for pose in poses))
    rig = Rig(skeleton, binding, curves, rms, largest)
    return _in_units(rig, size, middle)


def _errors(
    binding: Binding, skeleton: Skeleton, curves: list[Curve], times: np.ndarray, poses: Iterable[np.ndarray]
) -> tuple[float, float]:
    """Root mean square and largest distance of the skinned points from T poses (V, 3), one at a time."""
    squares, largest = [], []
    skinned = binding.each_skinned(*skeleton.world(poses_at(skeleton, curves, times)))
    for points, pose in zip(skinned, poses, strict=True):
        distances = np.linalg.norm(points - pose, axis=1)
        squares.append((distances**2).mean())
        largest.append(distances.max())
    return float(np.sqrt(np.mean(squares))), float(max(largest))


def _nearest_pairs(points: np.ndarray) -> np.ndarray:
    """Pairs (E, 2) of each point (N, 3) and its nearest neighbours, in place of mesh edges."""
    neighbours = cKDTree(points).query(points, min(SKINNING.neighbours + 1, len(points)))[1][:, 1:]
    first = np.repeat(np.arange(len(points)), neighbours.shape[1])
    return np.unique(np.sort(np.stack([first, neighbours.reshape(-1)], 1), axis=1), axis=0)


def spread(count: int, wanted: int) -> np.ndarray:
    """Indices of ``wanted`` of ``count`` vertices, evenly spread over their numbers."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int))


def loose_joints(data: MotionData, found: Decomposition, tree: JointTree) -> np.ndarray:
    """Bones (B,) that the motion pulls off their parents, as a head that comes off: they translate, the others rotate.

    Such a bone's joint is farther apart under the two bones' own motions than ``SKINNING.loose_gap``, and than
    ``SKINNING.loose_ratio`` times the error with which all bones reproduce the motion: what is noise stays together.
    """
    rms = float(np.sqrt((found.errors(data) ** 2).mean()))
    limit = max(SKINNING.loose_gap, SKINNING.loose_ratio * rms)
    loose = np.zeros(len(tree.parents), dtype=bool)
    for joint in tree.constraints():
        first, second = (found.transforms[bone] for bone in joint.bones)
        gap = (first - second)[:, :, :3] @ joint.position + (first - second)[:, :, 3]
        loose[joint.bones[1]] = float(np.sqrt((gap**2).sum(1).mean())) > limit
    return loose


def _skeleton(tree: JointTree, loose: np.ndarray) -> Skeleton:
    """The skeleton of a joint tree: every node's axes are the world's in the rest pose."""
    count = len(tree.parents)
    parents = np.where(tree.parents < 0, 0, tree.parents)
    offsets = np.where((tree.parents < 0)[:, None], tree.joints, tree.joints - tree.joints[parents])
    identity = np.broadcast_to(np.eye(3), (count, 3, 3)).copy()
    return Skeleton(
        tree.parents, offsets, identity, identity.copy(), np.ones(count, dtype=bool), (tree.parents < 0) | loose
    )


def _binding(tree: JointTree, weights: np.ndarray, rest: np.ndarray) -> Binding:
    """Skin weights (V, B) of rest positions (V, 3) as a binding, the largest influence first."""
    nodes = np.argsort(-weights, axis=1, kind="stable")[:, : SKINNING.influences]
    return Binding(nodes, np.take_along_axis(weights, nodes, 1), rest[:, None] - tree.joints[nodes])


def _transforms(skeleton: Skeleton, tree: JointTree, poses: SkeletonPoses) -> np.ndarray:
    """Bone transforms (B, T, 3, 4) from the rest pose."""
    linear, origin = skeleton.world(poses)
    translations = origin - (linear @ tree.joints[None, :, :, None])[..., 0]
    return np.ascontiguousarray(np.concatenate([linear, translations[..., None]], 3).transpose(1, 0, 2, 3))


def _in_units(rig: Rig, size: float, middle: np.ndarray) -> Rig:
    """A rig fitted in sizes about the middle, in the sequence's own units."""
    root = (rig.skeleton.parents < 0)[:, None] * middle
    skeleton = replace(rig.skeleton, translations=rig.skeleton.translations * size + root)
    curves = [
        replace(curve, values=curve.values * size + root[curve.node]) if curve.path == "translation" else curve
        for curve in rig.curves
    ]
    return replace(rig, skeleton=skeleton, curves=curves, binding=replace(rig.binding, local=rig.binding.local * size))
