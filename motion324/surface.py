"""The network's points from a mesh: samples that encode its shape, and its vertices, which are moved."""

from __future__ import annotations

import torch
from torch import Tensor

from motion324.embedding import SurfacePoints
from v2m4.decimate import sample_texture, vertex_colors
from v2m4.geometry import sample_surface
from v2m4.mesh import Mesh

GREY = 0.5  # sRGB, of a mesh without colours


def sampled_points(mesh: Mesh, count: int, generator: torch.Generator | None = None) -> SurfacePoints:
    """Points sampled uniformly by area, with interpolated vertex normals and the texture's or vertices' colours.

    Args:
        mesh: in the cube [-0.5, 0.5]^3.
        count: number of points N.
        generator: CPU generator.

    Returns:
        a batch of one, (1, N, 3).

    Raises:
        ValueError: the mesh has no area.
    """
    points, faces, weights = sample_surface(mesh.vertices, mesh.faces, count, generator)

    def interpolated(values: Tensor, corners: Tensor) -> Tensor:
        return (values[corners[faces].long()] * weights[..., None]).sum(1)

    normals = torch.nn.functional.normalize(interpolated(mesh.normals(), mesh.faces), dim=-1)
    if mesh.texture is not None and mesh.uvs is not None:
        corners = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
        colors = sample_texture(mesh.texture, interpolated(mesh.uvs, corners))
    elif mesh.colors is not None:
        colors = interpolated(mesh.colors, mesh.faces)
    else:
        colors = torch.full_like(points, GREY)
    return SurfacePoints(points[None], normals[None], colors[None])


def vertex_points(mesh: Mesh) -> SurfacePoints:
    """The mesh's vertices with their normals and colours, a batch of one, (1, V, 3)."""
    colored = mesh.colors is not None or (mesh.texture is not None and mesh.uvs is not None)
    colors = vertex_colors(mesh) if colored else torch.full_like(mesh.vertices, GREY)
    return SurfacePoints(mesh.vertices[None], mesh.normals()[None], colors[None])
