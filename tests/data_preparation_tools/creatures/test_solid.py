import numpy as np
import pytest
import trimesh

from data_preparation_tools.creatures.solid import (
    Ellipsoid,
    ImplicitSolid,
    RoundCone,
    RoundedBox,
    adjacency,
    euler_matrix,
    mesh_solid,
    smooth_minimum,
)

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
CONE = RoundCone("b", RED, 0.02, (0.1, -0.2, 0.0), (0.3, 0.3, 0.1), 0.2, 0.05)
BOX = RoundedBox("b", RED, 0.02, (0.1, 0.0, -0.1), (0.3, 0.2, 0.1), 0.05, (20, 30, 40))
EGG = Ellipsoid("b", RED, 0.02, (0.0, 0.1, 0.1), (0.3, 0.2, 0.1), (20, -30, 40))


def _points(count: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.7, 0.7, (count, 3))


def _gradient(part, points, step=1e-5):
    shifts = step * np.eye(3)
    return np.stack([part.distance(points + s) - part.distance(points - s) for s in shifts], 1) / (2 * step)


@pytest.mark.parametrize("part", [CONE, BOX], ids=["cone", "box"])
def test_an_exact_distance_grows_by_one_per_length_outside(part):
    points = _points()
    points = points[part.distance(points) > 0.01]
    assert np.allclose(np.linalg.norm(_gradient(part, points), axis=1), 1.0, atol=1e-3)


def test_a_round_cone_is_the_union_of_its_balls():
    points = _points(300)
    share = np.linspace(0, 1, 4001)[:, None, None]
    centers = np.asarray(CONE.start) + share * (np.asarray(CONE.end) - np.asarray(CONE.start))
    radii = CONE.start_radius + share[..., 0] * (CONE.end_radius - CONE.start_radius)
    nearest = (np.linalg.norm(points - centers, axis=2) - radii).min(0)
    assert np.allclose(CONE.distance(points), nearest, atol=1e-6)


def test_a_round_ellipsoid_is_a_ball():
    ball = Ellipsoid("b", RED, 0.02, (0.1, 0.2, 0.3), (0.25, 0.25, 0.25), (10, 20, 30))
    points = _points()
    assert np.allclose(ball.distance(points), np.linalg.norm(points - (0.1, 0.2, 0.3), axis=1) - 0.25)


@pytest.mark.parametrize("part", [CONE, BOX, EGG], ids=["cone", "box", "egg"])
def test_the_box_holds_the_part_and_is_tight(part):
    points = _points(200_000)
    inside = points[part.distance(points) < 0]
    lower, upper = part.box()
    assert (inside >= lower - 1e-9).all() and (inside <= upper + 1e-9).all()
    slack = np.maximum(inside.min(0) - lower, upper - inside.max(0))
    assert (slack < (0.05 if part is BOX else 0.02)).all()  # the rounded corners of a turned box stay off its box


def test_a_smooth_minimum_is_below_both_and_equal_far_apart():
    first, second = np.random.default_rng(0).uniform(-1, 1, (2, 1000))
    smooth, far = smooth_minimum(first, second, 0.1), np.abs(first - second) > 0.1
    assert (smooth <= np.minimum(first, second) + 1e-12).all()
    assert np.allclose(smooth[far], np.minimum(first, second)[far])
    assert np.allclose(smooth_minimum(first, first, 0.1), first - 0.025)


def test_rotations_turn_y_towards_z_about_x():
    assert np.allclose(euler_matrix(90) @ (0, 1, 0), (0, 0, 1))
    assert np.allclose(euler_matrix(0, 90) @ (0, 0, 1), (1, 0, 0))
    assert np.allclose(euler_matrix(0, 0, 90) @ (1, 0, 0), (0, 1, 0))
    matrix = euler_matrix(20, 30, 40)
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.isclose(np.linalg.det(matrix), 1)


def test_paint_follows_the_nearest_part_and_decals_keep_to_their_bone():
    left = Ellipsoid("left", RED, 0.02, (-0.2, 0, 0), (0.1, 0.1, 0.1))
    right = Ellipsoid("right", BLUE, 0.02, (0.2, 0, 0), (0.1, 0.1, 0.1))
    solid, points = ImplicitSolid((left, right)), np.array([[-0.2, 0.1, 0.0], [0.2, 0.1, 0.0]])
    everywhere = Ellipsoid("", (0.0, 1.0, 0.0), 0.01, (0, 0, 0), (1, 1, 1))
    only_left = Ellipsoid("left", (0.0, 1.0, 0.0), 0.01, (0, 0, 0), (1, 1, 1))
    assert np.allclose(solid.paint(points), [RED, BLUE], atol=1e-6)
    assert np.allclose(solid.paint(points, (everywhere,)), [(0, 1, 0)] * 2, atol=1e-6)
    assert np.allclose(solid.paint(points, (only_left,)), [(0, 1, 0), BLUE], atol=1e-6)


def test_a_mesh_lies_on_its_solid_closed_and_even():
    solid = ImplicitSolid((CONE, EGG))
    gradient = lambda points: _gradient(solid, points)  # noqa: E731
    vertices, faces = mesh_solid(solid.distance, gradient, solid.box(), 2000)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0 and 1600 < len(faces) < 2500
    assert np.abs(solid.distance(vertices)).max() < 1e-4
    edges = np.linalg.norm(np.diff(vertices[mesh.edges_unique], axis=1)[:, 0], axis=1)
    assert np.quantile(edges, 0.99) < 1.7 * np.median(edges) and np.quantile(edges, 0.01) > 0.4 * np.median(edges)
    inside = solid.distance(_points(20_000)) < 0
    assert np.isclose(mesh.volume, inside.mean() * 1.4**3, rtol=0.1)


def test_adjacency_averages_neighbours():
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    assert np.allclose(adjacency(faces, 4) @ np.array([0.0, 3.0, 6.0, 9.0]), [6.0, 3.0, 4.0, 3.0])
