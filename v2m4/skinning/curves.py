"""Animation curves of a skeleton, with only the keys that linear interpolation needs.

A curve's keys are chosen by recursive subdivision (Ramer, Douglas and Peucker): the frame that the interpolation misses
by most becomes a key, until none is missed by more than a tolerance. Rotations are interpolated spherically, as glTF
players do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v2m4.rotation import matrix_from_quaternion, quaternion_from_matrix, slerp
from v2m4.skinning.skeleton import Binding, Skeleton, SkeletonPoses

Interpolation = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_TRIALS = 8  # of a smaller tolerance for each curve, until all curves together meet the tolerance


@dataclass(frozen=True)
class Curve:
    """Keys of one channel of one node; between them values are interpolated linearly.

    Attributes:
        node: index in the skeleton.
        path: ``rotation`` (unit quaternions x, y, z, w) or ``translation``.
        times: (K,) float64 seconds, ascending.
        values: (K, 4) or (K, 3) float64.
    """

    node: int
    path: str
    times: np.ndarray
    values: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Values at times (T,); the first or last key's outside."""
        return _interpolated(self.times, self.values, times, slerp if self.path == "rotation" else _linear)


def curves_of(skeleton: Skeleton, poses: SkeletonPoses, times: np.ndarray) -> list[Curve]:
    """The curves of all nodes that may move, a key at every frame.

    Args:
        skeleton: the tree.
        poses: T of them.
        times: (T,) seconds.
    """
    curves = []
    for node in range(len(skeleton)):
        if skeleton.rotating[node]:
            quaternions = _continuous(quaternion_from_matrix(poses.rotations[:, node]))
            curves.append(Curve(node, "rotation", times, quaternions))
        if skeleton.translating[node]:
            curves.append(Curve(node, "translation", times, poses.translations[:, node]))
    return curves


def poses_at(skeleton: Skeleton, curves: list[Curve], times: np.ndarray) -> SkeletonPoses:
    """The poses that curves give at times (T,); nodes without a curve keep the rest pose."""
    poses = skeleton.rest(len(times))
    for curve in curves:
        if curve.path == "rotation":
            poses.rotations[:, curve.node] = matrix_from_quaternion(curve.at(times))
        else:
            poses.translations[:, curve.node] = curve.at(times)
    return poses


def thinned(
    skeleton: Skeleton, binding: Binding, poses: SkeletonPoses, times: np.ndarray, tolerance: float
) -> list[Curve]:
    """Curves with as few keys as keep every bound point within a tolerance of the poses given.

    A curve that stays at the rest pose is left out; one that does not change has one key.

    Args:
        skeleton: the tree.
        binding: the points.
        poses: T of them.
        times: (T,) seconds, ascending.
        tolerance: largest distance of a point, in the world's units.
    """
    whole = curves_of(skeleton, poses, times)
    wanted = skeleton.world(poses)
    radii = _radii(skeleton, binding)
    share = 1.0
    for _ in range(_TRIALS):
        curves = [_thin(skeleton, curve, share * tolerance, radii[curve.node]) for curve in whole]
        kept = [curve for curve in curves if not _is_rest(skeleton, curve, share * tolerance, radii[curve.node])]
        found = skeleton.world(poses_at(skeleton, kept, times))
        if _is_within(binding, found, wanted, tolerance):
            return kept
        share /= 2
    return whole


def _is_within(
    binding: Binding, found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray], tolerance: float
) -> bool:
    """Whether no skinned point is farther than a tolerance from where other matrices of the nodes place it."""
    pairs = zip(binding.each_skinned(*found), binding.each_skinned(*wanted), strict=True)
    return all(bool(np.linalg.norm(first - second, axis=1).max() <= tolerance) for first, second in pairs)


def _radii(skeleton: Skeleton, binding: Binding) -> np.ndarray:
    """Distance (J,) of the farthest point of a node's subtree from the node, in the rest pose and the world's units."""
    linear, origin = (part[0] for part in skeleton.world(skeleton.rest(1)))
    points = binding.skinned(linear[None], origin[None])[0]
    bound = np.zeros((len(skeleton), len(points)), dtype=bool)
    rows = np.broadcast_to(np.arange(len(points))[:, None], binding.nodes.shape)
    used = binding.weights > 0
    bound[binding.nodes[used], rows[used]] = True
    below = skeleton.subtrees().astype(np.float32) @ bound.astype(np.float32) > 0
    distances = np.linalg.norm(points[None] - origin[:, None], axis=2)
    return np.where(below, distances, 0).max(1)


def _thin(skeleton: Skeleton, curve: Curve, tolerance: float, radius: float) -> Curve:
    """The curve with only the keys that it needs."""
    distance, interpolation, limit = _measure(curve.path, tolerance, radius)
    if (distance(curve.values, curve.values[:1]) <= limit).all():
        return Curve(curve.node, curve.path, curve.times[:1], curve.values[:1])
    kept = np.zeros(len(curve.times), dtype=bool)
    kept[[0, -1]] = True
    pending = [(0, len(curve.times) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        inner = np.arange(first + 1, last)
        ends = [first, last]
        found = _interpolated(curve.times[ends], curve.values[ends], curve.times[inner], interpolation)
        missed = distance(found, curve.values[inner])
        if missed.max() > limit:
            worst = int(inner[missed.argmax()])
            kept[worst] = True
            pending += [(first, worst), (worst, last)]
    return Curve(curve.node, curve.path, curve.times[kept], curve.values[kept])


def _is_rest(skeleton: Skeleton, curve: Curve, tolerance: float, radius: float) -> bool:
    """Whether a curve stays at the node's rest value."""
    if len(curve.times) > 1:
        return False
    distance, _, limit = _measure(curve.path, tolerance, radius)
    rest = skeleton.translations[curve.node]
    if curve.path == "rotation":
        rest = quaternion_from_matrix(skeleton.rotations[curve.node])
    return bool(distance(curve.values, rest[None])[0] <= limit)


def _measure(path: str, tolerance: float, radius: float) -> tuple[Callable, Interpolation, float]:
    """Distance between values, interpolation, and the limit of the distance that moves no point beyond a tolerance."""
    if path == "rotation":
        return _angles, slerp, tolerance / max(radius, 1e-12)
    return (lambda first, second: np.linalg.norm(first - second, axis=-1)), _linear, tolerance


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles (T,) between unit quaternions, radians; accurate for small ones."""
    signs = np.where((first * second).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return 4 * np.arcsin(np.clip(np.linalg.norm(first - signs * second, axis=-1) / 2, 0, 1))


def _linear(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Values (T, C) between two of each time, by shares (T, 1)."""
    return first + share * (second - first)


def _interpolated(keys: np.ndarray, values: np.ndarray, times: np.ndarray, interpolation: Interpolation) -> np.ndarray:
    """Values (T, C) at times, between keys (K,) with values (K, C)."""
    if len(keys) == 1:
        return np.repeat(values, len(times), 0)
    after = np.clip(np.searchsorted(keys, times, side="right"), 1, len(keys) - 1)
    share = np.clip((times - keys[after - 1]) / (keys[after] - keys[after - 1]), 0, 1)
    return interpolation(values[after - 1], values[after], share[:, None])


def _continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (T, 4) with signs such that neighbours lie on the same hemisphere."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0)
    return quaternions * np.concatenate([[1.0], np.cumprod(flips)])[:, None]
