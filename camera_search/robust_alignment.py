"""Alignment of point maps with a mesh: from matches in spite of outliers, and without any matches."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from v2m4.rotation import cube_rotations, half_turn
from v2m4.similarity_transform import SimilarityIcp, SimilarityTransform, umeyama

TRIPLES = 128  # minimal samples of correspondences, each of which proposes a transform
MAX_JUDGED = 1024  # correspondences over which a proposal's median residual is taken, at most
NOISE = 1e-6  # of the target's size: residuals below are taken for rounding
KEPT = 0.8  # share of nearest pairs that count; the others may lie on parts that the other side does not have
TOLERANCE = 4e-4  # of the mean squared distance: a round that lowers it by less is the last
CLOSER = 6  # of all starts, these are followed to the end with all points


def fit_robustly(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> SimilarityTransform:
    """Similarity transform of correspondences with up to half outliers, by least median of squares, then IRLS.

    Random triples of correspondences propose transforms; the one of least median residual is refined by iteratively
    reweighted least squares with a Geman-McClure kernel, whose scale is set from the median squared residual.

    Args:
        source: (N, 3), at least three points that are not in one line.
        target: (N, 3).
        weights: (N,) weight of each correspondence.
        generator: for the random triples.

    Raises:
        ValueError: fewer than three correspondences, or all source points are equal.
    """
    if len(source) < 3:
        raise ValueError(f"fit_robustly: three matches are needed, got {len(source)}")
    judged = generator.permutation(len(source))[:MAX_JUDGED]
    floor = NOISE * float(np.ptp(target, axis=0).max())
    best, best_median = umeyama(source, target, weights), math.inf
    for _ in range(TRIPLES):
        chosen = generator.choice(len(source), 3, replace=False)
        try:
            proposal = umeyama(source[chosen], target[chosen])
        except ValueError:
            continue
        median = float(np.median(np.linalg.norm(proposal(source[judged]) - target[judged], axis=1)))
        if median < best_median:
            best, best_median = proposal, median
    for _ in range(20):
        squared = ((best(source) - target) ** 2).sum(1)
        kernel_scale = 1.5 * float(np.median(squared)) + floor**2
        following = umeyama(source, target, weights * (kernel_scale / (kernel_scale + squared)) ** 2)
        moved = np.abs(following(source[judged]) - best(source[judged])).max()
        best = following
        if moved < floor:
            break
    return best


def turned_about(start: SimilarityTransform, rotation: np.ndarray, center: np.ndarray) -> SimilarityTransform:
    """A transform followed by a rotation (3, 3) about a point (3,)."""
    return SimilarityTransform(1.0, rotation, center - rotation @ center).after(start)


def half_turns(start: SimilarityTransform, center: np.ndarray) -> list[SimilarityTransform]:
    """A transform, and the same followed by half a turn about each axis through a point (3,)."""
    axes = np.eye(3)[[1, 0, 2]]  # about the upright axis first: a front taken for a back
    return [turned_about(start, rotation, center) for rotation in (np.eye(3), *half_turn(axes))]


def restarts(points: np.ndarray, surface: np.ndarray) -> list[SimilarityTransform]:
    """Where to start when nothing is known: median and spread made equal, then 24 rotations."""
    middle, center = np.median(points, axis=0), np.median(surface, axis=0)
    spread = np.median(np.linalg.norm(points - middle, axis=1))
    scale = float(np.median(np.linalg.norm(surface - center, axis=1)) / max(spread, 1e-12))
    centred = SimilarityTransform(scale, np.eye(3), center - scale * middle)
    return [turned_about(centred, rotation, center) for rotation in cube_rotations()]


def align_to_surface(
    points: np.ndarray,
    surface: np.ndarray,
    starts: Iterable[SimilarityTransform],
    both_ways: bool = True,
    rounds: int = 60,
    most: int = 1500,
) -> tuple[SimilarityTransform, float]:
    """Bring points onto a surface that they were measured on, wherever they are.

    Trimmed iterative closest points (ICP) with scale, for a few rounds from every start and for all rounds from the
    best ones. Distances are taken from the points to the surface and back: without the latter a small scale would
    always win. Where the points cover only a part of the surface, the latter is left out and the scale is kept.

    Source: V2M4 section 3.2 aligns point maps by gradient descent on the chamfer distance, from one start and, at
    three quarters of it, half a turn from there.

    Args:
        points: (N, 3) in a space of their own.
        surface: (M, 3) samples.
        starts: where to start.
        both_ways: the points cover all of the surface.
        rounds: at most, of the best starts.
        most: points and samples used at most, spread evenly over those given.

    Returns:
        the transform, and its mean trimmed distance in units of the surface.

    Raises:
        ValueError: there is no point, no surface or no start.
    """
    if len(points) == 0 or len(surface) == 0:
        raise ValueError(f"align_to_surface: {len(points)} points and {len(surface)} samples of the surface")
    few = SimilarityIcp(thinned(points, most // 3), thinned(surface, most // 3), both_ways, KEPT)
    tried = sorted((few.run(start, 15, TOLERANCE) for start in starts), key=lambda result: result[1])
    if not tried:
        raise ValueError("align_to_surface: no start given")
    all_points = SimilarityIcp(thinned(points, most), thinned(surface, most), both_ways, KEPT)
    return min((all_points.run(start, rounds, TOLERANCE) for start, _ in tried[:CLOSER]), key=lambda result: result[1])


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` rows of an array (N, ...), spread evenly over it."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.int64)]
