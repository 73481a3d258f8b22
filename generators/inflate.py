"""Inflate: the silhouette of one frame lifted to a closed, round, two-sided, textured mesh. Needs no weights."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy import ndimage

from generators._height import relief
from generators._remesh import lift, remesh
from generators._silhouette import Silhouette, bleed, read_silhouette, triangulate
from generators.base import GenerationError, register
from v2m4.bake import sample_texture
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh

THIN = 0.7  # edges of a thin part, at most, in its radii
FACE_AREA = 0.41  # of a face in squared edge lengths; sqrt(3) / 4 if all were equilateral


@register("Inflate")
class Inflate:
    """The weight-free generator."""

    name = "Inflate"

    def __init__(self, config: Config) -> None:
        self.max_faces = config.max_faces
        self.grid = config.generation.grid
        self.texture_size = config.generation.texture_size

    def generate(self, frame: Frame) -> Asset:
        """See ``Generator``.

        Raises:
            GenerationError: the frame has next to no foreground.
        """
        try:
            silhouette = read_silhouette(frame.rgba[..., 3], self.grid)
            vertices, faces, rim = inflate(silhouette, self.max_faces)
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error
        pixels = silhouette.origin + silhouette.cell * vertices[:, :2]
        points = place(pixels, silhouette.cell * vertices[:, 2], silhouette.cell**2 * rim, frame.rgba.shape[:2])
        mesh, hint = canonical(points, faces)
        return Asset(paint(mesh, frame.rgba, pixels, self.texture_size), hint)


def inflate(silhouette: Silhouette, max_faces: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed mesh over the silhouette.

    Args:
        silhouette: in cells.
        max_faces: at most this many faces.

    Returns:
        vertices (V, 3) as (x, y, height towards the camera), in cells, y down; faces (F, 3), anti-clockwise seen
        from outside; and how far each vertex's rim of the object lies in front of its middle (V,), in squared cells.

    Raises:
        ValueError: the silhouette's parts and holes need more faces.
    """
    points, faces, border = triangulate(silhouette.level)
    shape = relief(silhouette.level)
    front = lift(points, border, silhouette.level, shape.factor)
    size = edge_lengths(front, faces, shape.thickness, max_faces // 2)
    front, faces, border = remesh(front, faces, border, silhouette.level, shape.factor, size, max_faces // 2)
    crest = ndimage.map_coordinates(shape.crest, front[:, 1::-1].T, order=1)
    back = (crest - front[:, 2] ** 2).clip(0)
    return *sew(front, faces, border), np.concatenate([back, back[~border]])


def edge_lengths(front: np.ndarray, faces: np.ndarray, thickness: np.ndarray, wanted: int) -> np.ndarray:
    """Edge lengths (h, w) that make about ``wanted`` faces of a sheet: even, but finer where the object is thin.

    Args:
        front: (V, 3) dense sheet.
        faces: (F, 3).
        thickness: (h, w) in cells.
        wanted: number of faces.
    """
    corners = front[faces]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    columns, rows = np.rint(corners.mean(1)[:, :2]).astype(np.int64).T
    # Outside, and on the rim, the thickness is that of the nearest node inside.
    nearest = ndimage.distance_transform_edt(thickness <= 0, return_distances=False, return_indices=True)
    thickness = ndimage.gaussian_filter(thickness[tuple(nearest)], 2.0)
    finest, coarsest = 0.1, 0.5 * max(thickness.shape)
    for _ in range(40):
        length = math.sqrt(finest * coarsest)
        size = np.minimum(length, np.maximum(THIN * thickness, 0.3 * length))
        if (areas / (FACE_AREA * size[rows, columns] ** 2)).sum() > wanted:
            finest = length
        else:
            coarsest = length
    return size


def sew(front: np.ndarray, faces: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The front sheet and its mirror image behind it, one mesh along the border.

    Args:
        front: (V, 3), height 0 on the border.
        faces: (F, 3).
        border: (V,) bool.

    Returns:
        vertices (2 V - borders, 3), faces (2 F, 3).
    """
    back = np.arange(len(front))
    back[~border] = len(front) + np.arange(int((~border).sum()))
    vertices = np.concatenate([front, front[~border] * [1, 1, -1]])
    return vertices, np.concatenate([faces, back[faces][:, ::-1]])


def place(pixels: np.ndarray, height: np.ndarray, rim: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points along the rays of their pixels, in camera space turned y up and towards the viewer.

    A ray enters and leaves a ball of radius r about a point at depth D at depths with product D^2 - r^2, so the middle
    of the two lies at (D^2 - r^2 + height^2)^(1/2): the rim that one sees of a ball is in front of its centre.

    Args:
        pixels: (V, 2) in the picture, (x, y).
        height: (V,) towards the camera, in pixels at the object's distance.
        rim: (V,) r^2 - height^2 >= 0, in squared pixels at the object's distance.
        size: (H, W) of the picture.

    Returns:
        (V, 3), a pixel at the object's distance being the unit; the camera is at the origin and looks along -z.
    """
    focal = 0.5 * size[0] / math.tan(DEFAULT_FOV / 2)
    depth = np.sqrt((focal**2 - rim).clip((0.5 * focal) ** 2)) - height
    ray = (pixels - [size[1] / 2, size[0] / 2]) / focal
    return np.stack([ray[:, 0] * depth, -ray[:, 1] * depth, -depth], 1)


def canonical(points: np.ndarray, faces: np.ndarray) -> tuple[Mesh, Orbit]:
    """Centre and scale to the cube [-0.5, 0.5]^3, and the camera that sees the points where they were.

    Args:
        points: (V, 3), camera at the origin, looking along -z.
        faces: (F, 3).
    """
    lower, upper = points.min(0), points.max(0)
    scale, centre = 1 / (upper - lower).max(), (lower + upper) / 2
    camera = -scale * centre  # where the camera comes to stand
    vertices = torch.from_numpy((scale * (points - centre)).astype(np.float32))
    hint = Orbit.of(radius=float(camera[2]), look_at=(float(camera[0]), float(camera[1]), 0.0))
    return Mesh(vertices, torch.from_numpy(faces.astype(np.int64))), hint


def paint(mesh: Mesh, rgba: np.ndarray, pixels: np.ndarray, size: int) -> Mesh:
    """Project the frame onto front and back.

    Args:
        mesh: any.
        rgba: (H, W, 4) uint8.
        pixels: (V, 2), where each vertex is seen.
        size: longer side of the texture at most.
    """
    low, high = np.floor(pixels.min(0)).astype(int) - 4, np.ceil(pixels.max(0)).astype(int) + 4
    wide = np.pad(rgba, ((8, 8), (8, 8), (0, 0)))
    texture = bleed(np.ascontiguousarray(wide[low[1] + 8 : high[1] + 8, low[0] + 8 : high[0] + 8]))
    shrink = size / max(texture.shape[:2])
    if shrink < 1:
        shape = (max(1, round(texture.shape[1] * shrink)), max(1, round(texture.shape[0] * shrink)))
        texture = cv2.resize(texture, shape, interpolation=cv2.INTER_AREA)
    uvs = torch.from_numpy(((pixels - low) / (high - low)).astype(np.float32))
    image = torch.from_numpy(np.ascontiguousarray(texture)).clamp(0, 1)
    return replace(mesh, uvs=uvs, texture=image, colors=sample_texture(image, uvs))
