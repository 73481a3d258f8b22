"""Post-processing of generated surfaces: cleaning, decimation, canonical pose, colours and textures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.decimate import collapse_edges, vertex_colors
from v2m4.geometry import connected_components
from v2m4.mesh import Mesh

MIN_PART_FACES = 0.005  # of the largest part's number of faces: smaller parts are removed; Hunyuan3D-2's value

Y_UP = torch.eye(3)  # rotation from y up, facing +z: the identity
Z_UP = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # rotation from z up, facing -y


Surface = tuple[np.ndarray, np.ndarray]  # vertices (V, 3), faces (F, 3)


def clean_surface(surface: Surface, max_faces: int) -> Surface:
    """Surface without duplicate vertices, degenerate faces and small parts, decimated and oriented outwards.

    Args:
        surface: of a network.
        max_faces: of the result, at most.

    Returns:
        vertices (V', 3) float32, every one used, and faces (F', 3) int64.

    Raises:
        ValueError: no face is left, or the mesh cannot be decimated so far.
    """
    vertices, faces = _weld(*surface)
    share = MIN_PART_FACES
    faces = _without_floaters(faces, len(vertices), share)
    target = max_faces
    while len(faces) > max_faces:
        before = len(faces)
        # Welded and cleaned again: edge collapses can leave degenerate faces and separate parts.
        vertices, faces = _weld(*collapse_edges(vertices, faces, target))
        if len(faces) >= 0.95 * before:  # open parts whose borders cannot be collapsed: remove the smaller ones
            if share > 1:
                raise ValueError(f"the mesh cannot be decimated to {max_faces} faces; it keeps {len(faces)}")
            share *= 4
        faces = _without_floaters(faces, len(vertices), share)
        target = max(4, int(0.9 * target))
    if len(faces) == 0:
        raise ValueError("the mesh has no faces")
    corners = vertices[faces].astype(np.float64) - vertices.mean(0)
    if np.linalg.det(corners).sum() < 0:
        faces = faces[:, ::-1]
    used, index = np.unique(faces, return_inverse=True)
    return np.ascontiguousarray(vertices[used]), np.ascontiguousarray(index.reshape(faces.shape))


def _weld(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    """Surface with equal vertices merged, and without faces of zero area or with non-finite corners."""
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    finite = np.isfinite(vertices).all(1)
    faces = faces[finite[faces].all(1)]
    positions, index = np.unique(np.where(finite[:, None], vertices, 0), axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces].reshape(-1, 3)
    corners = positions[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return positions, faces[area > 0]


def _without_floaters(faces: np.ndarray, count: int, share: float) -> np.ndarray:
    """The faces of parts that have at least this share of the largest part's faces, and of the largest itself."""
    if len(faces) == 0:
        return faces
    part = connected_components(faces, count)[faces[:, 0]]
    size = np.bincount(part)
    return faces[size[part] >= min(share, 1) * size.max()]


def canonical_transform(surface: Surface, axes: Tensor) -> Tensor:
    """Similarity (4, 4) from a surface to its canonical pose: y up, facing +z, in the cube [-0.5, 0.5]^3.

    Args:
        surface: in the owner's axes.
        axes: (3, 3) rotation from the owner's axes to the canonical ones.
    """
    rotation = torch.eye(4)
    rotation[:3, :3] = axes
    mesh = Mesh(torch.from_numpy(np.asarray(surface[0], np.float32)), torch.from_numpy(surface[1]))
    return mesh.transformed(rotation).normalizing() @ rotation


def transformed(surface: Surface, matrix: Tensor) -> Surface:
    """Surface transformed by a similarity (4, 4)."""
    vertices = torch.from_numpy(np.asarray(surface[0], np.float32)) @ matrix[:3, :3].T + matrix[:3, 3]
    return vertices.numpy(), surface[1]


def to_canonical(surface: Surface, axes: Tensor) -> Surface:
    """Surface in canonical pose; see ``canonical_transform``."""
    return transformed(surface, canonical_transform(surface, axes))


def colored(surface: Surface, colors: Tensor) -> Mesh:
    """Mesh with vertex colours (V, 3), or of one colour (3,)."""
    vertices, faces = surface
    return Mesh(torch.from_numpy(vertices), torch.from_numpy(faces), colors=colors.expand(len(vertices), 3).clone())


def textured(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, image: np.ndarray, size: int) -> Mesh:
    """Mesh with a texture, welded along its seams, with vertex colours sampled from the texture.

    Args:
        vertices: (V, 3), duplicated along seams.
        faces: (F, 3).
        uvs: (V, 2) in trimesh's convention: v = 0 at the image's bottom row.
        image: (H, W, 3 or 4) uint8.
        size: longer side of the texture at most.
    """
    texture = np.ascontiguousarray(image[..., :3]).astype(np.float32) / 255
    shrink = size / max(texture.shape[:2])
    if shrink < 1:
        shape = (max(1, round(texture.shape[1] * shrink)), max(1, round(texture.shape[0] * shrink)))
        texture = cv2.resize(texture, shape, interpolation=cv2.INTER_AREA)
    positions, index = np.unique(np.asarray(vertices, np.float32), axis=0, return_inverse=True)
    corners = np.asarray(faces, np.int64)
    welded = index.reshape(-1)[corners].reshape(-1, 3)
    valid = (np.diff(np.sort(welded, 1), axis=1) > 0).all(1)
    mesh = Mesh(
        vertices=torch.from_numpy(positions),
        faces=torch.from_numpy(welded[valid]),
        uvs=torch.from_numpy(np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)),
        uv_faces=torch.from_numpy(np.ascontiguousarray(corners[valid])),
        texture=torch.from_numpy(texture),
    )
    return replace(mesh, colors=vertex_colors(mesh).clamp(0, 1))
