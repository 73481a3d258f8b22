"""Inflate: a closed, round, textured mesh by inflation of one frame's silhouette. Needs no weights."""

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

from generators._height import height_field
from generators._lean import depth_shear
from generators._remesh import remesh
from generators._sheet import lift
from generators._silhouette import SilhouetteLevelSet, extrapolate_colors, read_silhouette, triangulate
from generators.base import GenerationError, register
from generators.ground import estimate_lean
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.config import Config
from v2m4.decimate import sample_texture
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh

log = logging.getLogger(__name__)

THIN_EDGE_RATIO = 0.7  # longest edge of a thin part over its radius
MIN_DEPTH_FACTOR = 0.5  # least depth of a part over the object's distance; its inverse bounds the largest
FACE_AREA = 0.41  # area of a face over its squared edge length; sqrt(3) / 4 for equilateral triangles


@register("Inflate")
class Inflate:
    """Weight-free generator by inflation of the silhouette."""

    name = "Inflate"
    concurrent = True

    def __init__(self, config: Config) -> None:
        self.max_faces = config.max_faces
        self.grid = config.generation.grid
        self.texture_size = config.generation.texture_size
        self.lean = 0.0

    def of_clip(self, frames: Sequence[Frame]) -> Inflate:
        """Generator with the lean of the object estimated from its feet over the clip; see ``ClipGenerator``."""
        informed = copy(self)
        informed.lean = estimate_lean(frames)
        if informed.lean != 0:
            log.info("the object recedes to the right by %.0f degrees", math.degrees(math.atan(informed.lean)))
        return informed

    def generate(self, frame: Frame) -> Asset:
        """Asset of a frame; see ``Generator``.

        Raises:
            GenerationError: the frame has almost no foreground, or its outline needs too many faces.
        """
        try:
            silhouette = read_silhouette(frame.rgba[..., 3], self.grid)
            inflated = inflate(silhouette, self.max_faces, self.lean)
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error
        pixels = silhouette.origin + silhouette.cell * inflated.vertices[:, :2]
        part_centers = pixels + silhouette.cell * inflated.part_centers
        points = unproject(
            pixels,
            silhouette.cell * inflated.vertices[:, 2],
            part_centers,
            silhouette.cell * inflated.radii,
            frame.rgba.shape[:2],
            frame.fov,
        )
        points = points * depth_factors(silhouette.cell * inflated.shift, frame.rgba.shape[0], frame.fov)[:, None]
        mesh, hint = to_canonical(points, inflated.faces)
        mesh = replace(mesh, color_confidence=near_side(mesh.faces).float())
        return Asset(project_frame(mesh, frame.rgba, pixels, self.texture_size), hint)


@dataclass(frozen=True)
class InflatedMesh:
    """Closed mesh over a silhouette in lattice cells, under orthographic projection.

    Attributes:
        vertices: (V, 3) as (x, y, height towards the camera), y down.
        faces: (F, 3), anti-clockwise from outside.
        radii: (V,) of the part that a vertex belongs to.
        part_centers: (V, 2) offset of that part's centre from the vertex.
        shift: (V,) displacement of that part towards the camera, by the lean.
    """

    vertices: np.ndarray
    faces: np.ndarray
    radii: np.ndarray
    part_centers: np.ndarray
    shift: np.ndarray


