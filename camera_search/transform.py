"""Similarity transforms between point sets: in closed form, in spite of outliers, and without any matches."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from v2m4.rotation import angles_between, cube_rotations, half_turn

TRIPLES = 128  # of matches, each proposes a transform
JUDGES = 1024  # matches that a proposal is judged by
NOISE = 1e-6  # of the target's size: residuals below are none
KEPT = 0.8  # share of nearest pairs that count; the others may lie on parts that the other side does not have
CLOSER = 6  # of all starts, these are followed to the end with all points


@dataclass(frozen=True)
class Transform:
    """x -> scale * rotation @ x + translation.

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
        return self.scale * points @ self.rotation.T + self.translation

    def after(self, first: Transform) -> Transform:
        """This one applied to what ``first`` makes."""
        return Transform(self.scale * first.scale, self.rotation @ first.rotation, self(first.translation))

    def inverse(self) -> Transform:
        """What leads back."""
        return Transform(1 / self.scale, self.rotation.T, -self.translation @ self.rotation / self.scale)

    def angle(self, other: Transform) -> float:
        """Radians between the rotations."""
        return float(angles_between(self.rotation, other.rotation))


def umeyama(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, scale: float | None = None
) -> Transform:
    """The transform that brings matched points closest, in the weighted least-squares sense.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns".

    Args:
        source: (N, 3).
        target: (N, 3).
        weights: (N,) not negative; equal if None.
        scale: kept at this value where one is given.

    Raises:
        ValueError: the source is a single point, or there is no weight.
    """
    weights = np.ones(len(source)) if weights is None else weights
    total = weights.sum()
    if not total > 0:
        raise ValueError("umeyama: no matches with a weight")
    share = (weights / total)[:, None]
    source_mean, target_mean = (share * source).sum(0), (share * target).sum(0)
    first, second = source - source_mean, target - target_mean
    spread = float((share * first**2).sum())
    if spread <= 0:
        raise ValueError("umeyama: all source points are one")
    left, values, right = np.linalg.svd((share * second).T @ first)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])  # never a reflection
    rotation = (left * signs) @ right
    if scale is None:
        scale = max(float((values * signs).sum()) / spread, 1e-12)
    return Transform(scale, rotation, target_mean - scale * rotation @ source_mean)


def fit_robustly(source: np.ndarray, target: np.ndarray, weights: np.ndarray, seed: int = 0) -> Transform:
    """The transform of most matches, up to half of which may be wrong.

    Triples of matches propose transforms; the one of least median residual is followed by reweighted least squares
    (Geman-McClure, its width from the median residual).

    Args:
        source: (N, 3), at least three points that are not in one line.
        target: (N, 3).
        weights: (N,) trust in each match.
        seed: of the triples.

    Raises:
        ValueError: fewer than three matches, or all in one place.
    """
    if len(source) < 3:
        raise ValueError(f"fit_robustly: three matches are needed, got {len(source)}")
    generator = np.random.default_rng(seed)
    judges = generator.permutation(len(source))[:JUDGES]
    floor = NOISE * float(np.ptp(target, axis=0).max())
    best, best_median = umeyama(source, target, weights), math.inf
    for _ in range(TRIPLES):
        chosen = generator.choice(len(source), 3, replace=False)
        try:
            proposal = umeyama(source[chosen], target[chosen])
        except ValueError:
            continue
        median = float(np.median(np.linalg.norm(proposal(source[judges]) - target[judges], axis=1)))
        if median < best_median:
            best, best_median = proposal, median
    for _ in range(20):
        squared = ((best(source) - target) ** 2).sum(1)
        width = 1.5 * float(np.median(squared)) + floor**2
        following = umeyama(source, target, weights * (width / (width + squared)) ** 2)
        moved = np.abs(following(source[judges]) - best(source[judges])).max()
        best = following
        if moved < floor:
            break
    return best


def turned_about(start: Transform, rotation: np.ndarray, center: np.ndarray) -> Transform:
    """A transform followed by a rotation (3, 3) about a point (3,)."""
    return Transform(1.0, rotation, center - rotation @ center).after(start)


