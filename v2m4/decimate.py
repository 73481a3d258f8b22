"""Colours of a texture at a mesh's vertices, and meshes with fewer faces that keep them."""

from __future__ import annotations

from dataclasses import replace

import fast_simplification
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.mesh import Mesh


def sample_texture(texture: Tensor, uvs: Tensor) -> Tensor:
    """Bilinear lookup, wrapped around at the edges as glTF does unless told otherwise.

    Args:
        texture: (H, W, C), row 0 at v = 0.
        uvs: (N, 2).

    Returns:
        (N, C).
    """
    height, width = texture.shape[:2]
    size = torch.tensor([width, height], device=uvs.device, dtype=uvs.dtype)
    position = uvs * size - 0.5
    lower = position.floor()
    part = (position - lower).to(texture)
    column = torch.remainder(lower[:, 0].long()[:, None] + torch.tensor([0, 1], device=uvs.device), width)
    row = torch.remainder(lower[:, 1].long()[:, None] + torch.tensor([0, 1], device=uvs.device), height)
    top = torch.lerp(texture[row[:, 0], column[:, 0]], texture[row[:, 0], column[:, 1]], part[:, :1])
    bottom = torch.lerp(texture[row[:, 1], column[:, 0]], texture[row[:, 1], column[:, 1]], part[:, :1])
    return torch.lerp(top, bottom, part[:, 1:])


def vertex_colors(mesh: Mesh) -> Tensor:
    """Vertex colours (V, 3): the mesh's own, else its texture's, the mean over a vertex's corners at seams.

    Raises:
        ValueError: the mesh has neither colours nor a texture with uvs.
    """
    if mesh.colors is not None:
        return mesh.colors
    if mesh.texture is None or mesh.uvs is None:
        raise ValueError("vertex_colors: the mesh has neither vertex colours nor a texture with uvs")
    colors = sample_texture(mesh.texture, mesh.uvs)
    if mesh.uv_faces is None:
        return colors
    corners = mesh.faces.reshape(-1).long()
    total = torch.zeros_like(mesh.vertices).index_add(0, corners, colors[mesh.uv_faces.reshape(-1).long()])
    count = torch.zeros_like(mesh.vertices[:, :1]).index_add(0, corners, torch.ones_like(total[corners][:, :1]))
    return total / count.clamp_min(1)


def simplified(mesh: Mesh, faces: int, weld: bool = True) -> Mesh:
    """A mesh of at most about ``faces`` faces with vertex colours instead of a texture.

    Every old vertex gives its colour to the nearest new one, so that a new vertex has the mean colour of its
    surroundings.

    Args:
        mesh: with vertex colours or a texture.
        faces: number of faces to keep; a mesh that has no more is only welded.
        weld: make vertices at the same place one first, or the surface tears along texture seams that are split; a mesh
            that is welded already need not be, and its parts stay apart where they touch.
    """
    colors = vertex_colors(mesh).detach().cpu().numpy()
    points = mesh.vertices.detach().cpu().numpy()
    welded, triangles = points, mesh.faces.cpu().numpy()
    if weld:
        welded, index = np.unique(points, axis=0, return_inverse=True)
        triangles = index.reshape(-1)[triangles]
    whole = (np.diff(np.sort(triangles, 1), axis=1) > 0).all(1)
    triangles = triangles[whole]
    if len(triangles) > faces:
        welded, triangles = fast_simplification.simplify(
            welded.astype(np.float32), triangles.astype(np.int32), target_count=faces
        )
    nearest = cKDTree(welded).query(points)[1]
    total = np.zeros((len(welded), 3))
    np.add.at(total, nearest, colors)
    count = np.bincount(nearest, minlength=len(welded))[:, None]
    empty = count[:, 0] == 0
    mean = total / np.maximum(count, 1)
    if empty.any():
        mean[empty] = colors[cKDTree(points).query(welded[empty])[1]]
    return replace(
        mesh,
        vertices=torch.from_numpy(np.ascontiguousarray(welded, dtype=np.float32)),
        faces=torch.from_numpy(triangles.astype(np.int64)),
        uvs=None,
        uv_faces=None,
        texture=None,
        colors=torch.from_numpy(mean.astype(np.float32)),
    ).to(mesh.vertices.device)
