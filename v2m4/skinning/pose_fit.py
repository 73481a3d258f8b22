"""Poses of a given skeleton that reproduce the motion of a surface: Gauss-Newton over all frames together.

Unknown are increments of the local rotation of each rotating node (a rotation vector in its parent's space, applied
from the left) and of the translation of each translating node. Residuals are the distances of skinned points from their
targets, the angular acceleration of every joint between neighbouring frames (approximated by differences of the
increments) and a weak pull to the rest pose, which decides what no point shows. Bone lengths are constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solveh_banded

from v2m4.rotation import best_rotations, rotation_exp, rotation_log
from v2m4.skinning.skeleton import Binding, Skeleton, SkeletonPoses
from v2m4.skinning.tuning import POSE_FIT
from v2m4.threads import in_order

_GENERATORS = np.array(  # (3, 3, 3): the matrices of the cross product with each axis
    [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]],
    dtype=np.float64,
)


@dataclass(frozen=True)
class _Unknowns:
    """Which columns of a frame's Jacobian belong to which nodes.

    Attributes:
        rotating: (R,) node indices; three columns each, first.
        translating: (M,) node indices; three columns each, after the rotations.
    """

    rotating: np.ndarray
    translating: np.ndarray

    @property
    def count(self) -> int:
        return 3 * (len(self.rotating) + len(self.translating))


def fit_poses(
    skeleton: Skeleton, binding: Binding, targets: np.ndarray, size: float, start: SkeletonPoses | None = None
) -> SkeletonPoses:
    """Poses whose skinned points are nearest to their targets.

    Args:
        skeleton: the tree.
        binding: V points bound to it; nodes that none of them follows keep the rest pose.
        targets: (T, V, 3) in the world.
        size: of the object, in the world's units.
        start: initial poses (default: ``initial_poses``).
    """
    poses = initial_poses(skeleton, binding, targets) if start is None else start
    unknowns = _unknowns(skeleton, binding)
    if unknowns.count == 0:
        return poses
    damping, cost = POSE_FIT.damping, _cost(skeleton, binding, targets, size, poses, unknowns)
    for _ in range(POSE_FIT.iterations):
        matrices, gradient = _normal_equations(skeleton, binding, targets, size, poses, unknowns)
        step = _solve(matrices, gradient, _second_differences_weight(unknowns), damping)
        trial = _applied(skeleton, poses, unknowns, step, size)
        new_cost = _cost(skeleton, binding, targets, size, trial, unknowns)
        if new_cost > cost:
            damping *= 10
            if damping > 1:
                break
            continue
        converged = cost - new_cost < POSE_FIT.converged * cost
        poses, cost, damping = trial, new_cost, max(damping / 10, POSE_FIT.damping)
        if converged:
            break
    return poses


def initial_poses(skeleton: Skeleton, binding: Binding, targets: np.ndarray) -> SkeletonPoses:
    """Poses from the root down: each node takes the rotation that fits the points bound to it (Kabsch's solution).

    The rotation of its parent counts as further evidence, so that nodes with few points follow it.
    """
    frames = len(targets)
    poses = skeleton.rest(frames)
    rest_linear, rest_origin = (part[0] for part in skeleton.world(skeleton.rest(1)))
    rest_points = binding.skinned(rest_linear[None], rest_origin[None])[0]
    linear, origin = skeleton.world(poses)
    turns = np.broadcast_to(np.eye(3), (frames, len(skeleton), 3, 3)).copy()  # world rotations relative to the rest
    for node, parent in enumerate(skeleton.parents):
        above = turns[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (frames, 3, 3))
        rows, places = np.nonzero((binding.nodes == node) & (binding.weights > 0))
        turns[:, node] = above
        if skeleton.rotating[node] and len(rows):
            weights = binding.weights[rows, places]
            source = rest_points[rows] - weights @ rest_points[rows] / weights.sum()
            goal = targets[:, rows]
            correlation = np.einsum("n,ni,tnj->tij", weights, source, goal)
            spread = float((weights[:, None] * source**2).sum())
            prior = POSE_FIT.parent_share * max(spread, 1e-12) * above.transpose(0, 2, 1)
            turns[:, node] = best_rotations(torch.from_numpy(correlation + prior)).numpy()
        local = _local_rotation(skeleton, node, linear, turns[:, node] @ rest_linear[node])
        poses.rotations[:, node] = local
        if skeleton.translating[node] and len(rows):
            weights = binding.weights[rows, places]
            middle = weights @ rest_points[rows] / weights.sum() - rest_origin[node]
            goal = np.einsum("n,tni->ti", weights, targets[:, rows]) / weights.sum()
            wanted = goal - turns[:, node] @ middle
            poses.translations[:, node] = _local_point(skeleton, node, linear, origin, wanted)
        _update_world(skeleton, node, poses, linear, origin)
    return poses


def _local_rotation(skeleton: Skeleton, node: int, linear: np.ndarray, world: np.ndarray) -> np.ndarray:
    """The local rotations (T, 3, 3) for which a node's linear part comes nearest to (T, 3, 3)."""
    parent = skeleton.parents[node]
    above = linear[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), world.shape)
    wanted = np.linalg.solve(above, world) @ np.linalg.inv(skeleton.scales[node])
    return best_rotations(torch.from_numpy(np.ascontiguousarray(wanted.transpose(0, 2, 1)))).numpy()


