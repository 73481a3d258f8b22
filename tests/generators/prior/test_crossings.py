import numpy as np
import pytest
import trimesh

from generators.prior.crossings import ray_crossings

SIZE = (64, 64)
SCALE = 20.0  # pixels per unit; depths are far away, so that rays are almost parallel
FAR = 1e6


def pixels(vertices: np.ndarray) -> np.ndarray:
    """Points in a picture, seen along -z from afar, y up."""
    return np.stack([32.013 + SCALE * vertices[:, 0], 32.007 - SCALE * vertices[:, 1], FAR - vertices[:, 2]], 1)


def sphere(centre: tuple[float, float, float], radius: float = 1.0) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    mesh.apply_translation(centre)
    return mesh


def grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices(SIZE)
    return (columns + 0.5 - 32.013) / SCALE, (32.007 - rows - 0.5) / SCALE


def test_entry_and_exit_of_a_sphere() -> None:
    mesh = sphere((0, 0, 0))
    found = ray_crossings(pixels(mesh.vertices), mesh.faces, SIZE)
    x, y = grid()
    inside = x**2 + y**2 < 0.9
    height = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    assert found.hit[inside].all()
    assert not found.hit[x**2 + y**2 > 1].any()
    depth = found.depth.astype(np.float64) - FAR
    for place, sign in ((0, -1), (1, 1), (2, -1), (3, 1)):
        assert np.abs(depth[..., place] - sign * height)[inside].max() < 0.07  # float32 at this distance: 0.06


def test_overlapping_spheres_have_one_interval_and_distant_ones_two() -> None:
    for gap, intervals in ((1.0, 1), (3.0, 2)):
        mesh = trimesh.util.concatenate([sphere((0, 0, 0)), sphere((0, 0, -gap))])
        points = pixels(mesh.vertices)
        points[:, 2] -= FAR - 10
        depth = ray_crossings(points, mesh.faces, SIZE).depth[32, 32]
        assert depth[0] == pytest.approx(9, abs=0.01)
        assert depth[3] == pytest.approx(11 + gap, abs=0.01)
        if intervals == 1:
            assert depth[1] == depth[3]
            assert depth[2] == depth[0]
        else:
            assert depth[1] == pytest.approx(11, abs=0.01)
            assert depth[2] == pytest.approx(9 + gap, abs=0.01)


def test_torus_has_a_hole_and_two_intervals_from_its_side() -> None:
    mesh = trimesh.creation.torus(1.0, 0.3)
    facing = ray_crossings(pixels(mesh.vertices), mesh.faces, SIZE)
    assert not facing.hit[32, 32]
    assert facing.hit[32, 52]
    turned = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
    points = pixels(turned)
    points[:, 2] -= FAR - 10
    depth = ray_crossings(points, mesh.faces, SIZE).depth[32, 32]
    assert depth == pytest.approx([8.7, 9.3, 10.7, 11.3], abs=0.02)


def test_open_mesh_ends_at_its_last_crossing() -> None:
    mesh = sphere((0, 0, 0))
    points = pixels(mesh.vertices)
    points[:, 2] -= FAR - 10
    front = mesh.faces[mesh.triangles_center[:, 2] > 0]
    depth = ray_crossings(points, front, SIZE).depth[32, 32]
    assert depth == pytest.approx([9, 9, 9, 9], abs=0.01)


def test_barycentric_coordinates_interpolate_in_perspective() -> None:
    triangle = np.array([[4.0, 60.0, 1.0], [60.0, 60.0, 3.0], [32.0, 4.0, 9.0]])
    found = ray_crossings(triangle, np.array([[0, 1, 2]]), SIZE)
    weights = np.concatenate([found.barycentric, 1 - found.barycentric.sum(-1, keepdims=True)], -1)[..., 0, :]
    depth = weights @ triangle[:, 2]
    assert found.hit.sum() > 1000
    assert np.allclose(depth[found.hit], found.depth[found.hit][:, 0], rtol=1e-5)


def test_vertices_behind_the_camera_are_refused() -> None:
    with pytest.raises(ValueError, match="not in front"):
        ray_crossings(np.array([[0.0, 0, -1], [1, 0, 1], [0, 1, 1]]), np.array([[0, 1, 2]]), SIZE)
