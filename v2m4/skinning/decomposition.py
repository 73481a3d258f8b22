"""Smooth skinning decomposition with rigid bones (SSDR): bones and sparse skin weights that reproduce a mesh sequence.

The rest pose is known. Bones are initialised by splitting clusters of vertices that move rigidly together; then skin
weights (at most four for a vertex, not negative, of sum 1) and rigid bone transforms are solved for in turn.

Sources: Le and Deng 2012, "Smooth Skinning Decomposition with Rigid Bones" (weights: section 4.2; transforms: section
4.3, equations 6 to 8); Le and Deng 2014, "Robust and Accurate Skeletal Rigging from Mesh Sequences" (smoothness of the
weights, joint constraints).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from v2m4 import threads
from v2m4.rotation import best_rotations
from v2m4.skinning.kernels import solve_skin_weights
from v2m4.skinning.tuning import SKINNING


@dataclass(frozen=True)
class MotionData:
    """A mesh sequence in units of its size, as the solvers use it.

    Attributes:
        rest: (V, 4) float64 homogeneous rest positions.
        poses: (V, 3 T) float64 positions; the coordinates of one frame follow each other.
        neighbours: (V, V) sparse; row v averages over the vertices that share an edge with v.
        squared: (V,) squared norms of the rows of ``poses``.
    """

    rest: np.ndarray
    poses: np.ndarray
    neighbours: csr_array
    squared: np.ndarray

    @classmethod
    def of(cls, rest: np.ndarray, poses: np.ndarray, edges: np.ndarray) -> MotionData:
        """Build from rest positions (V, 3), poses (T, V, 3) and edges (E, 2)."""
        count = len(rest)
        rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
        adjacency = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
        adjacency.data[:] = 1.0  # an edge of two faces counts once
        degree = np.maximum(adjacency.sum(1), 1.0)
        flat = np.ascontiguousarray(poses.transpose(1, 0, 2).reshape(count, -1), dtype=np.float64)
        homogeneous = np.concatenate([rest, np.ones((count, 1))], 1).astype(np.float64)
        return cls(homogeneous, flat, csr_array(adjacency / degree[:, None]), (flat**2).sum(1))

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return self.poses.shape[1] // 3


@dataclass(frozen=True)
class Decomposition:
    """Skin weights and bone transforms.

    Attributes:
        weights: (V, B) float64; at most four of a row are not 0, and a row's sum is 1.
        transforms: (B, T, 3, 4) float64 rigid transforms from the rest pose to each frame.
    """

    weights: np.ndarray
    transforms: np.ndarray

    def predicted(self, data: MotionData) -> np.ndarray:
        """Positions by linear blend skinning, (V, 3 T)."""
        return blended(data.rest, self.weights, self.transforms)

    def errors(self, data: MotionData) -> np.ndarray:
        """Distances (V, T) from the data."""
        return np.linalg.norm((self.predicted(data) - data.poses).reshape(len(data.rest), -1, 3), axis=2)


@dataclass(frozen=True)
class JointConstraint:
    """A point of the rest pose at which two bones are held together.

    Attributes:
        bones: the two.
        position: (3,) in the rest pose.
    """

    bones: tuple[int, int]
    position: np.ndarray


def blended(rest: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Linear blend skinning: positions (V, 3 T) of homogeneous rest positions (V, 4)."""
    bones = len(transforms)
    matrices = transforms.reshape(bones, -1, 4)  # (B, 3 T, 4)
    weighted = (weights[:, :, None] * rest[:, None, :]).reshape(len(rest), bones * 4)
    return weighted @ matrices.transpose(0, 2, 1).reshape(bones * 4, -1)


def decompose(data: MotionData, bones: int, rounds: int | None = None) -> Decomposition:
    """Decompose a sequence into at most ``bones`` rigid bones; fewer where they reproduce it as well.

    Args:
        data: the sequence.
        bones: number of bones at most.
        rounds: rounds of weights and transforms at most (default: ``SKINNING.rounds``).
    """
    return refined(data, initial_clusters(data, bones), SKINNING.rounds if rounds is None else rounds)


