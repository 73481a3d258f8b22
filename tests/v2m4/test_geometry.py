"""Geometry against closed forms."""

import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from v2m4 import geometry
from v2m4.geometry import (
    NearestPoints,
    chamfer,
    connected_components,
    face_areas,
    nearest,
    nearest_by_pytorch3d,
    nearest_of_all_pairs,
    pytorch3d_for,
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


def with_gradients(search, queries: torch.Tensor, points: torch.Tensor) -> list[torch.Tensor]:
    """Distances, indices, and the gradients of a weighted sum of squared distances in both arguments."""
    queries, points = queries.clone().requires_grad_(), points.clone().requires_grad_()
    distance, index = search(queries, points)
    (distance.square() * torch.linspace(0.5, 2, len(distance))).sum().backward()
    return [distance.detach(), index, queries.grad, points.grad]


def same_neighbours(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert torch.equal(found[1], expected[1]) and found[1].dtype == torch.int64
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(3000, 3, generator=generator), torch.rand(5000, 3, generator=generator)


def test_all_pairs_in_blocks_find_what_the_tree_finds(clouds, monkeypatch) -> None:
    monkeypatch.setattr(geometry, "PAIRS_AT_ONCE", 1 << 20)
    same_neighbours(with_gradients(nearest_of_all_pairs, *clouds), with_gradients(nearest, *clouds))


def test_pytorch3d_finds_what_torch_and_the_tree_find(clouds) -> None:
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed: see docs/models.md")
    if pytorch3d_for("cpu") is None:
        pytest.skip("pytorch3d is installed but does not run on a CPU")
    found = with_gradients(nearest_by_pytorch3d, *clouds)
    same_neighbours(found, with_gradients(nearest_of_all_pairs, *clouds))
    same_neighbours(found, with_gradients(nearest, *clouds))


def test_pytorch3d_gives_the_same_chamfer_distance(clouds, monkeypatch) -> None:
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed: see docs/models.md")
    expected = with_gradients(lambda a, b: (chamfer(a, b)[None], torch.zeros(1).long()), *clouds)
    monkeypatch.setattr(geometry, "_takes_pytorch3d", lambda queries, points: True)
    found = with_gradients(lambda a, b: (chamfer(a, b)[None], torch.zeros(1).long()), *clouds)
    same_neighbours(found, expected)
    from pytorch3d.loss import chamfer_distance

    theirs, _ = chamfer_distance(clouds[0][None], clouds[1][None])
    assert float(found[0]) == pytest.approx(float(theirs), rel=1e-5)


def test_a_point_on_another_has_distance_0_and_no_gradient(clouds) -> None:
    both = clouds[0][:50]
    for search in (nearest, nearest_of_all_pairs):
        distance, index, gradient, _ = with_gradients(search, both, both)
        assert torch.equal(index, torch.arange(50)) and distance.max() < 1e-9 and gradient.abs().max() < 1e-9


def test_a_search_finds_what_is_found_at_once(clouds) -> None:
    queries, points = clouds
    distance, index = NearestPoints(points).query(queries.clone().requires_grad_())
    expected = nearest(queries, points)
    assert torch.equal(index, expected[1]) and not distance.requires_grad
    assert torch.allclose(distance.float(), expected[0], atol=1e-6)
    with pytest.raises(ValueError, match="no points"):
        nearest(queries, points[:0])


@pytest.fixture
def asked_anew():
    """What was found out about pytorch3d is forgotten, before and after."""
    pytorch3d_for.cache_clear()
    yield
    pytorch3d_for.cache_clear()


def test_pytorch3d_serves_where_it_is_installed_for_the_device(asked_anew, monkeypatch, caplog) -> None:
    def answering(*_, K):
        raise RuntimeError("Not compiled with GPU support.")

    monkeypatch.setitem(sys.modules, "pytorch3d", ModuleType("pytorch3d"))
    monkeypatch.setitem(sys.modules, "pytorch3d.ops", SimpleNamespace(knn_points=answering))
    assert pytorch3d_for("cpu") is None
    assert "pytorch3d cannot be used on cpu (Not compiled with GPU support.)" in caplog.text
    with pytest.raises(RuntimeError, match="pytorch3d is not installed for cpu"):
        nearest_by_pytorch3d(torch.zeros(1, 3), torch.zeros(1, 3))
    found = SimpleNamespace(dists=torch.full((1, 2, 1), 4.0), idx=torch.ones(1, 2, 1, dtype=torch.int64))
    monkeypatch.setitem(sys.modules, "pytorch3d.ops", SimpleNamespace(knn_points=lambda *_, K: found))
    pytorch3d_for.cache_clear()
    monkeypatch.setattr(geometry, "_takes_pytorch3d", lambda queries, points: True)
    distance, index = nearest(torch.zeros(2, 3), torch.zeros(2, 3))
    assert distance.tolist() == [2.0, 2.0] and index.tolist() == [1, 1]


def test_on_a_cpu_the_tree_serves_also_where_pytorch3d_is_installed(clouds, monkeypatch) -> None:
    monkeypatch.setattr(geometry, "pytorch3d_for", lambda device: pytest.fail("asked for nothing"))
    assert nearest(*clouds)[0].shape == (3000,)


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
