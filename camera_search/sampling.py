"""Cameras to begin with: directions spread evenly over the sphere, each framed in closed form.

V2M4 (section 3.2) draws 2,000 cameras in six dimensions: radius 1-5, look-at within 1 of the origin, pitch of equal
area. But once the direction is chosen, the mask tells the rest: the projected mesh must fill the mask's box. At the
extreme vertex of each side that is linear in the camera's translation, so three unknowns follow from four equations,
and six dimensions shrink to two. Where the picture's edge cuts the object off, how far it goes on outside is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from camera_search.views import NEAREST, ViewSpace, rotations
from v2m4.frame import Frame
from v2m4.mesh import Mesh

CUT_WEIGHT = 0.05  # of a side that is only guessed, against 1 for a side that is seen
FRAMING_STEPS = 8


@dataclass(frozen=True)
class MaskBox:
    """The box about an object's mask.

    Attributes:
        sides: left, top, right, bottom in fractions of the picture's width and height.
        cut: whether the picture's edge cuts the object off there.
        area: part of the picture that the mask covers.
    """

    sides: tuple[float, float, float, float]
    cut: tuple[bool, bool, bool, bool]
    area: float

    @classmethod
    def of_frame(cls, frame: Frame, threshold: int = 128, speck: float = 0.005) -> MaskBox:
        """The box of a frame's foreground, without specks.

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
        edge = 1 + min(height, width) // 400  # resized pictures often have a soft last pixel
        cut = (left < edge, top < edge, right > width - edge, bottom > height - edge)
        sides = (left / width, top / height, right / width, bottom / height)
        return cls(tuple(map(float, sides)), tuple(map(bool, cut)), float(kept.mean()))  # type: ignore[arg-type]

    def window(self, aspect: float, margin: float = 0.15) -> tuple[float, float, float, float]:
        """The square part of the picture about the box (x0, y0, x1, y1 in fractions); the margin is relative to it."""
        left, top, right, bottom = self.sides
        half = (0.5 + margin) * max((right - left) * aspect, bottom - top)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        return (middle_x - half / aspect, middle_y - half, middle_x + half / aspect, middle_y + half)


def hull_points(mesh: Mesh) -> Tensor:
    """The vertices of a mesh's convex hull, (N, 3): only they can touch the sides of a projection's box."""
    points = mesh.vertices.detach()
    try:
        corners = ConvexHull(points.double().cpu().numpy()).vertices
    except QhullError:  # flat or smaller: every vertex may touch
        return points
    return points[torch.from_numpy(corners.astype(np.int64)).to(points.device)]


