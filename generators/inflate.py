"""Inflate: the silhouette of one frame lifted to a closed, round, two-sided, textured mesh. Needs no weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy import ndimage

from generators._ground import lean
from generators._height import relief
from generators._lean import lean_back
from generators._remesh import lift, remesh
from generators._silhouette import Silhouette, bleed, read_silhouette, triangulate
from generators.base import GenerationError, register
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.config import Config
from v2m4.decimate import sample_texture
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh

log = logging.getLogger(__name__)

THIN = 0.7  # edges of a thin part, at most, in its radii
NEAREST = 0.5  # times the object's distance: how near it may reach; as far, its inverse
FACE_AREA = 0.41  # of a face in squared edge lengths; sqrt(3) / 4 if all were equilateral


@register("Inflate")
class Inflate:
    """The weight-free generator."""

    name = "Inflate"
    concurrent = True

    def __init__(self, config: Config) -> None:
        self.max_faces = config.max_faces
        self.grid = config.generation.grid
        self.texture_size = config.generation.texture_size
        self.lean = 0.0

    def of_clip(self, frames: Sequence[Frame]) -> Inflate:
        """See ``ClipGenerator``: where the object stands on the ground tells whether it stretches into depth."""
        informed = copy(self)
        informed.lean = lean(frames)
        if informed.lean != 0:
            log.info("the object recedes to the right by %.0f degrees", math.degrees(math.atan(informed.lean)))
        return informed

    def generate(self, frame: Frame) -> Asset:
        """See ``Generator``.

        Raises:
            GenerationError: the frame has next to no foreground.
        """
        try:
            silhouette = read_silhouette(frame.rgba[..., 3], self.grid)
            solid = inflate(silhouette, self.max_faces, self.lean)
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error
        pixels = silhouette.origin + silhouette.cell * solid.vertices[:, :2]
        middles = pixels + silhouette.cell * solid.middles
        points = place(
            pixels,
            silhouette.cell * solid.vertices[:, 2],
            middles,
            silhouette.cell * solid.radii,
            frame.rgba.shape[:2],
        )
        points = points * recession(silhouette.cell * solid.shift, frame.rgba.shape[0])[:, None]
        mesh, hint = canonical(points, solid.faces)
        return Asset(paint(mesh, frame.rgba, pixels, self.texture_size), hint)


@dataclass(frozen=True)
class Solid:
    """A closed mesh over a silhouette, in cells, as if seen from far away.

    Attributes:
        vertices: (V, 3) as (x, y, height towards the camera), y down.
        faces: (F, 3), anti-clockwise seen from outside.
        radii: (V,) of the part that a vertex belongs to.
        middles: (V, 2) where that part's middle is, seen from the vertex.
        shift: (V,) how much nearer to the camera that part is than the object's middle.
    """

    vertices: np.ndarray
    faces: np.ndarray
    radii: np.ndarray
    middles: np.ndarray
    shift: np.ndarray


def inflate(silhouette: Silhouette, max_faces: int, tangent: float = 0.0) -> Solid:
    """A closed mesh of at most ``max_faces`` faces over the silhouette.

    Args:
        silhouette: what is seen.
        max_faces: as in ``--max_faces``.
        tangent: how fast the object recedes to the right.

    Raises:
        ValueError: the silhouette's parts and holes need more faces.
    """
    points, faces, border = triangulate(silhouette.level)
    shape = relief(silhouette.level, math.hypot(1, tangent))
    leaning = lean_back(silhouette.level, tangent)
    factor = shape.factor * leaning.gain**2
    front = lift(points, border, silhouette.level, factor)
    size = edge_lengths(front, faces, shape.thickness, max_faces // 2)
    front, faces, border = remesh(front, faces, border, silhouette.level, factor, size, max_faces // 2)
    vertices, faces = sew(front, faces, border)

    def at_vertices(grid: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(grid, vertices[:, 1::-1].T, order=1, mode="nearest")

    middles = np.stack([at_vertices(shape.middle[..., axis]) for axis in (0, 1)], 1)
    return Solid(vertices, faces, at_vertices(shape.radius), middles, at_vertices(leaning.shift))


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


def place(
    pixels: np.ndarray, height: np.ndarray, middles: np.ndarray, radii: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Points along the rays of their pixels, in camera space turned y up and towards the viewer.

    The silhouette of a ball seen from near is that of a smaller disc, nearer than the centre and facing the camera. A
    ray along r enters and leaves a ball about c at depths around (c.r) / |r|^2, and with c on the plane z = D and
    angles a of its rim and b of the ray from c, half the way is D (sin^2 a - sin^2 b)^(1/2) cos b in depth, where the
    disc of the silhouette has D (tan^2 a - tan^2 b)^(1/2).

    Args:
        pixels: (V, 2) in the picture, (x, y).
        height: (V,) half the way through the object, towards the camera, in pixels at the object's distance D.
        middles: (V, 2) the pixel of the middle of the part that a vertex belongs to.
        radii: (V,) of that part, in pixels.
        size: (H, W) of the picture.

    Returns:
        (V, 3), a pixel at the object's distance being the unit; the camera is at the origin and looks along -z.
    """
    focal = 0.5 * size[0] / math.tan(DEFAULT_FOV / 2)
    ray, centre = ((where - [size[1] / 2, size[0] / 2]) / focal for where in (pixels, middles))
    depth = focal * (1 + (ray * centre).sum(1)) / (1 + (ray**2).sum(1))
    cosine_rim = 1 / np.sqrt(1 + (radii / focal) ** 2)
    depth = depth - height * cosine_rim / (1 + ((ray - centre) ** 2).sum(1))
    return np.stack([ray[:, 0] * depth, -ray[:, 1] * depth, -depth], 1)


def recession(shift: np.ndarray, height: int) -> np.ndarray:
    """How many times farther than the object's distance parts are, (V,).

    Moved along its rays, a part keeps its place in the picture and grows with its distance. The inverse distance is
    what changes evenly across the picture of a plane.

    Args:
        shift: (V,) how much nearer parts would be in a picture from afar, in pixels.
        height: of the picture, pixels.
    """
    focal = 0.5 * height / math.tan(DEFAULT_FOV / 2)
    return 1 / np.clip(1 + shift / focal, NEAREST, 1 / NEAREST)


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
