from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from v2m4.decimate import collapse_edges, sample_texture, simplified, vertex_colors
from v2m4.geometry import chamfer, sample_surface
from v2m4.mesh import Mesh

ROOT = Path(__file__).resolve().parents[2]


def test_texels_are_returned_at_their_centres():
    texture = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    uvs = torch.stack([(columns.reshape(-1) + 0.5) / 6, (rows.reshape(-1) + 0.5) / 4], 1)
    torch.testing.assert_close(sample_texture(texture, uvs), texture.reshape(-1, 3))


def test_between_texels_it_is_linear_and_wraps_around():
    texture = torch.tensor([[[0.0], [1.0], [3.0], [5.0]]])
    at = torch.tensor([[0.25, 0.5], [0.5, 0.5], [0.0, 0.5], [1.25, 0.5]])
    torch.testing.assert_close(sample_texture(texture, at)[:, 0], torch.tensor([0.5, 2.0, 2.5, 0.5]))


def test_vertex_colours_of_a_linear_texture_at_seams_and_without():
    ramp = (torch.arange(64) + 0.5) / 64
    texture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)], -1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.tensor([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]])
    vertices = torch.cat([uvs, torch.zeros(4, 1)], 1)
    plain = Mesh(vertices, faces, uvs=uvs, texture=texture)
    torch.testing.assert_close(vertex_colors(plain)[:, :2], uvs, atol=1e-5, rtol=0)
    apart = Mesh(vertices, faces, uvs=uvs[faces.reshape(-1)], uv_faces=torch.arange(6).reshape(2, 3), texture=texture)
    torch.testing.assert_close(vertex_colors(apart), vertex_colors(plain), atol=1e-5, rtol=0)


def test_a_mesh_without_colours_is_an_error():
    with pytest.raises(ValueError, match="neither vertex colours nor a texture"):
        vertex_colors(Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])))


def test_simplified_keeps_shape_and_colours():
    sphere = trimesh.creation.icosphere(4)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    mesh = Mesh(vertices, torch.tensor(sphere.faces), colors=vertices * 0.5 + 0.5)
    small = simplified(mesh, 500)
    assert len(small.faces) <= 500
    draw = torch.Generator().manual_seed(0)
    points = [sample_surface(m.vertices, m.faces, 2000, draw)[0] for m in (mesh, small)]
    assert float(chamfer(*points, squared=False)) < 0.1
    assert (small.colors - (small.vertices * 0.5 + 0.5)).abs().max() < 0.12


def test_simplified_joins_seams_and_drops_empty_faces():
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 3, 1]])
    joined = simplified(Mesh(square, faces, colors=torch.ones(6, 3)), 100)
    assert len(joined.vertices) == 4
    assert len(joined.faces) == 2
    torch.testing.assert_close(joined.colors, torch.ones(4, 3))


def test_simplified_keeps_the_confidence_in_the_colours():
    sphere = trimesh.creation.icosphere(4)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    known = (vertices[:, 2] > 0).float()
    mesh = Mesh(vertices, torch.tensor(sphere.faces), colors=torch.ones_like(vertices), color_confidence=known)
    small = simplified(mesh, 500)
    assert small.color_confidence is not None
    assert small.color_confidence[small.vertices[:, 2] > 0.2].min() == 1
    assert small.color_confidence[small.vertices[:, 2] < -0.2].max() == 0


def test_several_threads_decimate_each_its_own_mesh():
    """The library keeps its mesh in global variables: without a lock threads return each other's."""
    meshes = []
    for radii in ((1.0, 1.0, 1.0), (2.0, 1.0, 0.5), (0.3, 1.0, 3.0)):
        ball = trimesh.creation.icosphere(5)
        meshes.append((ball.vertices * np.array(radii), ball.faces))
    alone = [collapse_edges(*mesh, 3000) for mesh in meshes]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda mesh: collapse_edges(*mesh, 3000), 6 * meshes))
    for (points, faces), (expected_points, expected_faces) in zip(together, 6 * alone, strict=True):
        assert np.array_equal(points, expected_points) and np.array_equal(faces, expected_faces)


def test_the_library_is_called_behind_its_lock_alone():
    packages = ("v2m4", "generators", "camera_search", "registration", "texture", "motion324", "evaluation")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    users = [path for path in sources if "import fast_simplification" in path.read_text("utf-8")]
    assert users == [ROOT / "v2m4" / "decimate.py"]
