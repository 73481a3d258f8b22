"""Time stamps: uniform ones become exact, variable ones stay, broken ones are mended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2m4.io.timing import frame_times, mend


@pytest.mark.parametrize("rate", [24.0, 30000 / 1001, 25.0, 59.94])
def test_stamps_rounded_to_the_containers_tick_are_uniform(rate):
    stamps = [round(index / rate, 3) + 1.234 for index in range(200)]
    times, fps = frame_times(stamps, [rate], 1e-3)
    np.testing.assert_array_equal(times, np.arange(200) / rate)
    assert fps == rate


def test_a_wrong_stated_rate_is_not_believed():
    times, fps = frame_times([0.0, 0.04, 0.08, 0.12], [90000.0, 30.0], 1e-5)
    np.testing.assert_allclose(times, [0, 0.04, 0.08, 0.12])
    assert fps == pytest.approx(25)


def test_variable_stamps_stay_and_start_at_zero():
    times, fps = frame_times([2.0, 2.033, 2.067, 2.6, 3.5], [30.0], 1e-3)
    np.testing.assert_allclose(times, [0, 0.033, 0.067, 0.6, 1.5])
    assert fps == pytest.approx(4 / 1.5)


def test_a_dropped_frame_is_no_uniform_rate():
    times, _ = frame_times([0, 1 / 24, 3 / 24, 4 / 24, 5 / 24], [24.0], 1 / 24)
    np.testing.assert_allclose(np.diff(times), np.array([1, 2, 1, 1]) / 24)


def test_one_frame_has_time_zero():
    times, fps = frame_times([None], [0.0, float("nan")], 0.0)
    assert times.tolist() == [0.0]
    assert fps == 30


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 1, 1, 2], [0, 1, 1.5, 2]),
        ([0, None, 2, 3], [0, 1, 2, 3]),
        ([None, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 2, 2], [0, 1, 2, 3]),
        ([0, 9e9, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([-2, -1, 0, 1], [-2, -1, 0, 1]),
        ([None, None, None, 5], [0, 0.5, 1, 1.5]),
    ],
)
def test_stamps_are_mended(stamps, expected):
    np.testing.assert_allclose(mend(stamps, 0.5), expected)


@given(st.lists(st.none() | st.integers(-100, 100), min_size=2, max_size=30))
def test_mended_stamps_ascend(stamps):
    assert (np.diff(mend(stamps, 0.5)) > 0).all()
