"""The contact sheet of an animation: views from front, side, back and top at four times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera, Orbit
from v2m4.mesh import MeshSequence
from v2m4.on_demand import OnDemand
from v2m4.render import render_mesh
from v2m4.threads import in_order
from v2m4.workspace import Workspace, atomic

CONTACT_SHEET = "contact_sheet.png"
VIEWS = {"front": (0.0, 0.0), "side": (90.0, 0.0), "back": (180.0, 0.0), "top": (0.0, 89.0)}  # yaw, pitch in degrees
FOV = math.radians(5.0)  # of a lens so long that the views are nearly orthographic
FILLED = 0.9  # of a cell's side: the longest side of the motion's bounds in any view
LEAST_FILLED = 0.5  # of a cell's side, in every view: a view that would fill less has a larger scale than the others
BACKGROUND, OUTLINE, BORDER = 0.87, 0.3, 1.0  # grey values; the outline shows a mesh of the background's colour


def contact_sheet(sequence: MeshSequence, extrinsics: Tensor, size: int = 256, times: int = 4) -> np.ndarray:
    """Render colour above normals for each view (columns) at evenly spaced times (pairs of rows).

    A view is centred on its bounds over all poses; all cells have one scale, except for views of few pixels
    (``LEAST_FILLED``). Background and outline are grey, so that white and grey surfaces are seen.

    Args:
        sequence: in the video camera's space.
        extrinsics: (4, 4), the video camera in the upright world.
        size: side of one cell, pixels.
        times: number of times.

    Returns:
        (2 * times * size, 4 * size, 3) uint8.
    """
    world = torch.linalg.inv(extrinsics).to(sequence.vertices)

    def upright(index: int) -> Tensor:
        return sequence.vertices[index] @ world[:3, :3].T + world[:3, 3]

    bounds = torch.stack([torch.stack([pose.amin(0), pose.amax(0)]) for pose in map(upright, range(len(sequence)))])
    lower, upper = bounds[:, 0].amin(0), bounds[:, 1].amax(0)
    middle, diagonal = (lower + upper) / 2, (upper - lower).norm().clamp_min(1e-12)
    poses = OnDemand(len(sequence), lambda index: (upright(index) - middle) / diagonal)
    cameras = view_cameras(poses)

    def two_rows(index: int) -> list[Tensor]:
        mesh = sequence.mesh.with_vertices(poses[index])
        colors, normals = [], []
        for camera in cameras:
            picture = render_mesh(mesh, camera, size, channels=("color", "mask", "normal"))
            as_color = picture.normal.new_tensor([0.5, -0.5, -0.5])  # right is red, up green, towards the camera blue
            colors.append(_cell(picture.color[0], picture.mask[0]))
            normals.append(_cell(picture.normal[0] * as_color + 0.5 * picture.mask[0], picture.mask[0]))
        return [torch.cat(colors, 1), torch.cat(normals, 1)]

    shown = np.linspace(0, len(sequence) - 1, times).round().astype(int).tolist()
    rows = [row for rows in in_order(two_rows, shown, several=sequence.vertices.device.type == "cpu") for row in rows]
    return (torch.cat(rows, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def view_cameras(poses: Sequence[Tensor]) -> list[Camera]:
    """The camera of each view, framed on the bounds of all poses.

    Args:
        poses: T poses (V, 3) in the upright world, moved and scaled to a bounding box about 0 of diagonal 1.
    """
    first = poses[0]
    angles = torch.tensor(list(VIEWS.values())).to(first).deg2rad()
    radius, centre = first.new_full((1,), 1 / math.tan(FOV / 2)), first.new_zeros(1, 3)
    cameras = [Orbit(yaw[None], pitch[None], radius, centre).camera(FOV) for yaw, pitch in angles]
    corners = []
    for index in range(len(poses)):
        seen = [camera.project(poses[index], (1, 1))[0][0] for camera in cameras]
        corners.append(torch.stack([torch.stack([fractions.amin(0), fractions.amax(0)]) for fractions in seen]))
    low_high = torch.stack(corners)  # (T, views, 2, 2)
    bounds = list(zip(low_high[:, :, 0].amin(0).tolist(), low_high[:, :, 1].amax(0).tolist(), strict=True))
    extents = [max(high[0] - low[0], high[1] - low[1], 1e-6) for low, high in bounds]
    framed = []
    for camera, (low, high), extent in zip(cameras, bounds, extents, strict=True):
        half = min(max(extents) / FILLED, extent / LEAST_FILLED) / 2
        x, y = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
        framed.append(camera.cropped((x - half, y - half, x + half, y + half)))
    return framed


def _cell(picture: Tensor, mask: Tensor) -> Tensor:
    """A picture (S, S, 3), weighted by its mask (S, S, 1), on the background, with an outline and a border."""
    grown = torch.nn.functional.max_pool2d(mask[None, ..., 0], 3, stride=1, padding=1)[0, ..., None]
    ground = BACKGROUND + (OUTLINE - BACKGROUND) * grown
    cell = picture + (1 - mask) * ground
    cell[0], cell[:, 0] = BORDER, BORDER
    return cell


def draw_contact_sheet(workspace: Workspace, sequence: MeshSequence, extrinsics: Tensor) -> None:
    """Write ``contact_sheet.png`` into the animation's folder."""
    with atomic(workspace.path(CONTACT_SHEET)) as temporary:
        iio.imwrite(temporary, contact_sheet(sequence, extrinsics))
