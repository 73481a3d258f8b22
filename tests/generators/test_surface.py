"""Cleaning, axes and colours of generated surfaces."""

import numpy as np
import pytest
import torch
import trimesh

from generators import _surface


def sphere(subdivisions=4, radius=1.0, centre=(0, 0, 0)):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return mesh.vertices + np.asarray(centre), mesh.faces


def joined(*surfaces):
    counts = np.cumsum([0] + [len(vertices) for vertices, _ in surfaces])
    return (
        np.concatenate([vertices for vertices, _ in surfaces]),
        np.concatenate([faces + start for (_, faces), start in zip(surfaces, counts, strict=False)]),
    )


def test_small_parts_are_removed_and_large_ones_kept():
    speck = sphere(0, 0.05, (3, 0, 0))  # 20 of 5,120 faces
    vertices, faces = _surface.clean_surface(joined(sphere(), speck), 10**6)
    assert vertices[:, 0].max() < 1.01 and len(faces) == 5120
    arm = sphere(2, 0.3, (3, 0, 0))  # 320 of 5,120 faces
    assert len(_surface.clean_surface(joined(sphere(), arm), 10**6)[1]) == 5440


@pytest.mark.parametrize("max_faces", [200, 1001, 5119])
def test_decimation_keeps_the_limit_the_volume_and_closedness(max_faces):
    vertices, faces = _surface.clean_surface(sphere(), max_faces)
    assert max_faces * 0.8 < len(faces) <= max_faces
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi, rel=0.06)
    assert len(vertices) == len(np.unique(faces))


def test_faces_are_welded_cleaned_and_oriented_outwards():
    vertices, faces = sphere(2)
    soup = vertices[faces].reshape(-1, 3)  # every face with corners of its own
    loose = np.arange(len(soup)).reshape(-1, 3)[:, ::-1]  # inside out
    soup = np.concatenate([soup, [[np.nan, 0, 0]]])
    loose = np.concatenate([loose, [[0, 0, 1], [0, 1, len(soup) - 1]]])  # no area; a corner at NaN
    cleaned, triangles = _surface.clean_surface((soup, loose), 10**6)
    mesh = trimesh.Trimesh(cleaned, triangles, process=False)
    assert mesh.is_watertight and len(triangles) == len(faces)
    assert mesh.volume > 0


def test_open_parts_that_cannot_collapse_are_removed_from_the_smallest():
    rng = np.random.default_rng(0)
    strips = []
    for size in (40, 30, 20, *[8] * 60):  # open strips of crossing triangles, a border all round
        steps = rng.uniform(0.5, 1, (size + 2, 3)).cumsum(0) * [1, 0, 0] + rng.uniform(-1, 1, (size + 2, 3))
        strips.append((steps + rng.uniform(-50, 50, 3), np.arange(size)[:, None] + [0, 1, 2]))
    vertices, faces = _surface.clean_surface(joined(*strips), 60)
    assert 0 < len(faces) <= 60 and len(vertices) == len(np.unique(faces))


def test_a_surface_without_faces_is_an_error():
    with pytest.raises(ValueError, match="no faces"):
        _surface.clean_surface((np.zeros((3, 3)), np.array([[0, 1, 2]])), 100)


def test_canonical_pose_of_a_z_up_figure(shapes):
    for axes in (_surface.Y_UP, _surface.Z_UP):
        assert torch.allclose(axes @ axes.T, torch.eye(3)) and torch.linalg.det(axes) > 0
    vertices, faces = shapes.figure()  # y up, facing +z
    owners = vertices @ _surface.Z_UP.numpy()  # the inverse rotation: z up, facing -y
    assert owners[:, 2].max() == vertices[:, 1].max() and owners[:, 1].min() == -vertices[:, 2].max()
    colour = torch.tensor([0.2, 0.4, 0.6])
    mesh = _surface.colored(_surface.to_canonical((owners, faces), _surface.Z_UP), colour)
    shapes.assert_upright(mesh)
    assert torch.equal(mesh.colors, colour.expand(len(vertices), 3))


def test_textured_mesh_is_welded_along_seams_with_v_flipped():
    # Two triangles that share an edge in space but not in the texture.
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    uvs = np.array([[0.1, 0.9], [0.2, 0.9], [0.1, 0.8], [0.9, 0.1], [0.8, 0.1], [0.9, 0.2]])
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20, :20] = (255, 0, 0)  # top left in the picture: u small, v large for trimesh
    image[20:, 20:] = (0, 0, 255)
    mesh = _surface.textured(vertices, faces, uvs, image, size=20)
    assert mesh.texture.shape == (20, 20, 3) and len(mesh.vertices) == 4 and len(mesh.uvs) == 6
    color_at = {tuple(position): colour for position, colour in zip(mesh.vertices.tolist(), mesh.colors, strict=True)}
    assert torch.allclose(color_at[(0.0, 0.0, 0.0)], torch.tensor([1.0, 0, 0]))
    assert torch.allclose(color_at[(1.0, 1.0, 0.0)], torch.tensor([0, 0, 1.0]))
    assert torch.allclose(color_at[(1.0, 0.0, 0.0)], torch.tensor([0.5, 0, 0.5]))
