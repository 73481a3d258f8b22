"""Faces that the camera sees from behind are reversed, patch by patch."""

import numpy as np
import torch
import trimesh

from registration.video.orientation import facing_camera, oriented_patches
from tests.registration.shapes import painted, photographed, tensors
from v2m4.mesh import Mesh


def in_view(vertices: torch.Tensor) -> torch.Tensor:
    """In front of the identity camera, seen from a corner."""
    turn = torch.tensor(trimesh.transformations.euler_matrix(0.5, 0.6, 0.1)[:3, :3], dtype=torch.float32)
    return vertices @ turn.T + torch.tensor([0.0, 0.0, 3.0])


def box() -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = tensors(trimesh.creation.box())
    return in_view(vertices), faces


def test_a_closed_mesh_that_is_oriented_outwards_is_returned_itself() -> None:
    mesh = painted(*box())
    assert facing_camera(mesh, photographed(mesh, 0), 96) is mesh


def test_an_inside_out_mesh_is_reversed_with_its_texture_coordinates() -> None:
    vertices, faces = box()
    uvs = torch.rand(len(vertices), 2)
    inside_out = Mesh(vertices, faces.flip(1), uvs=uvs, texture=torch.rand(4, 4, 3))
    result = facing_camera(inside_out, photographed(painted(vertices, faces), 0), 96)
    assert torch.equal(result.faces, faces)
    assert torch.equal(result.uv_faces, faces)


def test_faces_without_any_order_face_the_camera_where_they_are_seen() -> None:
    vertices, faces = box()
    mixed = faces.clone()
    mixed[::2] = mixed[::2].flip(1)
    mesh = painted(vertices, mixed)
    result = facing_camera(mesh, photographed(mesh, 0), 96)
    corners = result.vertices[result.faces].numpy()
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = (normals * (corners.mean(1) - [0, 0, 3])).sum(1) > 0
    seen = (outwards == ((normals * corners[:, 0]).sum(1) < 0)) & outwards
    assert seen.sum() == 6  # three sides of two faces each
    assert outwards[seen].all()


def test_a_patch_ends_where_the_orientation_changes_and_at_edges_of_three_faces() -> None:
    strip = np.array([[0, 1, 2], [2, 1, 3], [3, 4, 2]])
    assert len(np.unique(oriented_patches(strip))) == 1
    strip[1] = strip[1, ::-1]
    assert len(np.unique(oriented_patches(strip))) == 3
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert len(np.unique(oriented_patches(fan))) == 3