def _local_point(
    skeleton: Skeleton, node: int, linear: np.ndarray, origin: np.ndarray, point: np.ndarray
) -> np.ndarray:
    """World points (T, 3) in the space of a node's parent."""
    parent = skeleton.parents[node]
    if parent < 0:
        return point
    return np.linalg.solve(linear[:, parent], (point - origin[:, parent])[..., None])[..., 0]


def _update_world(skeleton: Skeleton, node: int, poses: SkeletonPoses, linear: np.ndarray, origin: np.ndarray) -> None:
    """Recompute the world matrices of one node, its parent's being right."""
    parent = skeleton.parents[node]
    local, place = poses.rotations[:, node] @ skeleton.scales[node], poses.translations[:, node]
    if parent < 0:
        linear[:, node], origin[:, node] = local, place
    else:
        linear[:, node] = linear[:, parent] @ local
        origin[:, node] = (linear[:, parent] @ place[..., None])[..., 0] + origin[:, parent]


def _unknowns(skeleton: Skeleton, binding: Binding) -> _Unknowns:
    """The nodes that may move and that some point follows."""
    bound = np.zeros(len(skeleton), dtype=bool)
    bound[binding.nodes[binding.weights > 0]] = True
    followed = skeleton.followed(bound)
    return _Unknowns(np.flatnonzero(skeleton.rotating & followed), np.flatnonzero(skeleton.translating & followed))


