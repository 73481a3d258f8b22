"""ActionBench's CD-3D, CD-4D and CD-M, as its reference code (facebookresearch/actionmesh, 66db12e) does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from evaluation.alignment import apply, normalizing
from evaluation.gradient_icp import gradient_icp
from evaluation.surface_points import (
    bounding_box,
    nearest_neighbours,
    paired_frames,
    random_generators,
    sample_positions,
    sample_surface,
    surface_vertices,
    vertices_of_constant_topology,
)
from v2m4.mesh import Mesh

ICP_POINTS, QUERIES = 10_000, 10_000


@dataclass(frozen=True)
class ActionBenchScores:
    """ActionBench's metrics: unsquared chamfer distances (both directions added), means over the frames.

    Attributes:
        cd_3d: every frame aligned on its own.
        cd_4d: all frames aligned by the first frame's transform.
        cd_m: of points paired in the first frame and tracked through time; None where a side's topology changes.
        per_frame_cd_3d: (T,).
        per_frame_cd_4d: (T,).
        per_frame_cd_m: (T,) or None.
        transform: (4, 4) from the normalised prediction to the truth, registered in the first frame.
    """

    cd_3d: float
    cd_4d: float
    cd_m: float | None
    per_frame_cd_3d: np.ndarray
    per_frame_cd_4d: np.ndarray
    per_frame_cd_m: np.ndarray | None
    transform: np.ndarray


def actionbench(
    truth: Iterable[Mesh],
    prediction: Iterable[Mesh],
    num_samples: int = 100_000,
    seed: int = 0,
    icp_points: int = ICP_POINTS,
    normalize: bool = True,
    progress: bool = False,
) -> ActionBenchScores:
    """Compute CD-3D, CD-4D and CD-M.

    The reference code measures in the truth's own units and does not move the prediction beforehand. Here both sides
    are first normalised to the cube of side 2 by their own first frame, so that initialisation and unit are always the
    same; for ActionBench's own files turn that off.

    Args:
        truth: T meshes or clouds of points.
        prediction: T meshes or clouds of points.
        num_samples: points on each side's surface.
        seed: of all random samples.
        icp_points: points on each side for the registrations, which take nearly all the time.
        normalize: see above.
        progress: show a bar of the frames.

    Raises:
        ValueError: the numbers of frames differ, or a frame has no surface.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    truth_rng, prediction_rng, motion_rng, query_rng = random_generators(seed, 4)
    true_points, truth_is_tracked = _truth_points(true_frames, num_samples, truth_rng)
    if normalize:
        true_map = normalizing(*bounding_box(surface_vertices(true_frames[0])))
        predicted_map = normalizing(*bounding_box(surface_vertices(predicted_frames[0])))
    else:
        true_map = predicted_map = np.eye(4)
    true_points = [apply(true_map, points) for points in true_points]

    cd_3d, cd_4d, first_map = [], [], np.eye(4)
    for index, mesh in enumerate(tqdm(predicted_frames, "ActionBench", unit="frame", disable=not progress)):
        points = apply(predicted_map, sample_positions(mesh, num_samples, prediction_rng))
        # Points are in random order (a tracked cloud is shuffled once), so the first ones are a fair sample.
        frame_map = gradient_icp(points[:icp_points], true_points[index][:icp_points])
        first_map = frame_map if index == 0 else first_map
        cd_3d.append(_chamfer(true_points[index], apply(frame_map, points), query_rng))
        cd_4d.append(_chamfer(true_points[index], apply(first_map, points), query_rng))

    cd_m = None
    vertices = vertices_of_constant_topology(predicted_frames)
    if vertices is not None and truth_is_tracked:
        tracked_points = sample_surface(predicted_frames[0], num_samples, motion_rng).interpolate(vertices)
        cd_m = motion_chamfer(np.stack(true_points), apply(first_map @ predicted_map, tracked_points))
    return ActionBenchScores(
        float(np.mean(cd_3d)),
        float(np.mean(cd_4d)),
        None if cd_m is None else float(cd_m.mean()),
        np.array(cd_3d),
        np.array(cd_4d),
        cd_m,
        first_map,
    )


def motion_chamfer(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Distance of tracked points from those that were nearest in the first frame, both directions added.

    Args:
        truth: (T, N, 3).
        prediction: (T, M, 3).

    Returns:
        (T,) means over the points.
    """
    to_prediction, to_truth = (
        nearest_neighbours(truth[0], prediction[0])[1],
        nearest_neighbours(prediction[0], truth[0])[1],
    )
    from_truth = np.linalg.norm(prediction[:, to_prediction] - truth, axis=2).mean(1)
    from_prediction = np.linalg.norm(truth[:, to_truth] - prediction, axis=2).mean(1)
    return from_truth + from_prediction


def _truth_points(frames: list[Mesh], count: int, rng: np.random.Generator) -> tuple[list[np.ndarray], bool]:
    """Points of every frame, and whether they are the same surface points in all frames."""
    vertices = vertices_of_constant_topology(frames)
    if vertices is None:
        return [sample_positions(mesh, count, rng) for mesh in frames], False
    return list(sample_surface(frames[0], count, rng).interpolate(vertices)), True


def _chamfer(truth: np.ndarray, prediction: np.ndarray, rng: np.random.Generator) -> float:
    """Chamfer distance from at most ``QUERIES`` random points of each side to all points of the other."""
    queries = [points[rng.permutation(len(points))[:QUERIES]] for points in (truth, prediction)]
    return float(nearest_neighbours(queries[0], prediction)[0].mean() + nearest_neighbours(queries[1], truth)[0].mean())
