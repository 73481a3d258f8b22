"""Laws of meshes and mesh sequences."""

import numpy as np
import pytest
import torch
import trimesh

from v2m4.mesh import Mesh, MeshSequence


def ball() -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=2)
    vertices = torch.tensor(np.array(shape.vertices), dtype=torch.float32)
    return Mesh(vertices, torch.tensor(np.array(shape.faces)))


def test_normals_of_a_ball_point_outwards() -> None:
    mesh = ball()
    assert (mesh.normals() * mesh.vertices).sum(1).min() > 0.99


def test_a_reflection_keeps_faces_outward() -> None:
    mirrored = ball().transformed(torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])))
    assert (mirrored.normals() * mirrored.vertices).sum(1).min() > 0.99


def test_normalizing_brings_the_mesh_into_the_unit_cube() -> None:
    shifted = ball().transformed(torch.tensor([[3.0, 0, 0, 5], [0, 2, 0, -1], [0, 0, 1, 2], [0, 0, 0, 1]]))
    lower, upper = shifted.transformed(shifted.normalizing()).bounds()
    assert torch.allclose(lower, torch.tensor([-0.5, -1 / 3, -1 / 6]), atol=2e-2)
    assert (upper - lower).max() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_a_mesh_of_any_size_is_normalised(size: float) -> None:
    tiny = ball().with_vertices(ball().vertices * size)
    lower, upper = tiny.transformed(tiny.normalizing()).bounds()
    assert float((upper - lower).max()) == pytest.approx(1.0, abs=1e-5)


def test_arrays_round_trip_is_exact() -> None:
    mesh = ball()
    again = Mesh.from_arrays(mesh.arrays() | {"another": np.zeros(3)})
    assert torch.equal(again.vertices, mesh.vertices)
    assert torch.equal(again.faces, mesh.faces)
    assert again.uvs is None


def test_shapes_are_checked_and_quoted() -> None:
    mesh = ball()
    with pytest.raises(ValueError, match=r"vertices.*\(4, 2\)"):
        Mesh(torch.zeros(4, 2), mesh.faces)
    with pytest.raises(ValueError, match=r"faces.*integer"):
        Mesh(mesh.vertices, mesh.faces.float())
    with pytest.raises(ValueError, match="need uv_faces"):
        Mesh(mesh.vertices, mesh.faces, uvs=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="no vertices"):
        Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)).bounds()


def test_sequence_is_linear_between_key_frames_and_exact_on_them() -> None:
    mesh = ball()
    generator = torch.Generator().manual_seed(1)
    vertices = torch.rand(3, len(mesh.vertices), 3, generator=generator)
    sequence = MeshSequence(vertices, mesh, np.array([0.0, 5.0, 8.0]))
    whole = sequence.sampled(range(-1, 10))
    assert torch.equal(whole.vertices[[1, 6, 9]], vertices)
    assert torch.equal(whole.vertices[0], vertices[0])
    assert torch.equal(whole.vertices[10], vertices[2])
    assert torch.allclose(whole.vertices[3], 0.6 * vertices[0] + 0.4 * vertices[1], atol=1e-6)
    assert torch.equal(MeshSequence(vertices[:1], mesh, np.array([2.0])).sampled([0, 1]).vertices[1], vertices[0])


def test_sequence_refuses_times_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="times: 1 for 2"):
        MeshSequence(ball().vertices.expand(2, -1, -1), ball(), np.zeros(1))


def test_a_sequence_at_its_own_times_is_not_copied() -> None:
    mesh, times = ball(), np.array([0.0, 2.0, 5.0])
    sequence = MeshSequence(torch.stack([mesh.vertices * scale for scale in (1, 2, 3)]), mesh, times)
    assert sequence.sampled(times.tolist()).vertices is sequence.vertices


def test_sampling_pose_by_pose_equals_the_interpolation_of_all() -> None:
    mesh, times = ball(), np.array([0.0, 2.0, 5.0])
    poses = mesh.vertices + 0.1 * torch.randn(3, *mesh.vertices.shape, generator=torch.Generator().manual_seed(0))
    found = MeshSequence(poses, mesh, times).sampled([0.0, 0.5, 2.0, 3.7, 5.0]).vertices
    weights = torch.tensor([0.0, 0.25, 0.0, 1.7 / 3, 1.0])[:, None, None]
    assert torch.equal(found, torch.lerp(poses[[0, 0, 1, 1, 1]], poses[[1, 1, 2, 2, 2]], weights))


def test_bytes_of_a_mesh_are_those_of_its_tensors() -> None:
    mesh = ball()
    assert mesh.nbytes == sum(array.nbytes for array in mesh.arrays().values())