def directions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Yaw and pitch (B,) of cameras on a Fibonacci spiral: equal area, turned by one random angle."""
    index = torch.arange(count, dtype=torch.float64)
    golden = math.pi * (3 - math.sqrt(5))
    turn = 2 * math.pi * torch.rand((), generator=generator, dtype=torch.float64)
    yaw = torch.remainder(index * golden + turn, 2 * math.pi)
    pitch = torch.asin(1 - 2 * (index + 0.5) / count)
    return yaw.float(), pitch.float()


def frame_points(rotation: Tensor, points: Tensor, sides: Tensor, weights: Tensor) -> Tensor:
    """Translations that make the projections of points fill boxes, in the least-squares sense.

    With a the point that is furthest to the left, ``(x_a + t_x) / (z_a + t_z) = left`` is linear in the translation t;
    so for each side. The four equations are solved, the extreme points are looked up again, and so on; at the true
    rotation the true translation is a fixed point.

    Args:
        rotation: (B, 3, 3) world to camera.
        points: (N, 3).
        sides: (B, 4) left, top, right, bottom as tangents (x right, y down).
        weights: (B, 4) of each side.

    Returns:
        (B, 3), every point in front of the camera.
    """
    turned = points @ rotation.transpose(1, 2)  # (B, N, 3)
    widest = (sides[:, 2:] - sides[:, :2]).amax(1).clamp_min(1e-4)
    spread = turned.amax(1) - turned.amin(1)
    front = NEAREST - turned[..., 2].amin(1)
    depth = torch.maximum(spread[:, :2].amax(1) / widest, front)
    middle = (sides[:, 2:] + sides[:, :2]) / 2
    translation = torch.cat([middle * depth[:, None], depth[:, None]], 1)
    axis = torch.tensor([0, 1, 0, 1], device=points.device)
    unit = torch.zeros(4, 3, dtype=points.dtype, device=points.device)
    unit[torch.arange(4), axis] = 1.0
    ridge = 1e-6 * torch.eye(3, dtype=points.dtype, device=points.device)
    for _ in range(FRAMING_STEPS):
        seen = turned + translation[:, None]
        tangents = seen[..., :2] / seen[..., 2:].clamp_min(NEAREST)
        active = torch.cat([tangents.argmin(1), tangents.argmax(1)], 1)  # (B, 4)
        corner = turned.gather(1, active[..., None].expand(-1, -1, 3))  # (B, 4, 3)
        near = (corner[..., 2] + translation[:, None, 2]).clamp_min(NEAREST)
        scale = weights / near  # an error counts as it shows in the picture
        rows = unit.expand(len(sides), 4, 3).clone()
        rows[..., 2] = -sides
        right = sides * corner[..., 2] - corner.gather(2, axis.expand(len(sides), 4)[..., None])[..., 0]
        rows, right = rows * scale[..., None], right * scale
        normal = rows.transpose(1, 2) @ rows
        normal = normal + ridge * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        solved = torch.linalg.solve(normal, rows.transpose(1, 2) @ right[..., None])[..., 0]
        translation = torch.cat([solved[:, :2], torch.maximum(solved[:, 2:], front[:, None])], 1)
    return translation


def framed_views(
    space: ViewSpace, points: Tensor, box: MaskBox, yaw: Tensor, pitch: Tensor, generator: torch.Generator
) -> Tensor:
    """Views (B, 5) from given directions, each with the mesh's projection in the mask's box.

    Args:
        space: the views' conventions.
        points: (N, 3) the mesh's vertices, or its hull's.
        box: the mask's box; where a side is cut off, how far the object goes on is drawn, in parts of the box's size.
        yaw: (B,) radians.
        pitch: (B,) radians.
        generator: for the sides that are cut off.
    """
    count = len(yaw)
    cut = torch.tensor(box.cut)
    sides = torch.tensor(box.sides).repeat(count, 1)
    size = torch.stack([sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1]], 1).repeat(1, 2)
    beyond = -0.35 * torch.rand(count, 4, generator=generator).clamp_min(1e-6).log()  # exponential: mostly a little
    outwards = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    sides = sides + torch.where(cut, outwards * size * beyond.clamp_max(2.0), 0.0)
    half = torch.tensor([space.half_width, space.half_height] * 2)
    tangents = ((2 * sides - 1) * half).to(points)
    weights = torch.where(cut, CUT_WEIGHT, 1.0).expand(count, 4).to(points)
    rotation = rotations(yaw.to(points), pitch.to(points))
    translation = frame_points(rotation, points, tangents, weights)
    extrinsics = torch.eye(4).to(points).repeat(count, 1, 1)
    extrinsics[:, :3, :3] = rotation
    extrinsics[:, :3, 3] = translation
    return space.views_of(extrinsics)


def sample_views(space: ViewSpace, points: Tensor, box: MaskBox, count: int, generator: torch.Generator) -> Tensor:
    """Views (B, 5) from all round; a direction is drawn several times where sides of the mask are cut off.

    Args:
        space: the views' conventions.
        points: (N, 3) the mesh's vertices, or its hull's.
        box: the mask's box.
        count: about how many views.
        generator: source of randomness.
    """
    draws = 1 + sum(box.cut)
    yaw, pitch = directions(max(1, count // draws), generator)
    return framed_views(space, points, box, yaw.repeat(draws), pitch.repeat(draws), generator)
