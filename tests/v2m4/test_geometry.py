"""Geometry against closed forms."""

import math

import numpy as np
import pytest
import torch
import trimesh

from v2m4.geometry import (
    chamfer,
    connected_components,
    face_areas,
    nearest,
    sample_surface,
    uniform_laplacian,
    unique_edges,
    vertex_normals,
)


def ball(subdivisions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions)
    return torch.tensor(np.array(shape.vertices), dtype=torch.float32), torch.tensor(np.array(shape.faces))


def test_area_of_a_ball() -> None:
    assert face_areas(*ball(4)).sum() == pytest.approx(4 * math.pi, rel=0.005)


def test_edges_obey_euler() -> None:
    vertices, faces = ball()
    assert len(vertices) - len(unique_edges(faces)) + len(faces) == 2


def test_laplacian_has_no_row_sums_and_is_positive() -> None:
    vertices, faces = ball(1)
    matrix = uniform_laplacian(faces, len(vertices)).to_dense()
    assert torch.equal(matrix, matrix.T)
    assert matrix.sum(1).abs().max() == 0
    values = torch.linalg.eigvalsh(matrix)
    assert values[0].abs() < 1e-4
    assert values[1] > 1e-2


def test_samples_lie_on_the_surface_spread_by_area() -> None:
    vertices, faces = ball()
    points, index, weights = sample_surface(vertices, faces, 20000, torch.Generator().manual_seed(0))
    assert torch.allclose(weights.sum(1), torch.ones(20000), atol=1e-6)
    assert (points.norm(dim=1) - 1).abs().max() < 0.02
    assert points.mean(0).norm() < 0.02
    counts = torch.bincount(index, minlength=len(faces)).float() / 20000
    expected = face_areas(vertices, faces) / face_areas(vertices, faces).sum()
    assert (counts - expected).abs().max() < 5e-4


def test_sampling_refuses_a_mesh_without_area() -> None:
    with pytest.raises(ValueError, match="no area"):
        sample_surface(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 5)


def test_chamfer_of_itself_is_zero_and_of_a_shift_is_known() -> None:
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(2))
    assert chamfer(points, points) < 1e-12
    grid = torch.stack(torch.meshgrid(*[torch.arange(5.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    assert chamfer(grid, grid + torch.tensor([0.1, 0, 0])) == pytest.approx(0.02, rel=1e-4)
    assert chamfer(grid, grid + torch.tensor([0.1, 0, 0]), squared=False) == pytest.approx(0.2, rel=1e-4)


def test_nearest_agrees_with_all_pairs_and_its_gradient_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    queries, points = torch.rand(40, 3, generator=generator), torch.rand(60, 3, generator=generator)
    distance, index = nearest(queries, points)
    all_pairs = (queries[:, None] - points).norm(dim=-1)
    assert torch.equal(index, all_pairs.argmin(1))
    assert torch.allclose(distance, all_pairs.amin(1), atol=1e-6)
    queries.requires_grad_()
    nearest(queries, points)[0].sum().backward()
    step = torch.zeros_like(queries)
    step[3, 1] = 1e-3
    with torch.no_grad():
        slope = (nearest(queries + step, points)[0].sum() - nearest(queries - step, points)[0].sum()) / 2e-3
    assert queries.grad[3, 1] == pytest.approx(slope.item(), abs=1e-2)


def test_vertex_normals_batch_like_one_by_one() -> None:
    vertices, faces = ball(1)
    both = torch.stack([vertices, vertices * torch.tensor([1.0, 2.0, 3.0])])
    batched = vertex_normals(both, faces)
    assert torch.allclose(batched[1], vertex_normals(both[1], faces), atol=1e-6)


def test_connected_components_agree_with_trimesh_and_are_numbered_by_their_first_vertex() -> None:
    draw = np.random.default_rng(0)
    for count, size in ((1, 0), (50, 20), (50, 60), (200, 120)):
        edges = draw.integers(0, count, (size, 2))
        labels = connected_components(edges, count)
        oracle = trimesh.graph.connected_component_labels(edges, count)
        assert labels.shape == (count,)
        assert len({*zip(labels.tolist(), oracle.tolist(), strict=True)}) == labels.max() + 1 == oracle.max() + 1
        firsts = np.unique(labels, return_index=True)[1]
        assert (np.diff(firsts) > 0).all()
        again = connected_components(np.concatenate([edges[:, ::-1], edges, edges]), count)  # direction and repeats
        np.testing.assert_array_equal(labels, again)


def test_connected_components_of_faces_are_those_of_their_edges() -> None:
    faces = np.random.default_rng(0).integers(0, 60, (25, 3))
    edges = np.concatenate([faces[:, :2], faces[:, 1:], faces[:, [2, 0]]])
    np.testing.assert_array_equal(connected_components(faces, 60), connected_components(edges, 60))
