"""Lit pictures of surface sequences under two soft lights and a sky: RGBA, supersampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.decimate import sample_texture
from v2m4.geometry import vertex_normals
from v2m4.light import shade
from v2m4.mesh import Mesh
from v2m4.render import antialias, interpolate, rasterize

SUPERSAMPLING = 3

# Colours of a surface: the rasteriser's output (1, H, W, 4) and its N covered pixels (1, H, W) bool -> sRGB colours
# (N, 3), ambient occlusion (N, 1; 1 is unoccluded).
Paint = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def render_frames(
    poses: Tensor, faces: Tensor, paint: Paint, orbit: Orbit, size: int, fov: float = DEFAULT_FOV
) -> Iterator[np.ndarray]:
    """Render every frame as (size, size, 4) uint8 with straight alpha.

    Args:
        poses: (T, V, 3).
        faces: (F, 3); vertices that faces share are shaded smoothly.
        paint: evaluated at every sample, not at the vertices.
        orbit: the camera, a batch of one.
        size: of the pictures, pixels.
        fov: vertical field of view, radians.
    """
    camera, large, faces = orbit.camera(fov), (size * SUPERSAMPLING,) * 2, faces.int()
    for vertices in tqdm(poses, desc="frames", leave=False):
        clip = camera.clip(vertices)
        triangles = rasterize(clip, faces, large)
        inside = triangles[..., 3] > 0
        normals = interpolate(vertex_normals(vertices, faces)[None], triangles, faces)[inside]
        colors, occlusion = paint(triangles, inside)
        picture = torch.zeros(1, *large, 4)
        picture[inside] = torch.cat([shade(colors, normals, occlusion, orbit), torch.ones(len(colors), 1)], 1)
        picture = antialias(picture, triangles, clip, faces)[0]
        picture = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 4).mean((1, 3))
        alpha = picture[..., 3:].clamp(0, 1)
        color = torch.where(alpha > 0.5 / 255, picture[..., :3] / alpha.clamp_min(1e-6), torch.zeros(3))
        yield (torch.cat([color, alpha], -1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def surface_paint(mesh: Mesh) -> Paint:
    """The colours of a textured, vertex-coloured or uniform (light grey) mesh, without ambient occlusion."""
    if mesh.texture is not None and mesh.uvs is not None:
        table, corners, texture = mesh.uvs, mesh.faces if mesh.uv_faces is None else mesh.uv_faces, mesh.texture
    else:
        grey = torch.full_like(mesh.vertices, 0.8)
        table, corners, texture = grey if mesh.colors is None else mesh.colors, mesh.faces, None

    def paint(triangles: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        values = interpolate(table[None], triangles, corners.int())[inside]
        colors = values if texture is None else sample_texture(texture, values)
        return colors, torch.ones_like(colors[:, :1])

    return paint
