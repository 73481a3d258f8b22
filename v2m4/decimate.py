"""Mesh decimation by quadric error metrics that keeps vertex colours, and sampling of textures."""

from __future__ import annotations

import threading
from dataclasses import replace

import fast_simplification
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.mesh import Mesh

# fast_simplification keeps the mesh in global variables between its calls, and each call lets other threads run.
_library = threading.Lock()


def collapse_edges(points: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Decimate a triangle mesh to about ``count`` faces by quadric error metrics; safe for several threads.

    Source: Garland and Heckbert 1997, "Surface Simplification Using Quadric Error Metrics" (fast_simplification).

    Args:
        points: (V, 3).
        faces: (F, 3).
        count: target number of faces.

    Returns:
        points (V', 3) float32 and faces (F', 3) int32.
    """
    with _library:
        return fast_simplification.simplify(points.astype(np.float32), faces.astype(np.int32), target_count=count)


def sample_texture(texture: Tensor, uvs: Tensor) -> Tensor:
    """Bilinear texture lookup with wrapping coordinates (glTF's default sampler).

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
    """Vertex colours (V, 3): the mesh's own, else sampled from its texture, averaged over a vertex's corners at seams.

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
    """Decimate a mesh to about ``faces`` faces; its colours become vertex colours.

    A new vertex has the mean colour of the old vertices whose nearest new vertex it is, and the mean of the confidence
    in them.

    Args:
        mesh: with vertex colours or a texture.
        faces: target number of faces; a mesh that has no more is only welded.
        weld: first merge vertices of equal position; otherwise the surface tears along split texture seams. Not needed
            for a welded mesh, whose parts then stay separate where they touch.
    """
    values = vertex_colors(mesh)
    if mesh.color_confidence is not None:
        values = torch.cat([values, mesh.color_confidence[:, None]], 1)
    attributes = values.detach().cpu().numpy()
    points = mesh.vertices.detach().cpu().numpy()
    welded, triangles = points, mesh.faces.cpu().numpy()
    if weld:
        welded, index = np.unique(points, axis=0, return_inverse=True)
        triangles = index.reshape(-1)[triangles]
    whole = (np.diff(np.sort(triangles, 1), axis=1) > 0).all(1)
    triangles = triangles[whole]
    if len(triangles) > faces:
        welded, triangles = collapse_edges(welded, triangles, faces)
    nearest = cKDTree(welded).query(points)[1]
    total = np.zeros((len(welded), attributes.shape[1]))
    np.add.at(total, nearest, attributes)
    count = np.bincount(nearest, minlength=len(welded))[:, None]
    empty = count[:, 0] == 0
    mean = total / np.maximum(count, 1)
    if empty.any():
        mean[empty] = attributes[cKDTree(points).query(welded[empty])[1]]
    means = torch.from_numpy(mean.astype(np.float32))
    return replace(
        mesh,
        vertices=torch.from_numpy(np.ascontiguousarray(welded, dtype=np.float32)),
        faces=torch.from_numpy(triangles.astype(np.int64)),
        uvs=None,
        uv_faces=None,
        texture=None,
        colors=means[:, :3].contiguous(),
        color_confidence=None if mesh.color_confidence is None else means[:, 3].contiguous(),
    ).to(mesh.vertices.device)
