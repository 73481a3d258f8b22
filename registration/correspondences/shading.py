"""Normal constraints from shading: the change of brightness along the flow, explained by a rotation of the normal.

In a single view a limb that swings towards the camera and one that swings away project alike, but they are lit
differently. Where the frame is brighter or darker than the rendering at a correspondence, the normal has to rotate
along the gradient of the brightness under the lighting that was fitted to the first frame. One brightness determines
the rotation along this one direction only (shape from shading with known lighting).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.constraints import NormalConstraints
from registration.correspondences.photometric_flow import (
    AppearanceFlow,
    bilinear,
    distance_from_edges,
    luma,
    sample_grid,
)
from registration.correspondences.tuning import TUNING
from v2m4.geometry import vertex_normals
from v2m4.spherical_harmonics import spherical_harmonics


def shading_constraints(
    vertices: Tensor, appearance: AppearanceModel, appearance_flow: AppearanceFlow, limit: int
) -> NormalConstraints | None:
    """Constraints on the normals of evenly spread surface points, linearised about a pose.

    With b(n) the brightness of a point of normal n, each constraint asks for the rotation of n along grad log b by
    (log of the observed brightness - log b(n)) / |grad log b|. The median change of brightness over the points is
    taken as the frame's exposure and subtracted.

    Args:
        vertices: (V, 3) the pose.
        appearance: with lighting.
        appearance_flow: from the rendering of the pose to the frame.
        limit: points at most.

    Returns:
        None where the model has no lighting, or too few points have reliable correspondences.
    """
    rendered, view = appearance_flow.rendered, appearance_flow.rendered.view
    rows, columns = sample_grid(rendered, limit)
    if appearance.lighting is None or len(rows) == 0:
        return None
    targets = np.stack([columns, rows], 1) + 0.5 + appearance_flow.flow[rows, columns]
    radius = TUNING.brightness_radius * view.extent
    rendered_mean, rendered_deviation = _local_brightness(rendered.color, rendered.mask, radius)
    frame_mean, _ = _local_brightness(view.color, view.mask, radius)
    expected, observed = rendered_mean[rows, columns], bilinear(frame_mean, targets)[:, 0]
    change = np.log((observed + TUNING.brightness_offset) / (expected + TUNING.brightness_offset))
    correspondence_confidence = distance_from_edges(rendered, TUNING.patch_radius * view.extent)[rows, columns] * (
        bilinear(view.mask, targets)[:, 0] > TUNING.full_coverage
    )
    reliable = correspondence_confidence > TUNING.min_shading_confidence
    if reliable.sum() < TUNING.min_shading_points:
        return None
    change = change - np.median(change[reliable])
    points = rendered.surface_points(rows, columns)
    corners = appearance.mesh.faces.index_select(0, points.faces).reshape(-1)
    normals = vertex_normals(vertices.detach(), appearance.mesh.faces).index_select(0, corners).reshape(-1, 3, 3)
    normals = torch.nn.functional.normalize((normals * points.weights[..., None]).sum(1), dim=1)
    color = torch.from_numpy(rendered.color[rows, columns])
    gradient = _log_brightness_gradient(normals, appearance.lighting, color).double().numpy()
    normal = normals.double().numpy()
    gradient -= (gradient * normal).sum(1, keepdims=True) * normal
    slope = np.linalg.norm(gradient, axis=1)
    axes = gradient / np.maximum(slope, 1e-9)[:, None]
    limit_change = TUNING.max_shading_change
    rotation = np.clip(change / np.maximum(slope, TUNING.min_brightness_gradient), -limit_change, limit_change)
    contrast = rendered_deviation[rows, columns] / (expected + 2 * TUNING.brightness_offset)
    untextured = np.exp(-np.square(contrast / TUNING.brightness_contrast) - np.square(change / limit_change))
    confidence = correspondence_confidence * reliable * untextured * np.minimum(np.square(slope), 1.0)
    kept = np.flatnonzero(confidence > TUNING.min_normal_confidence)
    if len(kept) == 0:
        return None
    cosines = (axes * normal).sum(1) + rotation
    return NormalConstraints(
        rendered.surface_points(rows[kept], columns[kept]), axes[kept], cosines[kept], confidence[kept]
    )


def _local_brightness(color: np.ndarray, mask: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (h, w) of the luma over a square window of ``radius`` pixels within the mask."""
    side = 2 * max(1, round(radius)) + 1
    inside, brightness = (mask > TUNING.full_coverage).astype(np.float32), luma(color)
    share = np.maximum(cv2.blur(inside, (side, side)), 1e-3)
    mean = cv2.blur(brightness * inside, (side, side)) / share
    square = cv2.blur(brightness * brightness * inside, (side, side)) / share
    return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _log_brightness_gradient(normals: Tensor, lighting: Tensor, color: Tensor) -> Tensor:
    """Gradient (N, 3) of the logarithm of brightness by the normal.

    Args:
        normals: (N, 3) unit vectors.
        lighting: (9, 3) coefficients of the spherical harmonics.
        color: (N, 3) rendered colours, lighting included.
    """
    x, y, z = normals.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    by_x = torch.stack([zero, one, zero, zero, y, zero, z, 2 * x, zero], 1)
    by_y = torch.stack([zero, zero, one, zero, x, z, zero, -2 * y, zero], 1)
    by_z = torch.stack([zero, zero, zero, one, zero, y, x, zero, 6 * z], 1)
    weights = color.float() * color.new_tensor([0.299, 0.587, 0.114])
    weights = (
        weights
        / (weights.sum(1, keepdim=True) + TUNING.brightness_offset)
        / (spherical_harmonics(normals) @ lighting).clamp_min(0.05)
    )
    return torch.stack([((part @ lighting) * weights).sum(1) for part in (by_x, by_y, by_z)], 1)
