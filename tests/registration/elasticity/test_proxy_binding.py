"""Binding of a full mesh to a reduced one: invariants, and deformations of known result."""

import time

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from registration.elasticity.proxy_binding import ProxyBinding, _nearest_triangles, barycentric, decimated_copy
from v2m4.mesh import Mesh


def tube(along: int, around: int) -> Mesh:
    """An upright tube, 2 long, of uneven width."""
    height, angle = np.meshgrid(np.linspace(-1, 1, along), np.linspace(0, 2 * np.pi, around, False), indexing="ij")
    radius = 0.2 + 0.05 * np.cos(5 * height) + 0.02 * np.cos(3 * angle)
    points = np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], -1).reshape(-1, 3)
    here = np.arange(along * around).reshape(along, around)
    beside = np.roll(here, -1, 1)
    lower = np.stack([here[:-1], here[1:], beside[:-1]], -1).reshape(-1, 3)
    upper = np.stack([beside[:-1], here[1:], beside[1:]], -1).reshape(-1, 3)
    vertices = torch.tensor(points, dtype=torch.float32)
    return Mesh(vertices, torch.tensor(np.concatenate([lower, upper])), colors=(vertices + 1) / 2)


def bent(points: np.ndarray, angle: float) -> np.ndarray:
    """Space bent along y into an arc of ``angle``, and twisted by half of it."""
    rotation = angle / 4 * points[:, 1]
    x = points[:, 0] * np.cos(rotation) - points[:, 2] * np.sin(rotation)
    z = points[:, 0] * np.sin(rotation) + points[:, 2] * np.cos(rotation)
    radius = 2 / angle
    at = points[:, 1] / radius
    return np.stack([radius - (radius - x) * np.cos(at), (radius - x) * np.sin(at), z], 1)


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    vertices = torch.tensor(shape.vertices, dtype=torch.float32)
    return Mesh(vertices, torch.tensor(shape.faces), colors=torch.ones_like(vertices))


def concatenated(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = torch.cat([mesh.faces + int(start) for mesh, start in zip(meshes, starts, strict=False)])
    vertices = torch.cat([mesh.vertices for mesh in meshes])
    return Mesh(vertices, faces, colors=torch.ones_like(vertices))


def check_bent(full: Mesh, faces: int, mean: float, most: float, stretch: float) -> ProxyBinding:
    """Bend the reduced copy by 1.5 radians: errors as shares of the size, and the stretch of 98 % of the edges."""
    binding = ProxyBinding.of(full, decimated_copy(full, faces))
    moved = binding.pose(bent(binding.reduced, 1.5))
    truth = bent(full.vertices.numpy().astype(float), 1.5)
    errors = np.linalg.norm(moved - truth, axis=1) / 2
    assert errors.mean() < mean and errors.max() < most
    triangles = full.faces.numpy()
    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])

    def lengths(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)

    low, high = np.quantile(lengths(moved) / lengths(truth), [0.01, 0.99])
    assert 1 / stretch < low and high < stretch
    return binding


@pytest.fixture(scope="module")
def bound() -> tuple[Mesh, ProxyBinding]:
    full = tube(60, 40)
    return full, ProxyBinding.of(full, decimated_copy(full, 600))


def test_the_proxys_rest_pose_gives_the_full_meshs_rest_pose_exactly(bound: tuple[Mesh, ProxyBinding]) -> None:
    full, binding = bound
    assert np.array_equal(binding.pose(binding.reduced), full.vertices.numpy())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_rigid_motions_are_exact(bound: tuple[Mesh, ProxyBinding], seed: int) -> None:
    full, binding = bound
    rng = np.random.default_rng(seed)
    rotation, translation = Rotation.random(random_state=seed % 2**31).as_matrix(), rng.normal(size=3)
    moved = binding.apply((binding.reduced @ rotation.T + translation)[None])[0]
    assert np.abs(moved - (full.vertices.numpy().astype(float) @ rotation.T + translation)).max() < 1e-6


def test_apply_agrees_with_poses(bound: tuple[Mesh, ProxyBinding]) -> None:
    _, binding = bound
    poses = torch.tensor(np.stack([bent(binding.reduced, angle) for angle in (0.5, 1.0)]))
    assert np.array_equal(binding.apply(poses), np.stack(list(binding.poses(poses))))


def test_a_bent_tube_has_the_analytic_shape() -> None:
    check_bent(tube(300, 100), 3000, mean=5e-4, most=3e-3, stretch=1.07)


@pytest.mark.slow
def test_300000_vertices_are_posed_quickly() -> None:
    binding = check_bent(tube(1000, 300), 8000, mean=3e-4, most=2e-3, stretch=1.06)
    start = time.process_time()
    for angle in np.linspace(0.1, 1, 10):
        binding.pose(bent(binding.reduced, angle))
    assert time.process_time() - start < 10 * 0.2


def test_an_undecimated_copy_reproduces_the_pose() -> None:
    full = tube(30, 20)
    binding = ProxyBinding.of(full, decimated_copy(full, 10**6))
    moved = bent(binding.reduced, 1.0)
    assert np.abs(binding.pose(moved) - moved).max() < 1e-6


