"""Trajectory error: end-point error of tracked surface points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.alignment import apply
from evaluation.geometry_metrics import Alignment, align_first_frames
from evaluation.surface_points import (
    bounding_box,
    nearest_neighbours,
    paired_frames,
    random_generators,
    sample_surface,
    surface_vertices,
    vertices_of_constant_topology,
)
from v2m4.mesh import Mesh
from v2m4.similarity_transform import umeyama

CANDIDATES = 100_000  # samples of the predicted surface of which each true point is matched with the nearest


@dataclass(frozen=True)
class TrajectoryScores:
    """End-point error of surface points, in % of the longest side of the truth's first frame.

    Attributes:
        error: mean over points and frames.
        per_frame_error: (T,) means over the points.
    """

    error: float
    per_frame_error: np.ndarray


def trajectory_error(
    truth: Iterable[Mesh], prediction: Iterable[Mesh], num_samples: int = 10_000, seed: int = 0
) -> TrajectoryScores:
    """Mean distance of corresponding surface points, where both sides share one topology.

    Points are sampled on the truth's first frame and tracked on both sides by their barycentric coordinates. The
    prediction is aligned by the least-squares similarity of these points in the first frame (Umeyama).

    Raises:
        ValueError: the numbers of frames differ, or the sides do not share one topology through time.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    true_poses, predicted_poses = (
        vertices_of_constant_topology(true_frames),
        vertices_of_constant_topology(predicted_frames),
    )
    shared_topology = vertices_of_constant_topology([true_frames[0], predicted_frames[0]])
    if true_poses is None or predicted_poses is None or shared_topology is None:
        raise ValueError(
            "trajectory_error: truth and prediction do not share one topology;"
            " trajectory_error_matched takes any two sequences that keep theirs through time"
        )
    surface_points = sample_surface(true_frames[0], num_samples, np.random.default_rng(seed))
    true_points, predicted_points = surface_points.interpolate(true_poses), surface_points.interpolate(predicted_poses)
    aligned = umeyama(predicted_points[0], true_points[0])(predicted_points)
    return _scores(true_points, aligned, bounding_box(surface_vertices(true_frames[0]))[1])


def trajectory_error_matched(
    truth: Iterable[Mesh],
    prediction: Iterable[Mesh],
    num_samples: int = 10_000,
    seed: int = 0,
    alignment: Alignment | None = None,
) -> TrajectoryScores:
    """Mean distance of true surface points from the predicted ones that were nearest to them in the first frame.

    The sides are aligned as in ``motion80``. Every true point is matched with the nearest of ``CANDIDATES`` points of
    the prediction's first frame, and both are tracked. So the error includes that of shape and alignment in the first
    frame, which ``trajectory_error`` excludes.

    Args:
        truth: T meshes of one topology.
        prediction: T meshes of one topology, which may differ from the truth's.
        num_samples: number of true points.
        seed: of the random samples and the registration.
        alignment: that of ``motion80``; None computes it.

    Raises:
        ValueError: the numbers of frames differ, or a side's topology changes.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    true_poses, predicted_poses = (
        vertices_of_constant_topology(true_frames),
        vertices_of_constant_topology(predicted_frames),
    )
    if true_poses is None or predicted_poses is None:
        side = "truth" if true_poses is None else "prediction"
        raise ValueError(f"trajectory_error_matched: the {side}'s topology changes, so its points cannot be followed")
    alignment = alignment or align_first_frames(true_frames[0], predicted_frames[0], seed)
    truth_rng, prediction_rng = random_generators(seed, 2)
    true_points = apply(alignment.truth, sample_surface(true_frames[0], num_samples, truth_rng).interpolate(true_poses))
    candidates = sample_surface(predicted_frames[0], CANDIDATES, prediction_rng)
    first_candidates = apply(alignment.prediction, candidates.interpolate(predicted_poses[0]))
    matched = candidates.subset(nearest_neighbours(true_points[0], first_candidates)[1])
    return _scores(true_points, apply(alignment.prediction, matched.interpolate(predicted_poses)), 2.0)


def _scores(truth: np.ndarray, prediction: np.ndarray, size: float) -> TrajectoryScores:
    per_frame = 100 * np.linalg.norm(truth - prediction, axis=2).mean(1) / size
    return TrajectoryScores(float(per_frame.mean()), per_frame)
