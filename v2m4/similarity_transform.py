"""Similarity transforms between point sets: Umeyama's closed form, and trimmed iterative closest points (ICP).

Sources: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns"; Besl and
McKay 1992, "A Method for Registration of 3-D Shapes"; Chetverikov et al. 2002, "The Trimmed Iterative Closest Point
Algorithm".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from v2m4.rotation import angles_between


@dataclass(frozen=True)
class SimilarityTransform:
    """The map x -> scale * rotation @ x + translation.

    Attributes:
        scale: positive.
        rotation: (3, 3).
        translation: (3,).
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) transformed."""
        return points @ (self.scale * self.rotation).T + self.translation

    @property
    def matrix(self) -> np.ndarray:
        """Homogeneous (4, 4) matrix, for column vectors."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation, self.translation
        return matrix

    def after(self, first: SimilarityTransform) -> SimilarityTransform:
        """The composition: ``first``, then this one."""
        return SimilarityTransform(self.scale * first.scale, self.rotation @ first.rotation, self(first.translation))

    def inverse(self) -> SimilarityTransform:
        """The inverse transform."""
        return SimilarityTransform(1 / self.scale, self.rotation.T, -self.translation @ self.rotation / self.scale)

    def angle(self, other: SimilarityTransform) -> float:
        """Angle between the two rotations, radians."""
        return float(angles_between(self.rotation, other.rotation))


def umeyama(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, scale: float | None = None
) -> SimilarityTransform:
    """Similarity transform of least weighted mean squared distance between corresponding points; never a reflection.

    Source: Umeyama 1991, equations 39 to 43.

    Args:
        source: (N, 3).
        target: (N, 3).
        weights: (N,) non-negative; equal if None.
        scale: fixed scale; solved for if None.

    Raises:
        ValueError: the weights sum to 0, or all source points coincide and no scale is given.
    """
    weights = np.ones(len(source)) if weights is None else weights
    total = weights.sum()
    if not total > 0:
        raise ValueError("umeyama: no correspondence has a positive weight")
    weights = weights / total
    source_mean, target_mean = weights @ source, weights @ target
    source, target = source - source_mean, target - target_mean
    left, values, right = np.linalg.svd(target.T @ (weights[:, None] * source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = (left * signs) @ right
    if scale is None:
        spread = float(weights @ (source**2).sum(1))
        if spread <= 0:
            raise ValueError("umeyama: all source points coincide")
        scale = max(float(values @ signs) / spread, 1e-12)
    return SimilarityTransform(scale, rotation, target_mean - scale * rotation @ source_mean)


class SimilarityIcp:
    """Iterative closest points between two point sets; see ``run``.

    A similarity preserves nearest neighbours, so each set's k-d tree is built once.

    Args:
        source: (N, 3).
        target: (M, 3).
        both_ways: use correspondences in both directions, with equal total weights, and solve for the scale: with one
            direction alone the residual falls as the source shrinks into a part of the target. Otherwise
            correspondences go from the source only, which may be a part of the target, and the scale is fixed.
        kept: fraction of each direction's correspondences that is kept, those of least distance (trimmed ICP).
        workers: threads of the search; the result does not depend on it.
    """

    def __init__(
        self, source: np.ndarray, target: np.ndarray, both_ways: bool = True, kept: float = 1.0, workers: int = 1
    ) -> None:
        self.source, self.target, self.both_ways = source, target, both_ways
        self.kept, self.workers = kept, workers
        self.target_tree = cKDTree(target, balanced_tree=False, compact_nodes=False)
        self.source_tree = cKDTree(source, balanced_tree=False, compact_nodes=False) if both_ways else None

    def run(self, start: SimilarityTransform, steps: int, tolerance: float = 1e-6) -> tuple[SimilarityTransform, float]:
        """Run ICP from ``start``; returns the transform and its mean closest-point distance, averaged over directions.

        Stops after ``steps``, or when the relative decrease of the mean squared distance is less than ``tolerance``.
        The result is the iterate of least mean distance.
        """
        current, best, least, previous = start, start, math.inf, math.inf
        for _ in range(steps + 1):
            ways = self._matches(current)
            distance = float(np.mean([way[2].mean() for way in ways]))
            if distance < least:
                best, least = current, distance
            error = float(sum((way[2] ** 2).mean() for way in ways))
            if previous - error <= tolerance * error:
                break
            previous = error
            sources, targets = (np.concatenate([way[side] for way in ways]) for side in (0, 1))
            counts = [len(way[2]) for way in ways]
            weights = np.repeat([1 / count for count in counts], counts)
            current = umeyama(sources, targets, weights, None if self.both_ways else current.scale)
        return best, least

    def _matches(self, current: SimilarityTransform) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each direction the corresponding points of source (K, 3) and target (K, 3), and their distances (K,)."""
        distance, index = self.target_tree.query(current(self.source), workers=self.workers)
        ways = [(self.source, self.target[index], distance)]
        if self.source_tree is not None:
            distance, index = self.source_tree.query(current.inverse()(self.target), workers=self.workers)
            ways.append((self.source[index], self.target, distance * current.scale))
        return [self._trimmed(*way) for way in ways] if self.kept < 1 else ways

    def _trimmed(
        self, source: np.ndarray, target: np.ndarray, distance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        near = distance <= np.quantile(distance, self.kept)
        return source[near], target[near], distance[near]
