"""Subdivision of coarse meshes: the surface, its colours and the way back stay what they are."""

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from v2m4.mesh import Mesh, MeshSequence
from v2m4.subdivide import COARSE_FACES, COPY_FACES, subdivided, working_copy


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.array(shape.vertices), dtype=torch.float32), torch.tensor(np.array(shape.faces)))


def triangle() -> Mesh:
    return Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0.5]]), torch.tensor([[0, 1, 2]]))


def needle() -> Mesh:
    return Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 0.002, 0]]), torch.tensor([[0, 1, 2]]))


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.double().numpy(), mesh.faces.numpy(), process=False)


@pytest.mark.parametrize(
    "mesh",
    [triangle(), needle(), mesh_of(trimesh.creation.box((1, 2, 3))), mesh_of(trimesh.creation.cylinder(0.1, 1.0))],
    ids=["triangle", "needle", "box", "cylinder"],
)
def test_the_surface_stays_where_it_is(mesh: Mesh) -> None:
    result = subdivided(mesh, 1000)
    before, after = as_trimesh(mesh), as_trimesh(result.mesh)
    assert 900 < len(after.faces) <= 1000
    assert after.area == pytest.approx(before.area, rel=1e-4)
    assert after.is_watertight == before.is_watertight
    if before.is_watertight:
        assert after.volume == pytest.approx(before.volume, rel=1e-5)
    assert torch.equal(result.mesh.vertices[: len(mesh.vertices)], mesh.vertices)
    assert np.allclose(result.weights @ mesh.vertices.numpy(), result.mesh.vertices.numpy(), atol=1e-6)
    edges = np.linalg.norm(after.vertices[after.edges_unique[:, 0]] - after.vertices[after.edges_unique[:, 1]], axis=1)
    assert edges.max() < 0.3 * np.ptp(before.vertices, axis=0).max()


def test_normals_keep_their_side() -> None:
    box = mesh_of(trimesh.creation.box())
    fine = as_trimesh(subdivided(box, 700).mesh)
    assert (np.einsum("ij,ij->i", fine.face_normals, fine.triangles_center) > 0.4).all()


def test_texture_coordinates_and_colours_are_interpolated_on_either_side_of_a_seam() -> None:
    mesh = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
        uvs=torch.tensor([[0.0, 0], [0.4, 0], [0.4, 0.4], [0.6, 0.6], [1, 1], [0.6, 1]]),
        uv_faces=torch.tensor([[0, 1, 2], [3, 4, 5]]),
        texture=torch.rand(8, 8, 3),
        colors=torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
    )
    fine = subdivided(mesh, 200).mesh
    assert fine.uvs is not None
    assert fine.uv_faces is not None
    assert fine.colors is not None
    assert torch.equal(fine.texture, mesh.texture)
    assert torch.allclose(fine.colors[:, :2], fine.vertices[:, :2])
    corners, uvs = fine.vertices[fine.faces][..., :2], fine.uvs[fine.uv_faces]
    first = (uvs < 0.5).all(2).all(1)
    assert torch.allclose(uvs[first], 0.4 * corners[first], atol=1e-6)
    assert torch.allclose(uvs[~first], 0.6 + 0.4 * corners[~first], atol=1e-6)
    assert 0 < first.sum() < len(first)


def test_an_edge_of_four_faces_stays_connected() -> None:
    ends = [[0.0, 0, 0], [0, 1, 0]]
    tips = [[1.0, 0.5, 0], [-1, 0.5, 0.2], [0, 0.5, 1], [0, 0.5, -1]]
    mesh = Mesh(torch.tensor(ends + tips), torch.tensor([[0, 1, number] for number in (2, 3, 4, 5)]))
    fine = as_trimesh(subdivided(mesh, 300).mesh)
    on_axis = (np.abs(fine.vertices[:, 0]) < 1e-9) & (np.abs(fine.vertices[:, 2]) < 1e-9)
    inner = fine.edges_sorted[on_axis[fine.edges_sorted].all(1)]
    assert (np.unique(inner, axis=0, return_counts=True)[1] == 4).all()
    assert fine.body_count == 1


def test_faces_without_an_area_and_a_point_come_to_an_end() -> None:
    line = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]]))
    assert len(subdivided(line, 50).mesh.faces) <= 50
    point = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    assert subdivided(point, 50).mesh is point


def bent(vertices: Tensor) -> Tensor:
    """An affine map, which a coarse mesh follows exactly."""
    return vertices @ torch.tensor([[1.0, 0.2, 0], [0, 1.1, -0.3], [0.4, 0, 0.9]]) + torch.tensor([0.3, -2, 1])


def test_the_coarse_mesh_takes_the_motion_of_the_copy() -> None:
    box = mesh_of(trimesh.creation.box((1, 2, 3)))
    result = subdivided(box, 500)
    poses = torch.stack([result.mesh.vertices, bent(result.mesh.vertices)])
    sequence = result.coarse_sequence(MeshSequence(poses, result.mesh, np.arange(2.0)))
    assert torch.equal(sequence.mesh.faces, box.faces)
    assert torch.allclose(sequence.vertices, torch.stack([box.vertices, bent(box.vertices)]), atol=1e-5)
    noisy = poses + 0.05 * torch.randn(poses.shape, generator=torch.Generator().manual_seed(0))
    error = result.coarse_sequence(MeshSequence(noisy, result.mesh, np.arange(2.0))).vertices - sequence.vertices
    assert error.norm(dim=2).mean() < 0.4 * (noisy - poses).norm(dim=2).mean()


def test_only_coarse_meshes_are_subdivided() -> None:
    sphere = mesh_of(trimesh.creation.icosphere(subdivisions=3))
    assert len(sphere.faces) >= COARSE_FACES
    same = working_copy(sphere, 10000)
    sequence = MeshSequence(sphere.vertices[None], sphere, np.zeros(1))
    assert same.mesh is sphere
    assert same.coarse_sequence(sequence) is sequence
    assert 0.9 * COPY_FACES < len(working_copy(triangle(), 10000).mesh.faces) <= COPY_FACES
    assert len(working_copy(triangle(), 300).mesh.faces) <= 300


def test_one_of_two_faces_on_the_same_vertices_is_tracked() -> None:
    sheet = Mesh(torch.eye(4, 3), torch.tensor([[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0], [1, 2, 0]]))
    copy = working_copy(sheet, 2)
    assert torch.equal(copy.mesh.faces, sheet.faces[:2])
    assert torch.equal(copy.mesh.vertices, sheet.vertices)