def inflate(silhouette: SilhouetteLevelSet, max_faces: int, tangent: float = 0.0) -> InflatedMesh:
    """Closed mesh of at most ``max_faces`` faces over the silhouette.

    Args:
        silhouette: of the object.
        max_faces: as in ``--max_faces``.
        tangent: lean of the object, increase of depth per distance to the right.

    Raises:
        ValueError: the silhouette's parts and holes need more faces.
    """
    points, faces, border = triangulate(silhouette.level)
    shape = height_field(silhouette.level, math.hypot(1, tangent))
    shear = depth_shear(silhouette.level, tangent)
    factor = shape.factor * shear.gain**2
    front = lift(points, border, silhouette.level, factor)
    size = edge_lengths(front, faces, shape.thickness, max_faces // 2)
    front, faces, border = remesh(front, faces, border, silhouette.level, factor, size, max_faces // 2)
    vertices, faces = join_sheets(front, faces, border)

    def at_vertices(grid: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(grid, vertices[:, 1::-1].T, order=1, mode="nearest")

    part_centers = np.stack([at_vertices(shape.center_offset[..., axis]) for axis in (0, 1)], 1)
    return InflatedMesh(vertices, faces, at_vertices(shape.radius), part_centers, at_vertices(shear.shift))


def edge_lengths(front: np.ndarray, faces: np.ndarray, thickness: np.ndarray, face_count: int) -> np.ndarray:
    """Edge lengths (h, w) for about ``face_count`` faces of a sheet: uniform, but shorter where the object is thin.

    Args:
        front: (V, 3) dense sheet.
        faces: (F, 3).
        thickness: (h, w) in cells.
        face_count: number of faces.
    """
    corners = front[faces]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    columns, rows = np.rint(corners.mean(1)[:, :2]).astype(np.int64).T
    # On and outside the border, the thickness is that of the nearest node inside.
    nearest = ndimage.distance_transform_edt(thickness <= 0, return_distances=False, return_indices=True)
    thickness = ndimage.gaussian_filter(thickness[tuple(nearest)], 2.0)
    finest, coarsest = 0.1, 0.5 * max(thickness.shape)
    for _ in range(40):
        length = math.sqrt(finest * coarsest)
        size = np.minimum(length, np.maximum(THIN_EDGE_RATIO * thickness, 0.3 * length))
        if (areas / (FACE_AREA * size[rows, columns] ** 2)).sum() > face_count:
            finest = length
        else:
            coarsest = length
    return size


def join_sheets(front: np.ndarray, faces: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closed mesh of the front sheet and its mirror image, joined along the border.

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


def near_side(faces: torch.Tensor) -> torch.Tensor:
    """Vertices (V,) bool of the near side, its border included, of a mesh by ``join_sheets`` with faces (2 F, 3)."""
    near = torch.zeros(int(faces.max()) + 1, dtype=torch.bool)
    near[faces[: len(faces) // 2].reshape(-1)] = True
    return near


def unproject(
    pixels: np.ndarray,
    height: np.ndarray,
    part_centers: np.ndarray,
    radii: np.ndarray,
    size: tuple[int, int],
    fov: float = DEFAULT_FOV,
) -> np.ndarray:
    """Points in camera space (y up, camera looking along -z) on the rays of their pixels, corrected for perspective.

    In perspective the silhouette of a ball is that of a smaller disc, nearer than its centre and facing the camera. A
    ray along r intersects a ball about c at depths around (c.r) / |r|^2. With c on the plane z = D, a the angle of the
    ball's radius and b that of the ray from c, half the depth between the intersections is
    D (sin^2 a - sin^2 b)^(1/2) cos b, where the disc of the silhouette has D (tan^2 a - tan^2 b)^(1/2).

    Args:
        pixels: (V, 2) in the image, (x, y).
        height: (V,) half the object's thickness towards the camera, in pixels at the object's distance D.
        part_centers: (V, 2) pixel of the centre of the part that a vertex belongs to.
        radii: (V,) of that part, pixels.
        size: (H, W) of the image.
        fov: vertical field of view, radians.

    Returns:
        (V, 3), in units of a pixel at the object's distance, camera at the origin.
    """
    focal = 0.5 * size[0] / math.tan(fov / 2)
    ray, centre = ((where - [size[1] / 2, size[0] / 2]) / focal for where in (pixels, part_centers))
    depth = focal * (1 + (ray * centre).sum(1)) / (1 + (ray**2).sum(1))
    cosine_rim = 1 / np.sqrt(1 + (radii / focal) ** 2)
    depth = depth - height * cosine_rim / (1 + ((ray - centre) ** 2).sum(1))
    return np.stack([ray[:, 0] * depth, -ray[:, 1] * depth, -depth], 1)


def depth_factors(shift: np.ndarray, height: int, fov: float = DEFAULT_FOV) -> np.ndarray:
    """Factors (V,) on the depth of parts for their displacement by the lean.

    Scaled along its rays, a part keeps its position in the image and grows with its depth. On a plane, the inverse
    depth is linear in the image.

    Args:
        shift: (V,) displacement towards the camera under orthographic projection, pixels.
        height: of the image, pixels.
        fov: vertical field of view, radians.
    """
    focal = 0.5 * height / math.tan(fov / 2)
    return 1 / np.clip(1 + shift / focal, MIN_DEPTH_FACTOR, 1 / MIN_DEPTH_FACTOR)


def to_canonical(points: np.ndarray, faces: np.ndarray) -> tuple[Mesh, Orbit]:
    """Mesh centred and scaled to the cube [-0.5, 0.5]^3, and the camera that keeps its image.

    Args:
        points: (V, 3) in camera space (y up, camera at the origin, viewing direction -z).
        faces: (F, 3).
    """
    lower, upper = points.min(0), points.max(0)
    scale, centre = 1 / (upper - lower).max(), (lower + upper) / 2
    camera = -scale * centre  # position of the camera
    vertices = torch.from_numpy((scale * (points - centre)).astype(np.float32))
    hint = Orbit.of(radius=float(camera[2]), look_at=(float(camera[0]), float(camera[1]), 0.0))
    return Mesh(vertices, torch.from_numpy(faces.astype(np.int64))), hint


def project_frame(mesh: Mesh, rgba: np.ndarray, pixels: np.ndarray, size: int) -> Mesh:
    """Mesh with the frame as its texture, projected onto front and back: the back shows it mirrored.

    Args:
        mesh: with V vertices.
        rgba: (H, W, 4) uint8.
        pixels: (V, 2) projections of the vertices.
        size: longer side of the texture at most.
    """
    low, high = np.floor(pixels.min(0)).astype(int) - 4, np.ceil(pixels.max(0)).astype(int) + 4
    padded = np.pad(rgba, ((8, 8), (8, 8), (0, 0)))
    texture = extrapolate_colors(np.ascontiguousarray(padded[low[1] + 8 : high[1] + 8, low[0] + 8 : high[0] + 8]))
    shrink = size / max(texture.shape[:2])
    if shrink < 1:
        shape = (max(1, round(texture.shape[1] * shrink)), max(1, round(texture.shape[0] * shrink)))
        texture = cv2.resize(texture, shape, interpolation=cv2.INTER_AREA)
    uvs = torch.from_numpy(((pixels - low) / (high - low)).astype(np.float32))
    image = torch.from_numpy(np.ascontiguousarray(texture)).clamp(0, 1)
    return replace(mesh, uvs=uvs, texture=image, colors=sample_texture(image, uvs))