def _normal_equations(
    skeleton: Skeleton,
    binding: Binding,
    targets: np.ndarray,
    size: float,
    poses: SkeletonPoses,
    unknowns: _Unknowns,
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (T, n, n) and negative gradients (T, n) of all residuals; the coupling of frames is ``_solve``'s.

    Moving a node by a rotation increment e_k in its parent's space moves a point by the matrix A [e_k] A^-1 times the
    weighted sum of its positions under the nodes of the subtree, relative to the node's origin (A: the parent's linear
    part).
    """
    linear, origin = skeleton.world(poses)
    above = skeleton.parent_linear(linear)
    inside = skeleton.subtrees()
    selected = np.concatenate([unknowns.rotating, unknowns.translating])
    membership = inside[selected].T.astype(np.float64)  # (J, S)
    frames, count, width = len(poses), len(binding.weights), unknowns.count
    turning = len(unknowns.rotating)
    share = _scattered(binding, binding.weights[..., None], len(skeleton))[..., 0] @ membership  # (V, S)
    matrices, gradient = np.empty((frames, width, width)), np.empty((frames, width))

    def assemble(frame: int) -> None:
        influences = binding.weights[..., None] * binding.influences(linear[frame], origin[frame])
        residual = (targets[frame] - influences.sum(1)).T / size
        moved = _scattered(binding, influences, len(skeleton)).transpose(2, 0, 1) @ membership  # (3, V, S)
        lever = (moved - share * origin[frame, selected].T[:, None]) / size
        parent = above[frame, unknowns.rotating]
        turn = parent[:, None] @ _GENERATORS @ np.linalg.inv(parent)[:, None]  # (R, 3 axes, 3, 3)
        jacobian = np.empty((3, count, len(selected), 3))
        columns = turn.reshape(turning, 9, 3) @ lever[:, :, :turning].transpose(2, 0, 1)  # (R, 9, V)
        jacobian[:, :, :turning] = columns.reshape(turning, 3, 3, count).transpose(2, 3, 0, 1)
        jacobian[:, :, turning:] = np.eye(3)[:, None, None, :] * share[None, :, turning:, None]
        flat = jacobian.reshape(3 * count, width)
        matrices[frame] = flat.T @ flat / count
        gradient[frame] = flat.T @ residual.reshape(-1) / count

    in_order(assemble, range(frames))
    vectors = _increments_from_rest(skeleton, poses, unknowns, size)
    prior = np.repeat(
        np.where(np.arange(len(selected)) < turning, POSE_FIT.rest_weight, 0.0), 3
    )  # of translations nothing is assumed
    matrices[:, np.arange(width), np.arange(width)] += prior
    gradient -= prior * vectors
    return matrices, gradient - _smoothness_gradient(poses, unknowns, size)


def _scattered(binding: Binding, values: np.ndarray, nodes: int) -> np.ndarray:
    """Values (V, K, C) of each influence as (V, J, C)."""
    result = np.zeros((len(values), nodes, values.shape[2]))
    rows = np.broadcast_to(np.arange(len(values))[:, None], binding.nodes.shape)
    np.add.at(result, (rows, binding.nodes), values)
    return result


def _increments_from_rest(skeleton: Skeleton, poses: SkeletonPoses, unknowns: _Unknowns, size: float) -> np.ndarray:
    """Rotation vectors from the rest pose, and translations in sizes, (T, n)."""
    nodes = unknowns.rotating
    relative = poses.rotations[:, nodes] @ skeleton.rotations[nodes].transpose(0, 2, 1)
    moved = (poses.translations - skeleton.translations)[:, unknowns.translating] / size
    return np.concatenate([rotation_log(relative), moved], 1).reshape(len(poses), -1)


def _velocities(poses: SkeletonPoses, unknowns: _Unknowns, size: float) -> np.ndarray:
    """Rotation vectors and translations in sizes from each frame to the next, (T - 1, n)."""
    rotations = poses.rotations[:, unknowns.rotating]
    turns = rotation_log(rotations[1:] @ rotations[:-1].transpose(0, 1, 3, 2))
    moved = np.diff(poses.translations[:, unknowns.translating], axis=0) / size
    return np.concatenate([turns, moved], 1).reshape(max(len(poses) - 1, 0), -1)


def _second_differences_weight(unknowns: _Unknowns) -> np.ndarray:
    """Weight (n,) of the squared acceleration of each unknown."""
    return np.full(unknowns.count, POSE_FIT.acceleration_weight)


def _smoothness_gradient(poses: SkeletonPoses, unknowns: _Unknowns, size: float) -> np.ndarray:
    """Gradient (T, n) of half the weighted squared accelerations."""
    gradient = np.zeros((len(poses), unknowns.count))
    if len(poses) > 2:
        acceleration = np.diff(_velocities(poses, unknowns, size), axis=0) * _second_differences_weight(unknowns)
        gradient[:-2] += acceleration
        gradient[1:-1] -= 2 * acceleration
        gradient[2:] += acceleration
    return gradient


def _solve(matrices: np.ndarray, gradient: np.ndarray, smoothness: np.ndarray, damping: float) -> np.ndarray:
    """Increments (T, n) of the block-banded system of all frames."""
    frames, width = gradient.shape
    bands = 2 * width + 1 if frames > 2 else width
    band = np.zeros((frames, width, bands))  # lower form, each column's entries together: band[j, k] = A[j + k, j]
    for k in range(width):
        band[:, : width - k, k] = np.diagonal(matrices, -k, 1, 2)
    band[..., 0] += damping * (np.einsum("tii->ti", matrices).mean(1, keepdims=True) * 0.1 + 1e-9)
    if frames > 2:
        second = np.zeros((frames - 2, frames))
        rows = np.arange(frames - 2)
        second[rows, rows], second[rows, rows + 1], second[rows, rows + 2] = 1, -2, 1
        coupling = second.T @ second
        for step in range(3):
            diagonal = np.diagonal(coupling, -step)
            band[: len(diagonal), :, step * width] += diagonal[:, None] * smoothness
    lower = band.reshape(-1, bands).T  # in LAPACK's order: solved in place, not copied
    solution = solveh_banded(lower, gradient.reshape(-1), overwrite_ab=True, lower=True, check_finite=False)
    return solution.reshape(frames, width)


def _applied(
    skeleton: Skeleton, poses: SkeletonPoses, unknowns: _Unknowns, step: np.ndarray, size: float
) -> SkeletonPoses:
    """Poses after increments (T, n); a rotation increment is at most ``POSE_FIT.largest_step`` long."""
    step = step.reshape(len(poses), -1, 3)
    turning = len(unknowns.rotating)
    vectors = step[:, :turning]
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors = vectors * np.minimum(1.0, POSE_FIT.largest_step / np.maximum(length, 1e-12))
    rotations, translations = poses.rotations.copy(), poses.translations.copy()
    rotations[:, unknowns.rotating] = rotation_exp(vectors) @ rotations[:, unknowns.rotating]
    linear, _ = skeleton.world(poses)
    above = skeleton.parent_linear(linear)[:, unknowns.translating]
    moved = np.linalg.solve(above, (size * step[:, turning:])[..., None])[..., 0]
    translations[:, unknowns.translating] += moved
    return SkeletonPoses(rotations, translations)


def _cost(
    skeleton: Skeleton,
    binding: Binding,
    targets: np.ndarray,
    size: float,
    poses: SkeletonPoses,
    unknowns: _Unknowns,
) -> float:
    """Half the weighted sum of squared residuals."""
    residual = (binding.skinned(*skeleton.world(poses)) - targets) / size
    cost = float((residual**2).sum()) / targets.shape[1]
    turning = 3 * len(unknowns.rotating)
    cost += POSE_FIT.rest_weight * float(
        (_increments_from_rest(skeleton, poses, unknowns, size)[:, :turning] ** 2).sum()
    )
    if len(poses) > 2:
        acceleration = np.diff(_velocities(poses, unknowns, size), axis=0)
        cost += float((_second_differences_weight(unknowns) * acceleration**2).sum())
    return cost / 2
