"""Registration of point sets: from known correspondences, and by iterative closest points (ICP).

Transforms are (4, 4) float64 matrices that map the source's points to the target's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from v2m4 import threads
from v2m4.rotation import axis_rotation
from v2m4.similarity_transform import SimilarityIcp, SimilarityTransform

COARSE_POINTS, COARSE_STEPS = 1000, 40
FINE_STEPS, FINALISTS = 100, 2


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) under a (4, 4) affine map."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def affine(linear: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The (4, 4) affine map of a linear part (3, 3) and a translation (3,)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, translation
    return matrix


def normalizing(centre: np.ndarray, side: float, target_side: float = 2.0) -> np.ndarray:
    """The map of a bounding box with this centre and longest side to the origin and the target side."""
    scale = target_side / side
    return affine(scale * np.eye(3), -scale * centre)


def yaw_starts(count: int = 8) -> np.ndarray:
    """Evenly spaced rotations about the y axis, the identity first, (count, 3, 3)."""
    angles = np.arange(count) * (2 * np.pi / count)
    return axis_rotation(1, angles)


@dataclass(frozen=True)
class IcpRegistration:
    """The result of an ICP.

    Attributes:
        matrix: (4, 4) source to target.
        distance: chamfer distance (mean nearest distance, both directions added) under that map.
        start: index of the start rotation of the best run.
    """

    matrix: np.ndarray
    distance: float
    start: int


def register_similarity(source: np.ndarray, target: np.ndarray, starts: np.ndarray) -> IcpRegistration:
    """Similarity ICP from several start rotations; returns the run with the least chamfer distance.

    Every start runs on the first ``COARSE_POINTS`` points (which must be in random order), the ``FINALISTS`` best
    continue with all. Correspondences are bidirectional: those of the source alone reward shrinking it into a part of
    the target.

    Args:
        source: (N, 3), centred and scaled roughly as the target.
        target: (M, 3).
        starts: (S, 3, 3) rotations about the origin.
    """
    coarse = SimilarityIcp(source[:COARSE_POINTS], target[:COARSE_POINTS], workers=threads.count())
    coarse_results = [coarse.run(SimilarityTransform(1.0, start, np.zeros(3)), COARSE_STEPS) for start in starts]
    order = np.argsort([distance for _, distance in coarse_results], kind="stable")[:FINALISTS]
    fine = SimilarityIcp(source, target, workers=threads.count())
    fine_results = [(*fine.run(coarse_results[start][0], FINE_STEPS), int(start)) for start in order]
    transform, distance, start = min(fine_results, key=lambda item: item[1])
    return IcpRegistration(transform.matrix, 2 * distance, start)


def motion80_code_icp(source: np.ndarray, target: np.ndarray, steps: int = 1000, tolerance: float = 1e-7) -> np.ndarray:
    """Rigid ICP with a scale set once, step by step as in Motion 3-to-4's ``evaluation_pcd.py``.

    Two peculiarities are reproduced, because published figures depend on them: the scale is the ratio of the boxes' x
    and y sides alone, clipped to [0.95, 1.05]; and each step's rotation is multiplied on the source's side although it
    is estimated on the target's, so that from unaligned starts the iteration need not converge.

    Args:
        source: (N, 3).
        target: (M, 3).
        steps: largest number of iterations.
        tolerance: change of the mean distance below which it has converged.
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
