"""Comparison pictures of a truth and a result: the same views of both, shaded and coloured by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from evaluation.surface_points import nearest_neighbours, positions, sample_positions
from v2m4.camera import DEFAULT_FOV, Camera, Orbit, framing
from v2m4.ground_truth import GroundTruth
from v2m4.light import shade
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

OTHER_YAWS = (
    90.0,
    180.0,
    270.0,
)  # degrees of yaw from the input's camera, to the other views that pictures are compared in
SIDES = {"front": (0.0, 0.0), "left": (90.0, 0.0), "back": (180.0, 0.0), "top": (0.0, 89.0)}  # yaw, pitch in degrees
PICTURE_FILL = 0.86  # fraction of a picture's side that the motion spans
SUPERSAMPLING = 2
SURFACE_POINTS = 50_000
MAX_DISTANCE = 0.1  # end of the colour scale, relative to the truth's size
COLOUR_SCALE = np.array(  # sRGB at even steps from distance 0 to FAR
    [[0.13, 0.33, 0.72], [0.38, 0.71, 0.86], [0.97, 0.93, 0.62], [0.95, 0.53, 0.22], [0.68, 0.06, 0.15]]
)


def named_cameras(truth: GroundTruth) -> dict[str, Camera]:
    """The input's camera, and cameras in front, left, behind and above that contain the whole motion."""
    cameras = {"input view": truth.orbit().camera(float(truth.fov))}
    points = truth.positions()
    for name, (yaw, pitch) in SIDES.items():
        cameras[name] = Orbit.from_parameters(framing(points, yaw, pitch, PICTURE_FILL)[None]).camera(DEFAULT_FOV)
    return cameras


def cameras_around(truth: GroundTruth) -> Camera:
    """The input's camera rotated about its target by each of ``OTHER_YAWS``."""
    orbit = truth.orbit()
    parameters = [replace(orbit, yaw=orbit.yaw + math.radians(angle)).parameters() for angle in OTHER_YAWS]
    return Orbit.from_parameters(torch.cat(parameters)).camera(float(truth.fov))


def render_view(mesh: Mesh, camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Render a mesh with supersampling: colour on white (B, S, S, 3) and coverage (B, S, S), float32."""
    picture = render_mesh(mesh, camera, size * SUPERSAMPLING, channels=("color", "mask"), background=1.0)
    values = torch.cat([picture.color, picture.mask], -1).permute(0, 3, 1, 2)
    small = torch.nn.functional.avg_pool2d(values, SUPERSAMPLING).permute(0, 2, 3, 1).clamp(0, 1).numpy()
    return small[..., :3], small[..., 3]


def with_lighting(mesh: Mesh, orbit: Orbit) -> Mesh:
    """The mesh with its colours under the lighting of the pictures, as ``data_preparation_tools`` renders them.

    A result's texture comes from the pictures and includes their lighting, so it is compared with a lit truth.

    Args:
        mesh: with vertex colours.
        orbit: the camera of the pictures.
    """
    colors = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    return replace(mesh, colors=shade(colors, mesh.normals(), torch.ones(len(colors), 1), orbit).to(colors))


def distance_colours(distances: np.ndarray) -> np.ndarray:
    """Colours (V, 3) sRGB of distances (V,) relative to the truth's size."""
    position = np.clip(distances / MAX_DISTANCE, 0, 1) * (len(COLOUR_SCALE) - 1)
    steps = np.arange(len(COLOUR_SCALE))
    return np.stack([np.interp(position, steps, COLOUR_SCALE[:, channel]) for channel in range(3)], 1)


def coloured_by_distance(mesh: Mesh, other: Mesh, size: float, rng: np.random.Generator) -> Mesh:
    """The mesh with every vertex coloured by its distance to the other's surface.

    Args:
        mesh: the mesh to colour.
        other: a mesh in the same space.
        size: of the truth; distances are relative to it.
        rng: of the samples of the other's surface.
    """
    surface = np.concatenate([sample_positions(other, SURFACE_POINTS, rng), positions(other)])
    distances, _ = nearest_neighbours(positions(mesh), surface)
    colours = torch.from_numpy(distance_colours(distances / size)).to(mesh.vertices)
    return Mesh(mesh.vertices, mesh.faces, colors=colours)


def with_headlight(mesh: Mesh, camera: Camera) -> Mesh:
    """The mesh with vertex colours shaded by a light at the camera, so that its shape is visible."""
    towards = torch.nn.functional.normalize(camera.positions()[0] - mesh.vertices, dim=-1)
    cosine = (mesh.normals() * towards).sum(-1, keepdim=True).clamp_min(0)
    base = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    return replace(mesh, colors=base * (0.55 + 0.45 * cosine))


def side_by_side(
    truth: Mesh, result: Mesh, size: float, cameras: Mapping[str, Camera], pixels: int
) -> dict[str, np.ndarray]:
    """Truth, result, truth coloured by distance to the result and the reverse, from every camera.

    Args:
        truth: one frame.
        result: the same frame, aligned with the truth.
        size: of the truth.
        cameras: one camera each, by name.
        pixels: side of each picture.

    Returns:
        (S, 4 S, 3) uint8 by name.
    """
    rng = np.random.default_rng(0)
    by_distance = [coloured_by_distance(*pair, size, rng) for pair in ((truth, result), (result, truth))]
    strips = {}
    for name, camera in cameras.items():
        meshes = [truth, result, *(with_headlight(mesh, camera) for mesh in by_distance)]
        strips[name] = strip([render_view(mesh, camera, pixels)[0][0] for mesh in meshes])
    return strips


def mask_difference(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Picture (H, W, 3) of two masks (H, W) bool: both grey, the truth alone blue, the result alone red."""
    picture = np.ones((*truth.shape, 3), np.float32)
    picture[truth & result] = 0.78
    picture[truth & ~result] = COLOUR_SCALE[0]
    picture[result & ~truth] = COLOUR_SCALE[-1]
    return picture


def strip(pictures: Sequence[np.ndarray], pixels: int | None = None) -> np.ndarray:
    """Pictures (H, W, 3) in [0, 1] side by side as uint8, resized to squares of ``pixels`` unless that is None."""
    if pixels is not None:
        pictures = [cv2.resize(picture, (pixels, pixels), interpolation=cv2.INTER_AREA) for picture in pictures]
    return (np.concatenate(list(pictures), 1).clip(0, 1) * 255).round().astype(np.uint8)


def transformed(mesh: Mesh, matrix: np.ndarray) -> Mesh:
    """The mesh under a (4, 4) similarity."""
    return mesh.transformed(torch.from_numpy(matrix).to(mesh.vertices))


def evenly_spaced_frames(count: int, shown: int) -> list[int]:
    """At most ``shown`` of ``count`` frames, evenly spaced from the first; of a loop the end is left out."""
    return sorted({index * count // shown for index in range(shown)})
