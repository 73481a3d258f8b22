"""Union of balls moved in depth, against cylinders."""

import math

import numpy as np
import pytest

from generators._lean import depth_shear


def signed_strip(half: float = 12.0, shape: tuple[int, int] = (60, 240)) -> np.ndarray:
    """Distance from a horizontal strip with round ends, at column 120 and row 30."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return half - np.hypot(np.maximum(abs(x - 120) - 80, 0), y - 30)


@pytest.mark.parametrize("degrees", [-50, 20, 50])
def test_a_strip_becomes_a_cylinder_about_a_receding_axis(degrees):
    tangent = math.tan(math.radians(degrees))
    shear = depth_shear(signed_strip(), tangent)
    columns = np.arange(80, 161)
    for row in (25, 30, 37):
        assert np.allclose(shear.shift[row, columns], -tangent * (columns - 120), atol=0.75)
        assert np.allclose(shear.gain[row, columns], math.hypot(1, tangent), rtol=0.06)


def test_a_disc_stays_a_ball():
    y, x = np.mgrid[:100, :120]
    distance = 40 - np.hypot(x - 60, y - 50)
    shear = depth_shear(distance, 1.0)
    assert np.allclose(shear.shift[distance > 2], 0, atol=2)
    assert np.allclose(shear.gain[distance > 2], 1, atol=0.05)


def test_zero_lean_changes_nothing():
    shear = depth_shear(signed_strip(), 0.0)
    assert (shear.shift == 0).all() and (shear.gain == 1).all()


def test_values_are_defined_at_every_node():
    shear = depth_shear(signed_strip(1.5), 1.0)
    assert np.isfinite(shear.shift).all() and np.isfinite(shear.gain).all()
    assert shear.gain.min() >= 1 and shear.gain.max() <= math.sqrt(2) + 1e-6
