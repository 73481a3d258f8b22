"""Registration of one set of points to another: from correspondences, and without (iterated closest points).

Transforms are (4, 4) float64 matrices that map the source's points to the target's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from evaluation.surface_points import search_tree
from v2m4 import threads

COARSE_POINTS, COARSE_STEPS = 1000, 40
FINE_STEPS, FINALISTS = 100, 2


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) under a (4, 4) affine map."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def affine(linear: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The (4, 4) map of a (3, 3) matrix, then a translation (3,)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, translation
    return matrix


def normalizing(centre: np.ndarray, side: float, wanted: float = 2.0) -> np.ndarray:
    """The map that brings a box of that centre and longest side to the origin and the wanted side."""
    scale = wanted / side
    return affine(scale * np.eye(3), -scale * centre)


def umeyama(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The similarity (rotation, uniform scale, translation) of least squared distance between paired points.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns".

    Args:
        source: (N, 3).
        target: (N, 3).
        weights: (N,) or None for equal ones.
    """
    weights = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    source_mean, target_mean = weights @ source, weights @ target
    source, target = source - source_mean, target - target_mean
    left, values, right = np.linalg.svd(target.T @ (weights[:, None] * source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    spread = float(weights @ (source**2).sum(1))
    scale = float(values @ signs) / spread if spread > 0 else 1.0
    return affine(scale * rotation, target_mean - scale * rotation @ source_mean)


def yaw_starts(count: int = 8) -> np.ndarray:
    """Rotations about the upright axis (y), evenly spread, the identity first: (count, 3, 3)."""
    angles = np.arange(count) * (2 * np.pi / count)
    return Rotation.from_rotvec(angles[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix()


def cube_starts() -> np.ndarray:
    """The 24 rotations of the cube, the identity first: (24, 3, 3). For sides that differ in what is up."""
    rotations = np.round(Rotation.create_group("O").as_matrix())
    first = np.argsort(np.abs(rotations - np.eye(3)).sum((1, 2)) > 0, kind="stable")
    return rotations[first]


@dataclass(frozen=True)
class Registration:
    """What an ICP found.

    Attributes:
        matrix: (4, 4) source to target.
        distance: mean distance to the nearest point, one way plus the other, under that map.
        start: index of the start rotation that led there.
    """

    matrix: np.ndarray
    distance: float
    start: int


def register_similarity(source: np.ndarray, target: np.ndarray, starts: np.ndarray) -> Registration:
    """Similarity ICP from several start rotations; the best by mean distance both ways is kept.

    Every start runs on the first ``COARSE_POINTS`` points (given in random order), the ``FINALISTS`` best go on with
    all. Correspondences go both ways, because one way alone rewards shrinking the source into a part of the target.

    Args:
        source: (N, 3), centred and scaled roughly as the target.
        target: (M, 3).
        starts: (S, 3, 3) rotations about the origin.
    """
    coarse = _SimilarityIcp(source[:COARSE_POINTS], target[:COARSE_POINTS])
    rough = [coarse.run(affine(start, np.zeros(3)), COARSE_STEPS) for start in starts]
    order = np.argsort([distance for _, distance in rough], kind="stable")[:FINALISTS]
    fine = _SimilarityIcp(source, target)
    finished = [(*fine.run(rough[start][0], FINE_STEPS), int(start)) for start in order]
    return Registration(*min(finished, key=lambda item: item[1]))


class _SimilarityIcp:
    """ICP between two fixed sets of points; a similarity keeps neighbours, so each side's tree is built once."""

    def __init__(self, source: np.ndarray, target: np.ndarray) -> None:
        self.source, self.target = source, target
        self.source_tree, self.target_tree = search_tree(source), search_tree(target)
        # Either way counts alike, however many points each side has.
        self.weights = np.repeat([1 / len(source), 1 / len(target)], [len(source), len(target)])

    def run(self, matrix: np.ndarray, steps: int, tolerance: float = 1e-6) -> tuple[np.ndarray, float]:
        """The map that ICP reaches from ``matrix``, and its mean distance one way plus the other.

        Ends when the mean squared distance falls by less than ``tolerance`` of itself.
        """
        previous, best, best_distance = np.inf, matrix, np.inf
        for _ in range(steps + 1):
            scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
            out, there = self.target_tree.query(apply(matrix, self.source), workers=threads.count())
            back, here = self.source_tree.query(apply(np.linalg.inv(matrix), self.target), workers=threads.count())
            back = back * scale
            distance = float(out.mean() + back.mean())
            if distance < best_distance:
                best, best_distance = matrix, distance
            error = float((out**2).mean() + (back**2).mean())
            if previous - error <= tolerance * error:
                break
            previous = error
            sources = np.concatenate([self.source, self.source[here]])
            targets = np.concatenate([self.target[there], self.target])
            matrix = umeyama(sources, targets, self.weights)
        return best, best_distance


def owner_icp(source: np.ndarray, target: np.ndarray, steps: int = 1000, tolerance: float = 1e-7) -> np.ndarray:
    """Rigid ICP with a scale set once, step by step as Motion 3-to-4's ``evaluation_pcd.py`` computes it.

    Two peculiarities are kept on purpose, because published figures were made with them: the scale follows from the
    boxes' x and y sides alone, between 0.95 and 1.05; and each step's rotation is multiplied on from the source's side
    although it was measured on the target's, so that from unaligned starts the steps need not come to rest.

    Args:
        source: (N, 3).
        target: (M, 3).
        steps: at most.
        tolerance: the mean distance changes by less: at rest.
    """
    source_side, target_side = (float(np.ptp(points[:, :2], axis=0).max()) for points in (source, target))
    scale = float(np.clip(target_side / source_side, 0.95, 1.05)) if source_side > 1e-10 else 1.0
    tree = cKDTree(target)
    rotation, translation, previous = np.eye(3), np.zeros(3), np.inf
    for _ in range(steps):
        moved = scale * (source @ rotation.T) + translation
        distances, index = tree.query(moved, workers=threads.count())
        error = float(distances.mean())
        if abs(previous - error) < tolerance:
            break
        previous = error
        matched = target[index]
        moved_mean, matched_mean = moved.mean(0), matched.mean(0)
        left, _, right = np.linalg.svd((moved - moved_mean).T @ (matched - matched_mean))
        if np.linalg.det(right.T @ left.T) < 0:
            right[-1] *= -1
        step = right.T @ left.T
        translation = step @ translation + matched_mean - step @ moved_mean
        left, _, right = np.linalg.svd(rotation @ step)
        rotation = left @ right
    return affine(scale * rotation, translation)