def half_turns(start: Transform, center: np.ndarray) -> list[Transform]:
    """A transform, and the same followed by half a turn about each axis through a point (3,)."""
    axes = np.eye(3)[[1, 0, 2]]  # about the upright axis first: a front taken for a back
    return [turned_about(start, rotation, center) for rotation in (np.eye(3), *half_turn(axes))]


def restarts(points: np.ndarray, surface: np.ndarray) -> list[Transform]:
    """Where to start when nothing is known: median and spread made equal, then 24 rotations."""
    middle, center = np.median(points, axis=0), np.median(surface, axis=0)
    spread = np.median(np.linalg.norm(points - middle, axis=1))
    scale = float(np.median(np.linalg.norm(surface - center, axis=1)) / max(spread, 1e-12))
    centred = Transform(scale, np.eye(3), center - scale * middle)
    return [turned_about(centred, rotation, center) for rotation in cube_rotations()]


def align_to_surface(
    points: np.ndarray,
    surface: np.ndarray,
    starts: Iterable[Transform],
    both_ways: bool = True,
    rounds: int = 60,
    most: int = 1500,
) -> tuple[Transform, float]:
    """Bring points onto a surface that they were measured on, wherever they are.

    Trimmed iterative closest points with scale, from every start for a few rounds and from the best to the end.
    Distances count from the points to the surface and back, else a small scale would always win; where the points show
    but a part of the surface, only the first way counts and the scale stays as it is.

    Source: V2M4 section 3.2 aligns point maps by gradient descent on the chamfer distance, from one start and, at
    three quarters of it, half a turn from there.

    Args:
        points: (N, 3) in a space of their own.
        surface: (M, 3) samples.
        starts: where to start.
        both_ways: the points show all of the surface.
        rounds: at most, of the best starts.
        most: points and samples used at most, spread evenly over those given.

    Returns:
        the transform, and its mean trimmed distance in units of the surface.

    Raises:
        ValueError: there is no point, no surface or no start.
    """
    if len(points) == 0 or len(surface) == 0:
        raise ValueError(f"align_to_surface: {len(points)} points and {len(surface)} samples of the surface")
    few = _Pairing(thinned(points, most // 3), thinned(surface, most // 3), both_ways)
    tried = sorted((few.descend(start, 15) for start in starts), key=lambda result: result[1])
    if not tried:
        raise ValueError("align_to_surface: no start given")
    all_pairs = _Pairing(thinned(points, most), thinned(surface, most), both_ways)
    return min((all_pairs.descend(start, rounds) for start, _ in tried[:CLOSER]), key=lambda result: result[1])


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, spread evenly over those given."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.int64)]


class _Pairing:
    """Iterative closest points of one set of points and one surface; see ``align_to_surface``."""

    def __init__(self, points: np.ndarray, surface: np.ndarray, both_ways: bool) -> None:
        self.points, self.surface, self.both_ways = points, surface, both_ways
        self.tree = cKDTree(surface)

    def descend(self, start: Transform, rounds: int, tolerance: float = 2e-4) -> tuple[Transform, float]:
        """The best transform of some rounds from a start, and its distance; over early where no round helps."""
        best, least, current = start, math.inf, start
        for _ in range(rounds + 1):
            source, target, distance = self.pairs(current)
            if distance > (1 - tolerance) * least:
                break
            best, least = current, distance
            current = umeyama(source, target, scale=None if self.both_ways else current.scale)
        return best, least

    def pairs(self, transform: Transform) -> tuple[np.ndarray, np.ndarray, float]:
        """The nearest pairs that count, as points and samples (K, 3) each, and their mean distance."""
        moved = transform(self.points)
        there, index = self.tree.query(moved)
        near = there <= np.quantile(there, KEPT)
        source, target, distance = self.points[near], self.surface[index[near]], float(there[near].mean())
        if not self.both_ways:
            return source, target, distance
        back, index = cKDTree(moved).query(self.surface)
        near = back <= np.quantile(back, KEPT)
        source = np.concatenate([source, self.points[index[near]]])
        target = np.concatenate([target, self.surface[near]])
        return source, target, (distance + float(back[near].mean())) / 2
