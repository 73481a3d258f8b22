"""The height field over a silhouette against closed forms."""

import numpy as np
import pytest

from generators._height import _local_thickness, _union_of_balls, elongation, height_field


def signed_disc(radius, shape=(100, 120), centre=(60.0, 50.0)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return radius - np.hypot(x - centre[0], y - centre[1])


def signed_box(half_x, half_y, shape=(120, 300)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    dx, dy = abs(x - shape[1] // 2) - half_x, abs(y - shape[0] // 2) - half_y
    outside = np.hypot(dx.clip(0), dy.clip(0))
    return -np.where((dx > 0) | (dy > 0), outside, np.maximum(dx, dy))


def test_union_of_balls_is_the_maximum_over_all_balls():
    distance = np.random.default_rng(1).uniform(0, 4, (17, 23)) * (np.random.default_rng(2).random((17, 23)) > 0.3)
    y, x = np.mgrid[:17, :23]
    sites = np.argwhere(distance > 0)
    brute = np.max([distance[i, j] ** 2 - (y - i) ** 2 - (x - j) ** 2 for i, j in sites], axis=0)
    assert np.allclose(_union_of_balls(distance), brute)


def test_height_of_a_disc_is_a_balls():
    distance = signed_disc(40)
    shape = height_field(distance)
    inside = distance > 1
    y, x = np.mgrid[:100, :120]
    truth = 40**2 - (x - 60) ** 2 - (y - 50) ** 2
    assert np.allclose((distance * shape.factor)[inside], truth[inside], rtol=0.03, atol=20)


@pytest.mark.parametrize("half_width", [6, 20])
def test_height_of_a_long_box_is_a_cylinders(half_width):
    distance = signed_box(140, half_width)
    shape = height_field(distance)
    square = (distance * shape.factor)[:, 110:190]
    y = np.arange(120)[:, None] - 60
    inside = abs(y[:, 0]) < half_width
    assert np.allclose(square[inside], (half_width**2 - y**2)[inside], atol=0.08 * half_width**2)


def test_local_thickness_is_the_radius_of_the_covering_ball():
    distance = np.maximum(signed_disc(30, (100, 200), (50.0, 50.0)), signed_box(60, 6, (100, 200)))
    thickness, offset = _local_thickness(distance.clip(0))
    assert thickness[50, 50] == pytest.approx(30, abs=0.5)
    assert thickness[50, 25] == pytest.approx(30, abs=0.5)  # near the rim of the disc, still the disc's
    assert thickness[50, 140] == pytest.approx(6, abs=0.5)
    assert np.allclose(offset[50, 30], [20, 0], atol=1.5)


def test_elongation_of_discs_and_strips():
    def middle(distance):
        long = elongation(_local_thickness(distance.clip(0))[0])
        return long[distance.shape[0] // 2, distance.shape[1] // 2]

    assert middle(signed_disc(40)) == pytest.approx(1, abs=0.25)
    assert 1.5 < middle(signed_box(80, 40)) < 3
    assert middle(signed_box(140, 10)) > 6


def test_a_compact_oblong_is_deeper_than_its_inscribed_balls_and_a_limb_is_not():
    oblong, limb = signed_box(60, 35), signed_box(140, 10)
    assert np.sqrt((oblong * height_field(oblong).factor)[60, 150]) > 1.1 * 35
    assert np.sqrt((limb * height_field(limb).factor)[60, 150]) == pytest.approx(10, rel=0.05)
