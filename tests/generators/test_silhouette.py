"""The contour on the lattice: sub-pixel, topologically clean, bled colours."""

import numpy as np
import pytest

from generators._silhouette import NEIGHBOURS, border_edges, extrapolate_colors, read_silhouette, triangulate


def contour(shapes, inside, grid):
    silhouette = read_silhouette(shapes.frame_of(inside).rgba[..., 3], grid)
    points, _, border = triangulate(silhouette.level)
    return silhouette.origin + silhouette.cell * points[border]


@pytest.mark.parametrize("grid", [40, 96, 224])
@pytest.mark.parametrize("centre", [(128.0, 128.0), (120.3, 133.7)])
def test_contour_of_a_circle_is_exact_to_a_fraction_of_a_pixel(shapes, grid, centre):
    points = contour(shapes, shapes.disc((256, 256), centre, 70.4), grid)
    error = np.hypot(*(points - centre).T) - 70.4
    assert abs(error.mean()) < 0.1
    assert error.std() < 0.12


def test_contour_of_an_aliased_slope_is_straight(shapes):
    y, x = np.mgrid[:256, :256] + 0.5
    inside = ((y > 60 + 0.3 * x) & (x > 30) & (x < 220) & (y < 200)).astype(float)
    points = contour(shapes, inside, 224)
    slope = points[(points[:, 0] > 60) & (points[:, 0] < 190) & (points[:, 1] < 160)]
    distance = (slope[:, 1] - 60 - 0.3 * slope[:, 0]) / np.hypot(1, 0.3)
    assert abs(distance).max() < 0.45
    assert distance.std() < 0.2


def test_the_triangulation_is_a_manifold_with_positive_triangles():
    level = np.random.default_rng(0).normal(size=(40, 50))
    level[[0, -1]] = level[:, [0, -1]] = -1
    points, faces, border = triangulate(level)
    a, b, c = points[faces].transpose(1, 0, 2)
    signed_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    assert (signed_area < 0).all()  # anti-clockwise once y points up
    edges = border_edges(faces)
    assert set(edges.ravel()) == set(np.flatnonzero(border))
    assert (np.bincount(edges.ravel(), minlength=len(points))[border] == 2).all()
    both = border[faces[:, [0, 1, 2]]] & border[faces[:, [1, 2, 0]]]
    assert both.sum() == len(edges)  # no inner edge joins two border vertices


def test_lattice_neighbours_are_those_of_the_triangulation():
    level = np.full((6, 6), -1.0)
    level[2, 2] = level[3, 3] = 1  # along the cut diagonal: one part
    assert len(np.unique(triangulate(level)[1])) and NEIGHBOURS[0, 0] == NEIGHBOURS[2, 2] == 1
    level[3, 3], level[1, 3] = -1, 1  # along the other one: two parts
    faces = triangulate(level)[1]
    assert len(border_edges(faces)) == 12 and NEIGHBOURS[0, 2] == NEIGHBOURS[2, 0] == 0


def test_far_specks_do_not_coarsen_the_lattice(shapes):
    disc = shapes.disc((256, 256), (180, 180), 20)
    speckled = disc.copy()
    speckled[2, 2] = 1
    alone, with_speck = (read_silhouette(shapes.frame_of(inside).rgba[..., 3], 64) for inside in (disc, speckled))
    assert alone.cell == with_speck.cell
    assert np.allclose(alone.level, with_speck.level)


def test_extrapolated_colors_keep_the_inside_and_remove_the_background(shapes):
    rgba = shapes.frame_of(shapes.disc((128, 128), (64, 64), 40)).rgba
    rgba[..., :3][(rgba[..., 3] > 0) & (rgba[..., 3] < 255)] = (0, 0, 200)  # a rim mixed with the background
    filled = extrapolate_colors(rgba)
    assert filled[..., 2].max() == 0
    y, x = np.mgrid[:128, :128] + 0.5
    core = np.hypot(x - 64, y - 64) < 37
    assert np.array_equal(filled[core], rgba[..., :3][core].astype(np.float32) / 255)
