"""Colours of all ranges, and numbers that are none."""

import logging
from pathlib import Path

import numpy as np
import pytest

from v2m4.io._vertex_values import faces_with_finite_corners, finite_colors, unit_colors

NAN = np.nan


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]]), [0, 0.5, 1]),
        (np.array([[0.0, 128.0, 255.0]]), [0, 128 / 255, 1]),
        (np.array([[0.0, 0.5, 200.25]]), [0, 0.5 / 255, 200.25 / 255]),
        (np.array([[0.0, 1.0, 2.0]]), [0, 1 / 255, 2 / 255]),
        (np.array([[0.0, 0.7, 1.2]]), [0, 0.7, 1]),
        (np.array([[0.0, 1.0, NAN]]), [0, 1, NAN]),
        (np.array([[0, 1, 1]], np.uint8), [0, 1 / 255, 1 / 255]),
        (np.array([[0, 65535, 1]], np.uint16), [0, 1, 1 / 65535]),
        (np.array([[0, 255, 51]], np.int32), [0, 1, 0.2]),
        (np.array([[0.0, 32768.0, 65535.0]]), [0, 32768 / 65535, 1]),
        (np.array([[-0.5, NAN, NAN]]), [0, NAN, NAN]),
    ],
)
def test_ranges_are_recognised(stored: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(unit_colors(stored)[0], expected)


def test_colours_that_are_none_become_the_mean(caplog: pytest.LogCaptureFixture) -> None:
    colors = np.array([[0.2, 0.4, 0.6], [NAN, 1, 1], [0.4, 0.6, 0.8]])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(finite_colors(colors, Path("a.obj"))[1], [0.3, 0.5, 0.7])
        assert (finite_colors(colors[1:2], Path("a.obj")) == 1).all()
    assert ["1 of 3" in caplog.messages[0], "white" in caplog.messages[1], len(caplog.messages)] == [True, True, 2]
    caplog.clear()
    assert finite_colors(colors[[0, 2]], Path("a.obj")).shape == (2, 3) and not caplog.messages


def test_few_broken_corners_are_left_out_and_many_refused(caplog: pytest.LogCaptureFixture) -> None:
    positions = np.zeros((50, 3))
    positions[7, 1] = np.inf
    faces = np.arange(48).reshape(16, 3)
    with pytest.raises(ValueError, match=r"a\.ply: 1 of 16 faces"):
        faces_with_finite_corners(faces, positions, Path("a.ply"))
    many = np.concatenate([faces, np.repeat(faces[:1], 20, 0)])
    with caplog.at_level(logging.WARNING):
        assert np.flatnonzero(~faces_with_finite_corners(many, positions, Path("a.ply"))).tolist() == [2]
    assert len(caplog.messages) == 1
