"""How far points of a moving surface are from where they should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.alignment import apply
from evaluation.geometry_metrics import Alignment, align_first_frames
from evaluation.surface_points import (
    bounding_box,
    draw,
    frame_lists,
    generators,
    nearest,
    poses_of_one_topology,
    surface_vertices,
)
from v2m4.mesh import Mesh
from v2m4.similarity_transform import umeyama

CANDIDATES = 100_000  # points of the predicted surface among which a true point finds its own


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
    """Mean distance of the same surface points, where both sides share one topology.

    Points are drawn on the truth's first frame and followed on both sides by their barycentric weights. The prediction
    is aligned by the similarity that is best for these points in the first frame (Umeyama).

    Raises:
        ValueError: the numbers of frames differ, or the sides do not share one topology through time.
    """
    true_frames, predicted_frames = frame_lists(truth, prediction)
    true_poses, predicted_poses = poses_of_one_topology(true_frames), poses_of_one_topology(predicted_frames)
    one = poses_of_one_topology([true_frames[0], predicted_frames[0]])
    if true_poses is None or predicted_poses is None or one is None:
        raise ValueError(
            "trajectory_error: truth and prediction do not share one topology;"
            " trajectory_error_matched takes any two sequences that keep theirs through time"
        )
    places = draw(true_frames[0], num_samples, np.random.default_rng(seed))
    true_points, predicted_points = places.on(true_poses), places.on(predicted_poses)
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

    The sides are aligned as ``motion80`` does. Every true point is matched with the nearest of ``CANDIDATES`` points of
    the prediction's first frame, and both are followed. So this holds what shape and alignment leave in the first frame
    too, which ``trajectory_error`` does not.

    Args:
        truth: T meshes of one topology.
        prediction: T meshes of one topology, any.
        num_samples: true points.
        seed: of the draws and the registration.
        alignment: that of ``motion80`` where it is known.

    Raises:
        ValueError: the numbers of frames differ, or a side's topology changes.
    """
    true_frames, predicted_frames = frame_lists(truth, prediction)
    true_poses, predicted_poses = poses_of_one_topology(true_frames), poses_of_one_topology(predicted_frames)
    if true_poses is None or predicted_poses is None:
        side = "truth" if true_poses is None else "prediction"
        raise ValueError(f"trajectory_error_matched: the {side}'s topology changes, so its points cannot be followed")
    alignment = alignment or align_first_frames(true_frames[0], predicted_frames[0], seed)
    truth_rng, prediction_rng = generators(seed, 2)
    true_points = apply(alignment.truth, draw(true_frames[0], num_samples, truth_rng).on(true_poses))
    candidates = draw(predicted_frames[0], CANDIDATES, prediction_rng)
    first = apply(alignment.prediction, candidates.on(predicted_poses[0]))
    chosen = candidates.taken(nearest(true_points[0], first)[1])
    return _scores(true_points, apply(alignment.prediction, chosen.on(predicted_poses)), 2.0)


def _scores(truth: np.ndarray, prediction: np.ndarray, size: float) -> TrajectoryScores:
    per_frame = 100 * np.linalg.norm(truth - prediction, axis=2).mean(1) / size
    return TrajectoryScores(float(per_frame.mean()), per_frame)
