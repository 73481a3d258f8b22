"""Reduction of an animation's poses: laws that hold for every motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.keyframe_reduction import interpolation_errors, object_size, reduced_frames


@st.composite
def motions(draw) -> tuple[np.ndarray, np.ndarray, float]:
    """Random walks of a few vertices, smooth and rough ones, at uneven times; and a tolerance."""
    count, seed = draw(st.integers(1, 30)), draw(st.integers(0, 2**31))
    roughness, tolerance = draw(st.floats(0, 0.5)), draw(st.floats(0, 0.5))
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(7, 3))
    velocity = np.cumsum(rng.normal(size=(count, 7, 3)) * roughness, 0)
    times = np.cumsum(rng.uniform(0.01, 0.2, count))
    return (rest + np.cumsum(velocity, 0)).astype(np.float32), times, tolerance


@given(motions())
@settings(max_examples=200, deadline=None)
def test_the_error_is_never_above_the_tolerance_and_first_and_last_are_kept(motion) -> None:
    poses, times, tolerance = motion
    kept = reduced_frames(poses, times, tolerance)
    assert kept[0] == 0 and kept[-1] == len(poses) - 1
    assert (np.diff(kept) > 0).all()
    assert interpolation_errors(poses, times, kept).max() <= tolerance + 1e-9


@given(motions())
@settings(max_examples=50, deadline=None)
def test_the_error_is_that_of_a_players_interpolation(motion) -> None:
    poses, times, tolerance = motion
    kept = reduced_frames(poses, times, tolerance)
    flat = poses.reshape(len(poses), -1).astype(np.float64)
    played = np.stack([np.interp(times, times[kept], flat[kept, column]) for column in range(flat.shape[1])], 1)
    apart = np.linalg.norm((played - flat).reshape(len(poses), -1, 3), axis=-1).max(1) / object_size(poses)
    np.testing.assert_allclose(apart, interpolation_errors(poses, times, kept), atol=1e-5)


@given(motions())
@settings(max_examples=50, deadline=None)
def test_the_unit_of_length_does_not_matter_and_no_tolerance_keeps_all(motion) -> None:
    poses, times, tolerance = motion
    np.testing.assert_array_equal(
        reduced_frames(poses * 1024, times, tolerance), reduced_frames(poses, times, tolerance)
    )
    np.testing.assert_array_equal(reduced_frames(poses, times, 0.0), np.arange(len(poses)))


def _line(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two vertices that move apart at constant velocity, at uneven times."""
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, count))
    rest, velocity = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 1, 0], [1, 2, 3]])
    return rest + times[:, None, None] * velocity, times


@pytest.mark.parametrize("count", [2, 3, 17, 64])
def test_linear_motion_needs_two_poses(count: int) -> None:
    poses, times = _line(count)
    assert reduced_frames(poses, times, 1e-6).tolist() == [0, count - 1]


def test_a_bend_is_kept_where_it_is() -> None:
    poses, times = _line(20)
    bent = np.concatenate([poses, poses[-1:] - (poses[-2::-1] - poses[-1:]) * -1.0])  # there, and the way back
    both = np.concatenate([times, times[-1] + np.cumsum(np.diff(times)[::-1])])
    assert reduced_frames(bent, both, 1e-6).tolist() == [0, 19, 38]


def test_a_still_object_needs_two_poses_and_one_pose_is_kept() -> None:
    still = np.broadcast_to(np.eye(3, dtype=np.float32), (9, 3, 3))
    assert reduced_frames(still, np.arange(9.0), 0.001).tolist() == [0, 8]
    assert reduced_frames(still[:1], np.zeros(1), 0.001).tolist() == [0]


def test_wrong_arguments_are_told() -> None:
    poses, times = _line(3)
    for wrong in ((poses[:0], times[:0], 0.1), (poses, times[:2], 0.1), (poses, times[::-1], 0.1)):
        with pytest.raises(ValueError, match="poses at times"):
            reduced_frames(*wrong)
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        reduced_frames(poses, times, -0.1)
