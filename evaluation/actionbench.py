"""ActionBench's CD-3D, CD-4D and CD-M, as its owner's code (facebookresearch/actionmesh, 66db12e) computes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from evaluation.alignment import apply, normalizing
from evaluation.gradient_icp import gradient_icp
from evaluation.surface_points import (
    bounding_box,
    draw,
    frame_lists,
    generators,
    nearest,
    poses_of_one_topology,
    sample,
    surface_vertices,
)
from v2m4.mesh import Mesh

ICP_POINTS, QUERIES = 10_000, 10_000


@dataclass(frozen=True)
class ActionBenchScores:
    """ActionBench's figures: mean distance one way plus the other, not squared, mean over the frames.

    Attributes:
        cd_3d: every frame aligned for itself.
        cd_4d: all frames aligned as the first one.
        cd_m: points paired in the first frame and followed through time; None where a side's topology changes.
        per_frame_cd_3d: (T,).
        per_frame_cd_4d: (T,).
        per_frame_cd_m: (T,) or None.
        transform: (4, 4) the prediction, brought to the cube, to the truth, by the first frame.
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
    """CD-3D, CD-4D and CD-M.

    The owner measures in the truth's own units, with the prediction where it is. Here both sides first come to the cube
    of side 2 by their own first frame, so that the start of the registration and the unit are always the same; for
    ActionBench's own files turn that off.

    Args:
        truth: T meshes or clouds of points.
        prediction: T meshes or clouds of points.
        num_samples: points on each side's surface.
        seed: of all draws.
        icp_points: points on each side for the registrations, which take nearly all the time.
        normalize: see above.
        progress: show a bar of the frames.

    Raises:
        ValueError: the numbers of frames differ, or a frame has no surface.
    """
    true_frames, predicted_frames = frame_lists(truth, prediction)
    truth_rng, prediction_rng, motion_rng, query_rng = generators(seed, 4)
    true_points, true_followed = _truth_points(true_frames, num_samples, truth_rng)
    if normalize:
        true_map = normalizing(*bounding_box(surface_vertices(true_frames[0])))
        predicted_map = normalizing(*bounding_box(surface_vertices(predicted_frames[0])))
    else:
        true_map = predicted_map = np.eye(4)
    true_points = [apply(true_map, points) for points in true_points]

    cd_3d, cd_4d, first = [], [], np.eye(4)
    for index, mesh in enumerate(tqdm(predicted_frames, "ActionBench", unit="frame", disable=not progress)):
        points = apply(predicted_map, sample(mesh, num_samples, prediction_rng))
        # Points were drawn in random order (a followed cloud is shuffled once), so the first ones are a fair sample.
        own = gradient_icp(points[:icp_points], true_points[index][:icp_points])
        first = own if index == 0 else first
        cd_3d.append(_chamfer(true_points[index], apply(own, points), query_rng))
        cd_4d.append(_chamfer(true_points[index], apply(first, points), query_rng))

    cd_m = None
    vertices = poses_of_one_topology(predicted_frames)
    if vertices is not None and true_followed:
        followed = draw(predicted_frames[0], num_samples, motion_rng).on(vertices)
        cd_m = motion_chamfer(np.stack(true_points), apply(first @ predicted_map, followed))
    return ActionBenchScores(
        float(np.mean(cd_3d)),
        float(np.mean(cd_4d)),
        None if cd_m is None else float(cd_m.mean()),
        np.array(cd_3d),
        np.array(cd_4d),
        cd_m,
        first,
    )


def motion_chamfer(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Distance of points followed through time from those that were nearest in the first frame, both ways added.

    Args:
        truth: (T, N, 3).
        prediction: (T, M, 3).

    Returns:
        (T,) means over the points.
    """
    to_prediction, to_truth = nearest(truth[0], prediction[0])[1], nearest(prediction[0], truth[0])[1]
    one_way = np.linalg.norm(prediction[:, to_prediction] - truth, axis=2).mean(1)
    other_way = np.linalg.norm(truth[:, to_truth] - prediction, axis=2).mean(1)
    return one_way + other_way


def _truth_points(frames: list[Mesh], count: int, rng: np.random.Generator) -> tuple[list[np.ndarray], bool]:
    """Points of every frame, and whether they are the same ones followed through time."""
    vertices = poses_of_one_topology(frames)
    if vertices is None:
        return [sample(mesh, count, rng) for mesh in frames], False
    return list(draw(frames[0], count, rng).on(vertices)), True


def _chamfer(truth: np.ndarray, prediction: np.ndarray, rng: np.random.Generator) -> float:
    """Mean distance both ways; at most ``QUERIES`` points of each side ask, all of the other side answer."""
    asking = [points[rng.permutation(len(points))[:QUERIES]] for points in (truth, prediction)]
    return float(nearest(asking[0], prediction)[0].mean() + nearest(asking[1], truth)[0].mean())
