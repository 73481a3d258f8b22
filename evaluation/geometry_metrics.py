"""Distances between a true and a predicted surface sequence, by the protocols of Motion-80.

A sequence is anything that yields meshes frame by frame (a list, a ``MeshSequence``, a ``SurfaceSequence``); a mesh
without faces is a point cloud. Frames are paired by order, so both sides need equally many
(``evaluation.sequences`` pairs by time). Everything is computed in float64 and follows from ``seed`` alone.

``motion80`` and ``motion80_code`` are defined here; ``evaluation.actionbench``, ``evaluation.voxel_iou`` and
``evaluation.trajectories`` hold the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.alignment import apply, motion80_code_icp, normalizing, register_similarity, yaw_starts
from evaluation.surface_points import (
    Distances,
    bounding_box,
    paired_frames,
    positions,
    random_generators,
    sample_positions,
    surface_vertices,
)
from v2m4.mesh import Mesh

F_THRESHOLD = 0.02  # of a cube of side 2
ICP_POINTS = 10_000


@dataclass(frozen=True)
class Alignment:
    """The maps of two sequences to the common space in which distances are measured, the same for all frames.

    Attributes:
        truth: (4, 4) from the truth's coordinates.
        prediction: (4, 4) from the prediction's coordinates.
    """

    truth: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class Motion80Scores:
    """Motion-80's metrics, in units of half the longest side of the first frame's box.

    Attributes:
        cd: unsquared chamfer distance (both directions added), mean over the frames.
        f_score: F-score at ``F_THRESHOLD``, mean over the frames.
        per_frame_cd: (T,).
        per_frame_f: (T,).
        truth_transform: (4, 4) from the truth's coordinates to the common space.
        prediction_transform: (4, 4) from the prediction's.
    """

    cd: float
    f_score: float
    per_frame_cd: np.ndarray
    per_frame_f: np.ndarray
    truth_transform: np.ndarray
    prediction_transform: np.ndarray

    @property
    def alignment(self) -> Alignment:
        """Both transforms, for metrics that use the same alignment."""
        return Alignment(self.truth_transform, self.prediction_transform)


def motion80(
    truth: Iterable[Mesh],
    prediction: Iterable[Mesh],
    num_samples: int = 50_000,
    seed: int = 0,
    starts: np.ndarray | None = None,
    icp_points: int = ICP_POINTS,
) -> Motion80Scores:
    """CD and F-score(0.02) as Motion 3-to-4's paper says (arXiv 2601.14253, Motion-80 benchmark).

    The truth is normalised to the cube of side 2 by its first frame; the prediction's first frame is registered to it
    by a similarity (rotation, uniform scale and translation), which is used for all frames.

    The paper does not say how the registration is initialised. Here both first frames' boxes are matched in position
    and size, ICP runs from eight yaw angles (every 45 degrees about y), and the best result is kept. A prediction that
    lies on its side is therefore not aligned; pass ``v2m4.rotation.cube_rotations()`` for that.

    Args:
        truth: T meshes.
        prediction: T meshes; topology may change from frame to frame.
        num_samples: points on each side's surface, sampled anew for every frame.
        seed: of all random samples.
        starts: (S, 3, 3) start rotations; default ``yaw_starts()``.
        icp_points: points on each side's first frame for the registration.

    Raises:
        ValueError: the numbers of frames differ, or a frame has no surface.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    truth_rng, prediction_rng = random_generators(seed, 2)
    alignment = align_first_frames(true_frames[0], predicted_frames[0], seed, starts, icp_points)
    return _motion80_scores((true_frames, truth_rng), (predicted_frames, prediction_rng), alignment, num_samples)


def align_first_frames(
    truth: Mesh, prediction: Mesh, seed: int = 0, starts: np.ndarray | None = None, icp_points: int = ICP_POINTS
) -> Alignment:
    """The alignment of ``motion80``, from the first frames; arguments as there."""
    rng = random_generators(seed, 3)[2]
    to_cube = normalizing(*bounding_box(surface_vertices(truth)))
    prediction_to_cube = normalizing(*bounding_box(surface_vertices(prediction)))
    registration = register_similarity(
        apply(prediction_to_cube, sample_positions(prediction, icp_points, rng)),
        apply(to_cube, sample_positions(truth, icp_points, rng)),
        yaw_starts() if starts is None else starts,
    )
    return Alignment(to_cube, registration.matrix @ prediction_to_cube)


def motion80_code(
    truth: Iterable[Mesh], prediction: Iterable[Mesh], num_samples: int = 50_000, seed: int = 0
) -> Motion80Scores:
    """CD and F-score(0.02) as the reference code ``evaluation_pcd.py`` (Inception3D/Motion324, fe094a4) does.

    Both sides are normalised to the cube of side 2 by their own first frame. ``motion80_code_icp`` then registers the
    prediction's first vertices to 10,000 samples of the truth, and the resulting map is applied to the truth (not to
    the prediction) in all frames. Where first frames start aligned, the results are nearly those of ``motion80``;
    elsewhere they are whatever that code gives.

    Args:
        truth: T meshes.
        prediction: T meshes.
        num_samples: points on each side's surface, sampled anew for every frame.
        seed: of all random samples.

    Raises:
        ValueError: the numbers of frames differ, or a frame has no surface.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    first_rng, truth_rng, prediction_rng = random_generators(seed, 3)
    first_truth, first_prediction = true_frames[0], predicted_frames[0]
    # Boxes of all vertices, also of those on no face, as there.
    truth_to_cube = normalizing(*bounding_box(positions(first_truth)))
    prediction_to_cube = normalizing(*bounding_box(positions(first_prediction)))
    icp_map = motion80_code_icp(
        apply(prediction_to_cube, positions(first_prediction)),
        apply(truth_to_cube, sample_positions(first_truth, ICP_POINTS, first_rng)),
    )
    alignment = Alignment(icp_map @ truth_to_cube, prediction_to_cube)
    return _motion80_scores((true_frames, truth_rng), (predicted_frames, prediction_rng), alignment, num_samples)


_Side = tuple[list[Mesh], np.random.Generator]  # frames, and the random generator of its samples


def _motion80_scores(truth: _Side, prediction: _Side, alignment: Alignment, num_samples: int) -> Motion80Scores:
    (true_frames, truth_rng), (predicted_frames, prediction_rng) = truth, prediction
    distances = [
        Distances.between(
            apply(alignment.truth, sample_positions(true_mesh, num_samples, truth_rng)),
            apply(alignment.prediction, sample_positions(predicted_mesh, num_samples, prediction_rng)),
        )
        for true_mesh, predicted_mesh in zip(true_frames, predicted_frames, strict=True)
    ]
    cd = np.array([distance.chamfer() for distance in distances])
    f_score = np.array([distance.f_score(F_THRESHOLD) for distance in distances])
    return Motion80Scores(float(cd.mean()), float(f_score.mean()), cd, f_score, alignment.truth, alignment.prediction)
