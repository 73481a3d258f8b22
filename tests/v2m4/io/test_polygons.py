"""Polygons cut into triangles: no area lost or covered twice, and the orientation kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.io._polygons import triangulate

ARROW = [(0, 0), (2, -2), (0, 3), (-2, -2)]  # a dart, reflex at its first corner
LETTER_L = [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)]
# A wall with a window, its inner outline reached through an edge that is walked twice.
WALL = [(0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (3, 6), (6, 6), (6, 3), (3, 3)]


def in_space(outline: list, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return np.asarray(outline, float) @ axes[:2] + rng.normal(size=3) * 10


def vector_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = points[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2


def outline_area(points: np.ndarray) -> np.ndarray:
    return np.cross(points, np.roll(points, -1, 0)).sum(0) / 2


@pytest.mark.parametrize("outline", [ARROW, LETTER_L, WALL])
@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("reverse", [False, True])
def test_concave_polygons_are_covered_once(outline: list, start: int, reverse: bool) -> None:
    points = np.roll(in_space(outline, start), start, 0)[:: -1 if reverse else 1]
    areas = vector_areas(points, triangulate(points, np.array([len(points)])))
    whole = outline_area(points)
    np.testing.assert_allclose(areas.sum(0), whole, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(areas, axis=1).sum(), np.linalg.norm(whole), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.2, 1.0), min_size=3, max_size=12))
def test_stars_of_any_shape_are_covered_once(radii: list[float]) -> None:
    angles = np.arange(len(radii)) / len(radii) * 2 * np.pi
    points = in_space(np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii)[:, None], len(radii))
    faces = triangulate(points, np.array([len(radii)]))
    assert len(faces) == len(radii) - 2
    areas = vector_areas(points, faces)
    np.testing.assert_allclose(np.linalg.norm(areas, axis=1).sum(), np.linalg.norm(outline_area(points)), rtol=1e-6)


def test_polygons_of_all_sizes_keep_their_order() -> None:
    outlines = [[(0, 0), (1, 0), (0, 1)], LETTER_L, [(0, 0)], [(0, 0), (1, 0), (1, 1), (0, 1)], ARROW, [(0, 0), (1, 1)]]
    sizes = np.array([len(each) for each in outlines])
    points = np.concatenate([in_space(each, number) for number, each in enumerate(outlines)])
    faces = triangulate(points, sizes)
    polygon = np.repeat(np.arange(len(sizes)), sizes)[faces]
    assert np.array_equal(polygon[:, 0], [0, 1, 1, 1, 1, 3, 3, 4, 4])
    assert (polygon == polygon[:, :1]).all()
    assert np.array_equal(faces[[0, 5, 6]], [[0, 1, 2], [10, 11, 12], [10, 12, 13]])


def test_polygons_without_an_area_are_no_error() -> None:
    for points in (np.zeros((5, 3)), np.arange(5)[:, None] * np.ones(3), np.full((5, 3), np.nan)):
        faces = triangulate(points, np.array([5]))
        assert faces.shape[1] == 3 and ((faces >= 0) & (faces < 5)).all()
    assert triangulate(np.zeros((0, 3)), np.zeros(0, int)).shape == (0, 3)
