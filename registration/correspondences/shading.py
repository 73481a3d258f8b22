"""Which way a surface faces, as its shade tells: a hint of depth, where a single view shows none.

A limb that swings towards the camera and one that swings away look alike, but not in the light. Where a frame is
brighter or darker than the picture of the pose, at the place that paint names, the normal has to turn towards the light
that the first frame has taught, or away from it. One brightness tells of one direction of turn only.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import INSIDE, AppearanceModel, spherical_harmonics
from registration.correspondences.constraints import NormalConstraints
from registration.correspondences.photometric_flow import (
    PATCH,
    AppearanceFlow,
    bilinear,
    distance_from_edges,
    luma,
    sample_grid,
)
from v2m4.geometry import vertex_normals

RADIUS = 0.012  # of the object's size, that brightness is averaged within
LEAST = 0.01  # sRGB, added to brightness before the logarithm
TEXTURE = 0.1  # relative contrast of paint that spoils the comparison
MOST = 0.4  # relative difference of brightness, and turn (radians), that are believed
FLAT = 1e-3  # relative change of brightness by a turn of a radian, below which shade tells nothing


def shading_constraints(
    vertices: Tensor, appearance: AppearanceModel, flow_match: AppearanceFlow, limit: int
) -> NormalConstraints | None:
    """Points spread evenly over what a pose shows, with what their shade says of their normals.

    Args:
        vertices: (V, 3) the pose.
        appearance: with the video's light.
        flow_match: of the pose's picture with the frame.
        limit: points at most.

    Returns:
        None where there is no light to compare with, or nothing to be seen.
    """
    rendered, view = flow_match.rendered, flow_match.rendered.view
    rows, columns = sample_grid(rendered, limit)
    if appearance.lighting is None or len(rows) == 0:
        return None
    way = flow_match.flow[rows, columns]
    moved = np.stack([columns, rows], 1) + 0.5 + way
    ours, contrast = _brightness(rendered.color, rendered.mask, RADIUS * view.extent)
    theirs, _ = _brightness(view.color, view.mask, RADIUS * view.extent)
    given, wanted = ours[rows, columns], bilinear(theirs, moved)[:, 0]
    change = np.log((wanted + LEAST) / (given + LEAST))
    trust = distance_from_edges(rendered, PATCH * view.extent)[rows, columns] * (
        bilinear(view.mask, moved)[:, 0] > INSIDE
    )
    firm = trust > 0.3
    if firm.sum() < 20:
        return None
    change = change - np.median(change[firm])  # the exposure of the frame
    points = rendered.points(rows, columns)
    corners = appearance.mesh.faces.index_select(0, points.faces).reshape(-1)
    normals = vertex_normals(vertices.detach(), appearance.mesh.faces).index_select(0, corners).reshape(-1, 3, 3)
    normals = torch.nn.functional.normalize((normals * points.weights[..., None]).sum(1), dim=1)
    slope = _slope(normals, appearance.lighting, torch.from_numpy(rendered.color[rows, columns])).double().numpy()
    facing = normals.double().numpy()
    slope -= (slope * facing).sum(1, keepdims=True) * facing
    steep = np.linalg.norm(slope, axis=1)
    axes = slope / np.maximum(steep, 1e-9)[:, None]
    turn = np.clip(change / np.maximum(steep, FLAT), -MOST, MOST)
    plain = np.exp(-np.square(contrast[rows, columns] / (given + 2 * LEAST) / TEXTURE) - np.square(change / MOST))
    confidence = trust * firm * plain * np.minimum(np.square(steep), 1.0)
    kept = np.flatnonzero(confidence > FLAT)
    if len(kept) == 0:
        return None
    values = (axes * facing).sum(1) + turn
    return NormalConstraints(rendered.points(rows[kept], columns[kept]), axes[kept], values[kept], confidence[kept])


def _brightness(color: np.ndarray, mask: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (h, w) of brightness within ``radius`` pixels and the mask."""
    side = 2 * max(1, round(radius)) + 1
    solid, lighting = (mask > INSIDE).astype(np.float32), luma(color)
    share = np.maximum(cv2.blur(solid, (side, side)), 1e-3)
    mean = cv2.blur(lighting * solid, (side, side)) / share
    square = cv2.blur(lighting * lighting * solid, (side, side)) / share
    return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _slope(normals: Tensor, lighting: Tensor, color: Tensor) -> Tensor:
    """Relative change of brightness with the normal, (N, 3), of colours (N, 3) under the light (9, 3)."""
    x, y, z = normals.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    by_x = torch.stack([zero, one, zero, zero, y, zero, z, 2 * x, zero], 1)
    by_y = torch.stack([zero, zero, one, zero, x, z, zero, -2 * y, zero], 1)
    by_z = torch.stack([zero, zero, zero, one, zero, y, x, zero, 6 * z], 1)
    weights = color.float() * color.new_tensor([0.299, 0.587, 0.114])
    weights = (
        weights / (weights.sum(1, keepdim=True) + LEAST) / (spherical_harmonics(normals) @ lighting).clamp_min(0.05)
    )
    return torch.stack([((part @ lighting) * weights).sum(1) for part in (by_x, by_y, by_z)], 1)
