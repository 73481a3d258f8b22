"""ActionBench's figures: what each of the three sees, and does not."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from evaluation import actionbench as module
from evaluation.actionbench import motion_chamfer
from evaluation.alignment import apply
from evaluation.gradient_icp import _chamfer, _moments, actionbench_starts, gradient_icp
from evaluation.surface_points import sample_positions
from tests.evaluation.shapes import box, figure, moved
from v2m4.mesh import Mesh

POINTS = 80
actionbench = partial(module.actionbench, num_samples=2000, icp_points=POINTS)


def test_starts_are_rotations_each_once() -> None:
    starts = actionbench_starts()
    assert starts.shape == (22, 3, 3)
    assert np.allclose(starts @ starts.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(starts), 1)
    assert len(np.unique(starts.reshape(22, 9), axis=0)) == 22
    assert np.array_equal(starts[0], np.eye(3))
    quarters = [0, 90, 180, 270]
    triples = [(a, 0, r) for a in quarters for r in quarters]
    triples += [(a, e, r) for a in (0, 90) for e in (90, -90) for r in (0, 90)]
    named = Rotation.from_euler("XYZ", triples, degrees=True).as_matrix()
    assert all(np.abs(named - start).max((1, 2)).min() < 1e-9 for start in starts)


def test_the_distance_from_moments_is_the_squared_chamfer_distance() -> None:
    rng = np.random.default_rng(0)
    source, target, linear, shift = (rng.normal(size=size) for size in ((60, 3), (80, 3), (3, 3), (3,)))
    moved_source = source @ linear + shift
    there, back = cKDTree(target).query(moved_source)[0], cKDTree(moved_source).query(target)[0]
    moments = _moments(source, target, cKDTree(target), linear, shift)
    found = _chamfer(moments[None], torch.from_numpy(linear)[None], torch.from_numpy(shift)[None])
    assert float(found[0]) == pytest.approx((there**2).mean() + (back**2).mean())


def test_icp_recovers_a_scale_per_axis_from_any_side() -> None:
    points = sample_positions(figure(), POINTS, np.random.default_rng(0))
    linear = Rotation.from_euler("xyz", [95, 0, 85], degrees=True).as_matrix() @ np.diag([1.2, 0.9, 1.05])
    target = points @ linear.T + np.array([0.1, -0.2, 0.05])
    assert np.abs(apply(gradient_icp(points, target), points) - target).max() < 0.05


def test_3d_aligns_each_frame_and_4d_the_first() -> None:
    frames = [figure(0.0), figure(20.0)]
    stretched = [frames[0], *moved(frames[1:], np.diag([0.85, 1.1, 1.0]), (0.3, 0.0, 0.0))]
    floor, scores = actionbench(frames, frames), actionbench(frames, stretched)
    assert scores.cd_3d < 1.6 * floor.cd_3d
    assert scores.per_frame_cd_4d[1] > 1.5 * floor.per_frame_cd_4d[1]
    assert scores.per_frame_cd_3d[0] == pytest.approx(scores.per_frame_cd_4d[0], rel=0.05)


def test_motion_sees_a_permutation_in_time_that_4d_does_not() -> None:
    """A cube that turns a quarter looks the same, and every point of it is elsewhere."""
    cube = box()
    quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = cube.with_vertices(cube.vertices @ quarter.T)
    still, turning = actionbench([cube, cube], [cube, cube]), actionbench([cube, cube], [cube, turned])
    assert turning.cd_4d == pytest.approx(still.cd_4d, rel=0.05)
    assert still.cd_m is not None and turning.cd_m is not None
    assert turning.cd_m > 5 * still.cd_m


def test_motion_chamfer_of_a_shift_is_twice_its_length() -> None:
    truth = np.random.default_rng(0).normal(size=(1, 50, 3)).repeat(3, 0)
    shifted = truth + np.array([0.0, 0.1, 0.3])[:, None, None] * np.array([1.0, 0.0, 0.0])
    assert np.allclose(motion_chamfer(truth, shifted), [0.0, 0.2, 0.6])


def test_changing_topology_has_no_motion() -> None:
    changing = [figure(), Mesh(figure().vertices, figure().faces[:-2])]
    scores = actionbench([figure()] * 2, changing)
    assert scores.cd_m is None
    assert scores.per_frame_cd_m is None
    assert scores.cd_3d > 0


def test_same_seed_same_figures() -> None:
    pair = ([figure()], [figure(10.0)])
    assert actionbench(*pair, seed=3).cd_3d == actionbench(*pair, seed=3).cd_3d
