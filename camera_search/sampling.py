"""Initial cameras: directions spread evenly over the sphere, with translations that fit the mask's bounding box.

V2M4 (section 3.2) draws 2,000 cameras in six dimensions: radius 1-5, look-at within 1 of the origin, pitch of equal
area. But for a given direction the mask determines the rest: the projected mesh must fill the mask's bounding box. At
the extreme vertex of each side that condition is linear in the camera's translation, so three unknowns follow from
four equations, and two of six dimensions remain. Where the object is truncated by the image's edge, the position of
that side outside the image is random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from camera_search.views import NEAREST, ViewParameters, rotations
from v2m4.frame import Frame
from v2m4.mesh import Mesh

TRUNCATED_WEIGHT = 0.05  # of a side that is truncated by the image's edge; a visible side has 1
BOX_FIT_ITERATIONS = 8


@dataclass(frozen=True)
class MaskBox:
    """Bounding box of an object's mask.

    Attributes:
        sides: left, top, right, bottom in fractions of the image's width and height.
        truncated: whether the image's edge truncates the object at each side.
        area: fraction of the image that the mask covers.
    """

    sides: tuple[float, float, float, float]
    truncated: tuple[bool, bool, bool, bool]
    area: float

    @classmethod
    def of_frame(cls, frame: Frame, threshold: int = 128, speck: float = 0.005) -> MaskBox:
        """Bounding box of a frame's foreground, without specks.

        Args:
            frame: the picture.
            threshold: alpha from which a pixel belongs to the object.
            speck: parts smaller than this fraction of the largest are left out.

        Raises:
            ValueError: the frame has no foreground.
        """
        mask = (frame.rgba[..., 3] >= threshold).astype(np.uint8)
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        if count < 2:
            raise ValueError(f"frame {frame.name}: no foreground to search a camera for")
        areas = statistics[1:, cv2.CC_STAT_AREA]
        kept = np.isin(labels, 1 + np.flatnonzero(areas >= speck * areas.max()))
        rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
        height, width = mask.shape
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        edge = 1 + min(height, width) // 400  # resized images often have a soft last pixel
        truncated = (left < edge, top < edge, right > width - edge, bottom > height - edge)
        sides = (left / width, top / height, right / width, bottom / height)
        return cls(tuple(map(float, sides)), tuple(map(bool, truncated)), float(kept.mean()))  # type: ignore[arg-type]

    def window(self, aspect: float, margin: float = 0.15) -> tuple[float, float, float, float]:
        """Square window about the box, x0, y0, x1, y1 in fractions of the image; the margin is relative to the box."""
        left, top, right, bottom = self.sides
        half = (0.5 + margin) * max((right - left) * aspect, bottom - top)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        return (middle_x - half / aspect, middle_y - half, middle_x + half / aspect, middle_y + half)


def hull_points(mesh: Mesh) -> Tensor:
    """Vertices of a mesh's convex hull, (N, 3): only they can touch the sides of a projection's bounding box."""
    points = mesh.vertices.detach()
    try:
        corners = ConvexHull(points.double().cpu().numpy()).vertices
    except QhullError:  # flat or degenerate: keep every vertex
        return points
    return points[torch.from_numpy(corners.astype(np.int64)).to(points.device)]


def directions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Yaw and pitch (B,) of cameras on a Fibonacci spiral of equal area, with a random offset of yaw."""
    index = torch.arange(count, dtype=torch.float64)
    golden = math.pi * (3 - math.sqrt(5))
    offset = 2 * math.pi * torch.rand((), generator=generator, dtype=torch.float64)
    yaw = torch.remainder(index * golden + offset, 2 * math.pi)
    pitch = torch.asin(1 - 2 * (index + 0.5) / count)
    return yaw.float(), pitch.float()


