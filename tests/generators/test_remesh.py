"""Remeshing of a sheet: distance from the surface, edge lengths, topology."""

import numpy as np
import pytest

from generators._remesh import remesh
from generators._sheet import lift, sample
from generators._silhouette import border_edges, triangulate

RADIUS = 40.0


@pytest.fixture(scope="module")
def hemisphere():
    """The upper half of a ball as level * factor, and the dense sheet over it."""
    y, x = np.mgrid[:96, :100]
    distance = np.hypot(x - 50.2, y - 47.6)
    level = RADIUS - distance
    factor = RADIUS + distance  # (R - d)(R + d) = R^2 - d^2
    points, faces, border = triangulate(level)
    return lift(points, border, level, factor), faces, border, level, factor


@pytest.mark.parametrize("length", [3.0, 6.0])
def test_a_hemisphere_keeps_its_shape_with_even_edges(hemisphere, length):
    points, faces, border, level, factor = hemisphere
    size = np.full(level.shape, length)
    points, faces, border = remesh(points, faces, border, level, factor, size, 10**6)
    radius = np.linalg.norm(points - [50.2, 47.6, 0], axis=1)
    assert abs(radius - RADIUS).max() < 0.15
    assert (points[border, 2] == 0).all() and (points[~border, 2] > 0).all()
    corners = points[faces]
    edges = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2)
    assert np.median(edges) == pytest.approx(length, rel=0.15)
    assert np.quantile(edges, 0.99) < 1.5 * length
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    assert area == pytest.approx(2 * np.pi * RADIUS**2, rel=0.01)


def test_topology_of_the_sheet_is_a_discs(hemisphere):
    points, faces, border, level, factor = hemisphere
    points, faces, border = remesh(points, faces, border, level, factor, np.full(level.shape, 5.0), 10**6)
    edges = border_edges(faces)
    assert set(edges.ravel()) == set(np.flatnonzero(border))
    both = border[faces] & border[np.roll(faces, -1, 1)]
    assert both.sum() == len(edges)
    undirected = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
    assert len(points) - len(undirected) + len(faces) == 1
    a, b, c = points[faces][..., :2].transpose(1, 0, 2)
    signed_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    assert (signed_area < 0).all()


def test_number_of_faces_is_limited(hemisphere):
    points, faces, border, level, factor = hemisphere
    assert len(remesh(points, faces, border, level, factor, np.full(level.shape, 2.0), 300)[1]) <= 300


def test_the_sampled_slope_is_that_of_the_sampled_value():
    grid = np.random.default_rng(3).normal(size=(8, 9))
    for x, y in np.random.default_rng(4).uniform(0.5, 6.5, (50, 2)):
        value, along_x, along_y = sample(grid, x, y)
        step = 1e-7
        assert (sample(grid, x + step, y)[0] - value) / step == pytest.approx(along_x, abs=1e-5)
        assert (sample(grid, x, y + step)[0] - value) / step == pytest.approx(along_y, abs=1e-5)
