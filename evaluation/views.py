"""Pictures of a truth and a result beside each other: the same views of both, plain and coloured by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from evaluation.surface_points import nearest, positions, sample
from v2m4.camera import DEFAULT_FOV, Camera, Orbit, framing
from v2m4.ground_truth import GroundTruth
from v2m4.light import shade
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

AROUND = (
    90.0,
    180.0,
    270.0,
)  # degrees of yaw from the input's camera, to the other views that pictures are compared in
SIDES = {"front": (0.0, 0.0), "left": (90.0, 0.0), "back": (180.0, 0.0), "top": (0.0, 89.0)}  # yaw, pitch in degrees
SHARE = 0.86  # of a picture's side that the motion spans
SUPERSAMPLING = 2
SURFACE_POINTS = 50_000
FAR = 0.1  # of the truth's size: the end of the colour scale
SCALE = np.array(  # sRGB at even steps from distance 0 to FAR
    [[0.13, 0.33, 0.72], [0.38, 0.71, 0.86], [0.97, 0.93, 0.62], [0.95, 0.53, 0.22], [0.68, 0.06, 0.15]]
)


def named_cameras(truth: GroundTruth) -> dict[str, Camera]:
    """The input's camera, and cameras at the object's front, left, back and top that see the whole motion."""
    cameras = {"input view": truth.orbit().camera(float(truth.fov))}
    points = truth.positions()
    for name, (yaw, pitch) in SIDES.items():
        cameras[name] = Orbit.from_parameters(framing(points, yaw, pitch, SHARE)[None]).camera(DEFAULT_FOV)
    return cameras


def cameras_around(truth: GroundTruth) -> Camera:
    """The input's camera turned about what it looks at by each of ``AROUND``."""
    orbit = truth.orbit()
    turned = [replace(orbit, yaw=orbit.yaw + math.radians(angle)).parameters() for angle in AROUND]
    return Orbit.from_parameters(torch.cat(turned)).camera(float(truth.fov))


def draw(mesh: Mesh, camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour on white (B, S, S, 3) and coverage (B, S, S) of a mesh, supersampled, float32."""
    picture = render_mesh(mesh, camera, size * SUPERSAMPLING, channels=("color", "mask"), background=1.0)
    values = torch.cat([picture.color, picture.mask], -1).permute(0, 3, 1, 2)
    small = torch.nn.functional.avg_pool2d(values, SUPERSAMPLING).permute(0, 2, 3, 1).clamp(0, 1).numpy()
    return small[..., :3], small[..., 3]


def lit(mesh: Mesh, orbit: Orbit) -> Mesh:
    """The mesh with its paint under the light of the pictures, as ``data_preparation_tools`` makes them.

    A result's texture was taken from the pictures, light included, so it is compared with a truth that is lit, too.

    Args:
        mesh: with vertex colours.
        orbit: the camera of the pictures.
    """
    colors = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    return replace(mesh, colors=shade(colors, mesh.normals(), torch.ones(len(colors), 1), orbit).to(colors))


def distance_colours(distances: np.ndarray) -> np.ndarray:
    """Colours (V, 3) sRGB of distances (V,) relative to the truth's size."""
    at = np.clip(distances / FAR, 0, 1) * (len(SCALE) - 1)
    steps = np.arange(len(SCALE))
    return np.stack([np.interp(at, steps, SCALE[:, channel]) for channel in range(3)], 1)


def coloured_by_distance(mesh: Mesh, other: Mesh, size: float, rng: np.random.Generator) -> Mesh:
    """The mesh with every vertex coloured by its distance to the other's surface.

    Args:
        mesh: what is coloured.
        other: in the same space.
        size: of the truth, what distances are relative to.
        rng: draws the points that stand for the other's surface.
    """
    surface = np.concatenate([sample(other, SURFACE_POINTS, rng), positions(other)])
    distances, _ = nearest(positions(mesh), surface)
    colours = torch.from_numpy(distance_colours(distances / size)).to(mesh.vertices)
    return Mesh(mesh.vertices, mesh.faces, colors=colours)


def lit_from_camera(mesh: Mesh, camera: Camera) -> Mesh:
    """The mesh with vertex colours darkened where the surface turns away from one camera, so that its shape is seen."""
    towards = torch.nn.functional.normalize(camera.positions()[0] - mesh.vertices, dim=-1)
    facing = (mesh.normals() * towards).sum(-1, keepdim=True).clamp_min(0)
    base = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    return replace(mesh, colors=base * (0.55 + 0.45 * facing))


def side_by_side(
    truth: Mesh, result: Mesh, size: float, cameras: Mapping[str, Camera], pixels: int
) -> dict[str, np.ndarray]:
    """Truth, result, truth by its distance to the result, result by its distance to the truth, from every camera.

    Args:
        truth: one frame.
        result: the same frame, brought to the truth.
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
        meshes = [truth, result, *(lit_from_camera(mesh, camera) for mesh in by_distance)]
        strips[name] = strip([draw(mesh, camera, pixels)[0][0] for mesh in meshes])
    return strips


def mask_difference(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Where two masks (H, W) bool agree (grey), where only the truth is (blue) and only the result (red): (H, W, 3)."""
    picture = np.ones((*truth.shape, 3), np.float32)
    picture[truth & result] = 0.78
    picture[truth & ~result] = SCALE[0]
    picture[result & ~truth] = SCALE[-1]
    return picture


def strip(pictures: Sequence[np.ndarray], pixels: int | None = None) -> np.ndarray:
    """Pictures (H, W, 3) in [0, 1] side by side as uint8, each brought to ``pixels`` squared where that is given."""
    if pixels is not None:
        pictures = [cv2.resize(picture, (pixels, pixels), interpolation=cv2.INTER_AREA) for picture in pictures]
    return (np.concatenate(list(pictures), 1).clip(0, 1) * 255).round().astype(np.uint8)


def transformed(mesh: Mesh, matrix: np.ndarray) -> Mesh:
    """The mesh under a (4, 4) similarity."""
    return mesh.transformed(torch.from_numpy(matrix).to(mesh.vertices))


def even_frames(count: int, shown: int) -> list[int]:
    """At most ``shown`` frames of ``count``, evenly spread, the first among them; a loop's end is not shown twice."""
    return sorted({index * count // shown for index in range(shown)})
