"""The contact sheet of an animation: views from front, side, back and top at four times."""

from __future__ import annotations

import math

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.mesh import MeshSequence
from v2m4.render import render_mesh
from v2m4.workspace import Workspace, atomic

CONTACT_SHEET = "contact_sheet.png"
VIEWS = {"front": (0.0, 0.0), "side": (90.0, 0.0), "back": (180.0, 0.0), "top": (0.0, 89.0)}  # yaw, pitch in degrees


def contact_sheet(sequence: MeshSequence, extrinsics: Tensor, size: int = 256, times: int = 4) -> np.ndarray:
    """Render colour above normals for each view (columns) at evenly spaced times (pairs of rows).

    Args:
        sequence: in the video camera's space.
        extrinsics: (4, 4), the video camera in the upright world.
        size: side of one cell, pixels.
        times: number of times.

    Returns:
        (2 * times * size, 4 * size, 3) uint8.
    """
    world = torch.linalg.inv(extrinsics).to(sequence.vertices)
    vertices = sequence.vertices @ world[:3, :3].T + world[:3, 3]
    lower, upper = vertices.amin((0, 1)), vertices.amax((0, 1))
    centre = (lower + upper) / 2
    radius = 0.55 * float((upper - lower).norm()) / math.tan(DEFAULT_FOV / 2)
    angles = torch.tensor(list(VIEWS.values())).to(vertices).deg2rad()
    count = len(angles)
    cameras = Orbit(angles[:, 0], angles[:, 1], centre.new_full((count,), radius), centre.expand(count, 3)).camera()
    rows = []
    for index in np.linspace(0, len(sequence) - 1, times).round().astype(int):
        mesh = sequence.mesh.with_vertices(vertices[index])
        picture = render_mesh(mesh, cameras, size, channels=("color", "mask", "normal"), background=1.0)
        normal_colors = picture.normal * picture.normal.new_tensor([0.5, -0.5, -0.5]) + 0.5
        normal_picture = normal_colors * picture.mask + (1 - picture.mask)
        rows += [torch.cat(list(picture.color), 1), torch.cat(list(normal_picture), 1)]
    return (torch.cat(rows, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def draw_contact_sheet(workspace: Workspace, sequence: MeshSequence, extrinsics: Tensor) -> None:
    """Write ``contact_sheet.png`` into the animation's folder."""
    with atomic(workspace.path(CONTACT_SHEET)) as temporary:
        iio.imwrite(temporary, contact_sheet(sequence, extrinsics))