def refined(
    data: MotionData, start: Decomposition, rounds: int, joints: list[JointConstraint] | None = None
) -> Decomposition:
    """Solve for weights and transforms in turn, until the squared error falls by less than ``SKINNING.converged``.

    Args:
        data: the sequence.
        start: bones to start from.
        rounds: at most.
        joints: where bones are held together.
    """
    current, before = start, np.inf
    for _ in range(rounds):
        current = replace(current, weights=solve_weights(data, current.transforms, current.weights))
        current = replace(current, transforms=solve_transforms(data, current, joints or []))
        error = float((current.errors(data) ** 2).mean())
        if before - error < SKINNING.converged * before:
            break
        before = error
    return current


def initial_clusters(data: MotionData, bones: int) -> Decomposition:
    """Cluster the vertices by rigid motion; clusters of large error are split until there are ``bones``.

    Source: Le and Deng 2014, section 4.1.
    """
    count = len(data.rest)
    labels = np.zeros(count, dtype=np.int64)
    transforms = _fit_clusters(data, labels, 1)
    while True:
        errors = _cluster_errors(data, transforms)
        error = errors[np.arange(count), labels]
        total = np.bincount(labels, error, minlength=len(transforms))
        sizes = np.bincount(labels, minlength=len(transforms))
        wrong = (total > SKINNING.rigid_error**2 * sizes) & (sizes >= 2 * SKINNING.smallest_cluster)
        chosen = [int(b) for b in np.argsort(-total) if wrong[b]][: bones - len(transforms)]
        if not chosen:
            break
        before, grown = len(transforms), [transforms]
        for bone in chosen:
            members = np.flatnonzero(labels == bone)
            grown.append(_fit_points(data, _patch(data, members, error[members]))[None])
        transforms = np.concatenate(grown)
        for _ in range(SKINNING.cluster_rounds):
            labels = _cluster_errors(data, transforms).argmin(1)
            kept = np.flatnonzero(np.bincount(labels, minlength=len(transforms)) >= SKINNING.smallest_cluster)
            labels = _cluster_errors(data, transforms[kept]).argmin(1)
            transforms = _fit_clusters(data, labels, len(kept))
        if len(transforms) <= before:
            break  # all new clusters were empty: more bones would not help
    return Decomposition(np.eye(len(transforms))[labels], transforms)


