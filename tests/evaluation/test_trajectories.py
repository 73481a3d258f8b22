"""Trajectory error in closed form."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from evaluation.geometry_metrics import Alignment
from evaluation.trajectories import trajectory_error, trajectory_error_matched
from tests.evaluation.shapes import box, figure, moved
from v2m4.mesh import Mesh

FRAMES = [figure(turn) for turn in (0.0, 20.0, 40.0)]
TURN = 0.3 * Rotation.from_euler("xyz", [100, 50, -70], degrees=True).as_matrix()


def side() -> float:
    return float(np.ptp(FRAMES[0].vertices.numpy(), axis=0).max())


def test_a_similarity_of_the_whole_is_not_seen() -> None:
    assert trajectory_error(FRAMES, moved(FRAMES, TURN, (3.0, 1.0, 0.0)), 500).error < 1e-3


def test_a_shift_in_later_frames_is_seen_in_percent_of_the_size() -> None:
    shifts = (0.0, 0.1, 0.2)
    late = [moved([frame], np.eye(3), (shift, 0.0, 0.0))[0] for frame, shift in zip(FRAMES, shifts, strict=True)]
    scores = trajectory_error(FRAMES, late, 500)
    assert np.allclose(scores.per_frame_error, 100 * np.array(shifts) / side(), atol=1e-3)
    assert scores.error == pytest.approx(scores.per_frame_error.mean())


def test_other_topologies_are_refused_here_and_matched_there() -> None:
    other = [Mesh(frame.vertices, frame.faces.flip(0)) for frame in FRAMES]
    with pytest.raises(ValueError, match="do not share one topology"):
        trajectory_error(FRAMES, other, 500)
    unmoved = Alignment(*(np.diag([2 / side()] * 3 + [1.0]),) * 2)
    assert trajectory_error_matched(FRAMES, other, 500, alignment=unmoved).error < 1.0
    still = trajectory_error_matched(FRAMES, [other[0]] * 3, 500, alignment=unmoved)
    assert still.per_frame_error[2] > 2.5
    assert still.per_frame_error[0] < 1.0
    assert trajectory_error_matched(FRAMES, moved(other, np.eye(3) * 2), 500).error < 1.0


def test_changing_topologies_cannot_be_followed() -> None:
    changing = [FRAMES[0], Mesh(FRAMES[1].vertices, FRAMES[1].faces[:-1])]
    with pytest.raises(ValueError, match="the prediction's topology changes"):
        trajectory_error_matched(FRAMES[:2], changing, 100)


def test_a_surface_that_slides_in_itself_is_seen() -> None:
    """The chamfer distance cannot see a turning cylinder; followed points can."""
    cube = box()
    quarter = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = cube.with_vertices(cube.vertices @ quarter.T)
    assert trajectory_error([cube, cube], [cube, turned], 500).per_frame_error[1] > 50