def box_filling_translations(rotation: Tensor, points: Tensor, sides: Tensor, weights: Tensor) -> Tensor:
    """Translations for which the projections of points fill bounding boxes, by iterated linear least squares.

    With a the leftmost point, ``(x_a + t_x) / (z_a + t_z) = left`` is linear in the translation t; likewise for the
    other sides. Each iteration solves the four equations and updates the extreme points; at the true rotation the true
    translation is a fixed point.

    Args:
        rotation: (B, 3, 3) world to camera.
        points: (N, 3).
        sides: (B, 4) left, top, right, bottom as tangents (x right, y down).
        weights: (B, 4) of each side.

    Returns:
        (B, 3), with every point in front of the camera.
    """
    rotated = points @ rotation.transpose(1, 2)  # (B, N, 3)
    widest = (sides[:, 2:] - sides[:, :2]).amax(1).clamp_min(1e-4)
    spread = rotated.amax(1) - rotated.amin(1)
    front = NEAREST - rotated[..., 2].amin(1)
    depth = torch.maximum(spread[:, :2].amax(1) / widest, front)
    middle = (sides[:, 2:] + sides[:, :2]) / 2
    translation = torch.cat([middle * depth[:, None], depth[:, None]], 1)
    axis = torch.tensor([0, 1, 0, 1], device=points.device)
    unit = torch.zeros(4, 3, dtype=points.dtype, device=points.device)
    unit[torch.arange(4), axis] = 1.0
    ridge = 1e-6 * torch.eye(3, dtype=points.dtype, device=points.device)
    for _ in range(BOX_FIT_ITERATIONS):
        in_camera = rotated + translation[:, None]
        tangents = in_camera[..., :2] / in_camera[..., 2:].clamp_min(NEAREST)
        active = torch.cat([tangents.argmin(1), tangents.argmax(1)], 1)  # (B, 4)
        extreme = rotated.gather(1, active[..., None].expand(-1, -1, 3))  # (B, 4, 3)
        near = (extreme[..., 2] + translation[:, None, 2]).clamp_min(NEAREST)
        scale = weights / near  # errors in units of the image plane
        rows = unit.expand(len(sides), 4, 3).clone()
        rows[..., 2] = -sides
        right = sides * extreme[..., 2] - extreme.gather(2, axis.expand(len(sides), 4)[..., None])[..., 0]
        rows, right = rows * scale[..., None], right * scale
        normal = rows.transpose(1, 2) @ rows
        normal = normal + ridge * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        solved = torch.linalg.solve(normal, rows.transpose(1, 2) @ right[..., None])[..., 0]
        translation = torch.cat([solved[:, :2], torch.maximum(solved[:, 2:], front[:, None])], 1)
    return translation


def box_filling_views(
    view_parameters: ViewParameters,
    points: Tensor,
    box: MaskBox,
    yaw: Tensor,
    pitch: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Views (B, 5) of given directions whose projection of the mesh fits the mask's bounding box.

    Args:
        view_parameters: converts view parameters and cameras.
        points: (N, 3) the mesh's vertices, or its hull's.
        box: the mask's bounding box; a truncated side is moved outwards by a random part of the box's size.
        yaw: (B,) radians.
        pitch: (B,) radians.
        generator: source of randomness for the truncated sides.
    """
    count = len(yaw)
    truncated = torch.tensor(box.truncated)
    sides = torch.tensor(box.sides).repeat(count, 1)
    size = torch.stack([sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1]], 1).repeat(1, 2)
    extension = -0.35 * torch.rand(count, 4, generator=generator).clamp_min(1e-6).log()  # exponential distribution
    outwards = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    sides = sides + torch.where(truncated, outwards * size * extension.clamp_max(2.0), 0.0)
    half = torch.tensor([view_parameters.half_width, view_parameters.half_height] * 2)
    tangents = ((2 * sides - 1) * half).to(points)
    weights = torch.where(truncated, TRUNCATED_WEIGHT, 1.0).expand(count, 4).to(points)
    rotation = rotations(yaw.to(points), pitch.to(points))
    translation = box_filling_translations(rotation, points, tangents, weights)
    extrinsics = torch.eye(4).to(points).repeat(count, 1, 1)
    extrinsics[:, :3, :3] = rotation
    extrinsics[:, :3, 3] = translation
    return view_parameters.views_of(extrinsics)


def sample_views(
    view_parameters: ViewParameters, points: Tensor, box: MaskBox, count: int, generator: torch.Generator
) -> Tensor:
    """Views (B, 5) of all directions, several for each direction where sides of the mask are truncated.

    Args:
        view_parameters: converts view parameters and cameras.
        points: (N, 3) the mesh's vertices, or its hull's.
        box: the mask's bounding box.
        count: approximate number of views.
        generator: source of randomness.
    """
    draws = 1 + sum(box.truncated)
    yaw, pitch = directions(max(1, count // draws), generator)
    return box_filling_views(view_parameters, points, box, yaw.repeat(draws), pitch.repeat(draws), generator)