@pytest.mark.parametrize("gap", [0.0, 1e-3])
def test_components_that_touch_stay_independent(gap: float) -> None:
    """Two boxes face to face, of equal vertices there: one is displaced, with all of its vertices and no others."""
    box = trimesh.creation.box((1, 1, 1))
    for _ in range(4):
        box = box.subdivide()
    first = mesh_of(box)
    second = first.with_vertices(first.vertices + torch.tensor([1.0 + gap, 0, 0]))
    full = concatenated(first, second)
    reduced = decimated_copy(full, 600)
    assert len(reduced.faces) <= 600
    components = trimesh.Trimesh(reduced.vertices, reduced.faces, process=False).split(only_watertight=False)
    assert len(components) == 2
    labels = trimesh.graph.connected_component_labels(
        trimesh.Trimesh(reduced.vertices, reduced.faces, process=False).edges, len(reduced.vertices)
    )
    right = labels == labels[int(reduced.vertices[:, 0].argmax())]
    pose = reduced.vertices.numpy() + np.where(right[:, None], [0.5, 0.2, 0], 0)
    moved = ProxyBinding.of(full, reduced).pose(pose) - full.vertices.numpy()
    half = len(first.vertices)
    assert np.abs(moved[:half]).max() < 1e-6
    assert np.abs(moved[half:] - [0.5, 0.2, 0]).max() < 1e-6


def test_vertices_are_bound_to_their_own_component_where_components_coincide() -> None:
    """A large box and a small one on its lid whose every vertex is a vertex of the large one too; triangles of many
    sizes: each vertex lies on its own component's surface."""
    large = trimesh.creation.box((1, 1, 1)).subdivide().subdivide()
    low = trimesh.creation.box((0.5, 0.5, 0.5), transform=trimesh.transformations.translation_matrix([0, 0, 0.75]))
    full = concatenated(mesh_of(large), mesh_of(low))
    assert len({tuple(row) for row in full.vertices.tolist()}) == len(full.vertices) - 4
    binding = ProxyBinding.of(full, full)
    assert binding.distance.max() < 1e-6
    pose = full.vertices.numpy() + np.where(np.arange(len(full.vertices))[:, None] < len(large.vertices), 0, 1.0)
    assert np.abs(binding.pose(pose) - pose).max() < 1e-6


def test_the_two_sides_of_a_thin_sheet_are_bound_to_their_own_side() -> None:
    """A sheet of one component, thinner than its reduced triangles are wide: its sides are drawn apart."""
    box = trimesh.creation.box((1, 1, 0.002))
    for _ in range(5):
        box = box.subdivide()
    full = mesh_of(box)
    reduced = mesh_of(trimesh.creation.box((1, 1, 0.002)).subdivide().subdivide())
    pose = reduced.vertices.numpy() + np.array([0, 0, 0.3]) * np.sign(reduced.vertices.numpy()[:, 2:])
    moved = ProxyBinding.of(full, reduced).pose(pose) - full.vertices.numpy()
    inside = (np.abs(full.vertices.numpy()[:, :2]) < 0.3).all(1)
    side = np.sign(full.vertices.numpy()[inside, 2])
    assert (np.sign(moved[inside, 2]) == side).all()
    assert np.allclose(np.abs(moved[inside, 2]), 0.3, atol=0.01)


def test_a_component_without_a_match_is_bound_to_the_nearest() -> None:
    ball = mesh_of(trimesh.creation.icosphere(2))
    button = ball.with_vertices(ball.vertices * 0.01 + torch.tensor([1.0, 0, 0]))
    moved = ProxyBinding.of(concatenated(ball, button), ball).pose(ball.vertices.numpy() + 1)
    assert np.abs(moved - concatenated(ball, button).vertices.numpy() - 1).max() < 1e-6


def test_the_nearest_point_of_a_triangle_is_the_nearest() -> None:
    rng = np.random.default_rng(0)
    corners, points = rng.normal(size=(200, 3, 3)), 2 * rng.normal(size=(200, 3))
    weights = barycentric(points, corners)
    assert weights.min() >= 0 and np.allclose(weights.sum(1), 1)
    found = np.linalg.norm((weights[..., None] * corners).sum(1) - points, axis=1)
    nearest = trimesh.triangles.closest_point(corners, points)
    assert np.allclose(found, np.linalg.norm(nearest - points, axis=1))


def test_points_are_bound_to_the_nearest_triangle(bound: tuple[Mesh, ProxyBinding]) -> None:
    """Of two triangles that are equally near, the one whose normal agrees with the vertex's is taken."""
    full, binding = bound
    points, normals = full.vertices.double().numpy()[::16], full.normals().double().numpy()[::16]
    corners = binding.reduced[decimated_copy(full, 600).faces.numpy()]
    components, owners = np.zeros(len(points), np.int64), np.zeros(len(corners), np.int64)
    _, weights, distance = _nearest_triangles(points, normals, components, corners, owners)
    queries = np.repeat(points, len(corners), 0)
    closest = trimesh.triangles.closest_point(np.tile(corners, (len(points), 1, 1)), queries)
    oracle = np.linalg.norm(closest - queries, axis=1).reshape(len(points), -1).min(1)
    assert (distance > oracle - 1e-9).all()
    assert (distance < oracle + 1e-9).mean() > 0.98
    assert (distance - oracle).max() < 1e-3  # of a tube that is 2 long
    assert weights.min() >= 0


def test_a_pose_of_another_mesh_and_a_proxy_without_area_are_errors(bound: tuple[Mesh, ProxyBinding]) -> None:
    full, binding = bound
    with pytest.raises(ValueError, match="expected"):
        binding.pose(np.zeros((3, 3)))
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), colors=torch.ones(3, 3))
    with pytest.raises(ValueError, match="no triangle with an area"):
        ProxyBinding.of(full, flat)