def _patch(data: MotionData, members: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The vertices about the seed of a new cluster: far from the old one's middle and badly reproduced."""
    rest = data.rest[members, :3]
    seed = int((error * np.linalg.norm(rest - rest.mean(0), axis=1)).argmax())
    size = max(SKINNING.smallest_cluster, len(members) // SKINNING.patch_share)
    return members[cKDTree(rest).query(rest[seed], min(size, len(members)))[1]]


def _fit_points(data: MotionData, members: np.ndarray) -> np.ndarray:
    """The rigid transforms (T, 3, 4) of least squared distance for some vertices."""
    return _rigid_transforms(
        data.rest[members, :3], data.poses[members], np.ones(len(members)), np.ones(len(members)), [], []
    )


def _fit_clusters(data: MotionData, labels: np.ndarray, count: int) -> np.ndarray:
    return np.stack([_fit_points(data, np.flatnonzero(labels == bone)) for bone in range(count)])


def _rigid_transforms(
    rest: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    squared_weights: np.ndarray,
    pins: list[np.ndarray],
    pin_targets: list[np.ndarray],
) -> np.ndarray:
    """Rigid transforms (T, 3, 4): min sum_v |target_v - w_v (R x_v + t)|^2 + pin_weight sum_j |R p_j + t - q_j|^2.

    Source: Le and Deng 2012, equations 6 to 8.

    Args:
        rest: (N, 3).
        targets: (N, 3 T).
        weights: (N,) skin weights.
        squared_weights: (N,).
        pins: points (3,) of the rest pose.
        pin_targets: (T, 3) where each of them has to go.
    """
    frames = targets.shape[1] // 3
    total = squared_weights.sum()
    sum_rest = squared_weights @ rest
    sum_target = (weights @ targets).reshape(frames, 3)
    products = ((weights[:, None] * rest).T @ targets).reshape(3, frames, 3).transpose(1, 0, 2)
    pin_weight = SKINNING.joint_weight * max(total, 1e-6)
    for point, target in zip(pins, pin_targets, strict=True):
        total = total + pin_weight
        sum_rest = sum_rest + pin_weight * point
        sum_target = sum_target + pin_weight * target
        products = products + pin_weight * point[None, :, None] * target[:, None, :]
    correlation = products - sum_rest[None, :, None] * sum_target[:, None, :] / total
    rotations = best_rotations(torch.from_numpy(correlation)).numpy()
    translations = (sum_target - rotations @ sum_rest) / total
    return np.concatenate([rotations, translations[:, :, None]], 2)


def _cluster_errors(data: MotionData, transforms: np.ndarray) -> np.ndarray:
    """Mean squared distance (V, B) over frames of each vertex under each bone's motion."""
    linear, gram = _normal_equations(data, transforms)
    blocks = [gram[4 * bone : 4 * bone + 4, 4 * bone : 4 * bone + 4] for bone in range(len(transforms))]
    own = np.stack([((data.rest @ block) * data.rest).sum(1) for block in blocks], 1)
    return np.maximum(data.squared[:, None] - 2 * linear + own, 0) / data.frames


def _normal_equations(data: MotionData, transforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scalar products (V, B) of poses and bones' motions, and products (4 B, 4 B) of the bones' matrices."""
    bones = len(transforms)
    stacked = transforms.reshape(bones, -1, 4).transpose(0, 2, 1).reshape(bones * 4, -1)
    linear = ((data.poses @ stacked.T).reshape(-1, bones, 4) * data.rest[:, None, :]).sum(2)
    return linear, stacked @ stacked.T


def solve_weights(data: MotionData, transforms: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Skin weights (V, B) of least squared error plus the smoothness term, for given transforms.

    Args:
        data: the sequence.
        transforms: (B, T, 3, 4).
        before: (V, B) of the round before, which the smoothness term averages over neighbours.
    """
    linear, gram = _normal_equations(data, transforms)
    mean = np.ascontiguousarray(data.neighbours @ before)
    result = np.zeros(before.shape)
    linear, gram = np.ascontiguousarray(linear / data.frames), np.ascontiguousarray(gram / data.frames)
    arguments = (data.rest, linear, gram, mean, SKINNING.smoothness, SKINNING.influences, result)
    threads.share(solve_skin_weights, len(result), *arguments)
    return result


def solve_transforms(data: MotionData, current: Decomposition, joints: list[JointConstraint]) -> np.ndarray:
    """Bone transforms (B, T, 3, 4) of least squared error for given weights, one bone after the other."""
    transforms = current.transforms.copy()
    residual = data.poses - current.predicted(data)
    for bone in range(len(transforms)):
        members = np.flatnonzero(current.weights[:, bone] > 0)
        if len(members) == 0:
            continue
        weights, rest = current.weights[members, bone], data.rest[members]
        own = (weights[:, None] * rest) @ transforms[bone].reshape(-1, 4).T
        targets = residual[members] + own
        pins, pin_targets = [], []
        for joint in joints:
            if bone in joint.bones:
                other = transforms[joint.bones[1 - joint.bones.index(bone)]]
                pins.append(joint.position)
                pin_targets.append(other[:, :, :3] @ joint.position + other[:, :, 3])
        new = _rigid_transforms(rest[:, :3], targets, weights, weights**2, pins, pin_targets)
        transforms[bone] = new
        residual[members] = targets - (weights[:, None] * rest) @ new.reshape(-1, 4).T
    return transforms
