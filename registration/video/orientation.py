"""Orientation of the visible faces of a user mesh towards the camera.

Samples, lighting and shading are taken from surface whose normal faces the camera. A closed surface that is oriented
outwards shows no other; an open one (a leaf, a flag) may be seen from behind, and files are often oriented inwards or
without any order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from registration.correspondences.appearance_model import AppearanceModel
from v2m4.frame import Frame
from v2m4.geometry import connected_components
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh


def facing_camera(mesh: Mesh, frame: Frame, size: int) -> Mesh:
    """The mesh with those patches reversed of which the camera sees more of the back than of the front.

    A patch is a set of faces that are connected by edges across which their orientation agrees.

    Args:
        mesh: in the video camera's space, with a texture or vertex colours.
        frame: the picture.
        size: side of the rendering, pixels.

    Returns:
        The mesh itself where no patch is seen from behind.
    """
    view = ImageWindow.of(frame, frame.camera(), size, [mesh.vertices])
    face = AppearanceModel(mesh).render(mesh.vertices, view).rast[..., 3].astype(np.int64).reshape(-1) - 1
    visible = np.bincount(face[face >= 0], minlength=len(mesh.faces))
    faces = mesh.faces.cpu().numpy()
    corners = mesh.vertices.cpu().double().numpy()[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = np.sign((normals * corners[:, 0]).sum(1))  # the camera is at the origin
    patch = oriented_patches(faces)
    backwards = torch.from_numpy((np.bincount(patch, visible * away) > 0)[patch])
    if not bool(backwards.any()):
        return mesh

    def reversed_corners(rows: torch.Tensor) -> torch.Tensor:
        return torch.where(backwards[:, None], rows.flip(1), rows)

    corner_uvs = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
    uv_faces = None if mesh.uvs is None else reversed_corners(corner_uvs)
    return replace(mesh, faces=reversed_corners(mesh.faces), uv_faces=uv_faces)


def oriented_patches(faces: np.ndarray) -> np.ndarray:
    """Label (F,) of the patch of each face (F, 3); faces that traverse a shared edge in opposite senses share one."""
    starts, ends = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)
    count = int(faces.max()) + 1
    owner = np.repeat(np.arange(len(faces)), 3)
    forward = starts < ends
    keys = np.minimum(starts, ends) * count + np.maximum(starts, ends)
    _, edge, uses = np.unique(keys, return_inverse=True, return_counts=True)
    edge = edge.reshape(-1)
    matched = (uses == 2) & (np.bincount(edge, forward) == 1)
    sides = np.flatnonzero(matched[edge])
    pairs = owner[sides[np.argsort(edge[sides], kind="stable")].reshape(-1, 2)]
    return connected_components(pairs, len(faces))
