"""Appearance constraints: dense optical flow from the rendering of a pose to the frame.

The rendering shows the mesh's own texture, so correspondences do not drift. Both images are normalised locally (minus
the mean, over the standard deviation of a pixel's neighbourhood within the object), which cancels the frame's gain,
offset and slow shading.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from registration.correspondences.appearance_model import RenderedPose, continuous_surface, eroded
from registration.correspondences.constraints import Constraints
from registration.correspondences.tuning import TUNING
from v2m4.optical_flow import MEDIUM, FlowSettings, dense_flow

# Patches are larger than the preset's: there is little texture, and a rendered mesh has no noise.
LARGE_PATCHES = FlowSettings(MEDIUM.preset, patch_size=12, patch_stride=5, descent_steps=16)


@dataclass(frozen=True)
class AppearanceFlow:
    """Dense flow from the rendering of a pose to the frame, with its confidence.

    Attributes:
        rendered: the pose in the frame's view.
        rendered_image: (h, w) float32, the normalised rendering, grey levels.
        flow: (h, w, 2) float32, pixels (x, y).
        confidence: (h, w) float32, in [0, 1], from the forward-backward error and the photometric error.
        photometric_error: (h, w) float32, squared difference of the two images along the flow, grey levels squared.
    """

    rendered: RenderedPose
    rendered_image: np.ndarray
    flow: np.ndarray
    confidence: np.ndarray
    photometric_error: np.ndarray

    @classmethod
    def of(cls, rendered: RenderedPose) -> AppearanceFlow:
        """Compute the flow of a rendered pose, forward-backward checked."""
        source, target = normalized_images(rendered)
        forward, backward = gray_flow(source, target), gray_flow(target, source)
        height, width = source.shape
        columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        warped = (forward[..., 0] + columns, forward[..., 1] + rows[:, None])
        sampling = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        round_trip_error = np.square(forward + cv2.remap(backward, *warped, **sampling)).sum(2)
        length = np.sqrt(np.square(forward).sum(2))
        photometric_error = np.square(cv2.remap(target, *warped, **sampling) - source)
        tolerance = TUNING.forward_backward_tolerance + TUNING.relative_forward_backward_tolerance * length
        photometric_scale = (TUNING.photometric_tolerance * TUNING.gray_levels_per_deviation) ** 2
        confidence = np.exp(-round_trip_error / np.square(tolerance) - photometric_error / photometric_scale)
        confidence *= np.square(cv2.remap(rendered.view.mask, *warped, **sampling)).clip(0, 1)
        return cls(rendered, source, forward, confidence, photometric_error)


def appearance_constraints(
    rendered: RenderedPose,
    limit: int,
    search_radius: float | None = None,
    appearance_flow: AppearanceFlow | None = None,
) -> Constraints:
    """Correspondences of evenly spread surface points by dense flow, each weighted by its structure tensor.

    The confidence of a point is that of the flow (forward-backward error, photometric error) times its distance from
    the edges of the visible surface. Across directions without texture its position stays undetermined (the aperture
    problem).

    Args:
        rendered: the pose in the frame's view.
        limit: points at most.
        search_radius: pixels of the view; points that move farther are dropped. None for no limit.
        appearance_flow: of ``rendered``, where it has been computed already.
    """
    view = rendered.view
    rows, columns = sample_grid(rendered, limit)
    if len(rows) == 0 or not (view.mask > TUNING.full_coverage).any():
        return no_constraints(rendered)
    appearance_flow = appearance_flow or AppearanceFlow.of(rendered)
    displacements = appearance_flow.flow[rows, columns]
    radius = TUNING.patch_radius * view.extent
    confidence = appearance_flow.confidence[rows, columns] * distance_from_edges(rendered, radius)[rows, columns]
    if search_radius is not None:
        confidence *= np.linalg.norm(displacements, axis=1) < search_radius
    kept = np.flatnonzero(confidence > TUNING.min_confidence)
    rows, columns, displacements, confidence = rows[kept], columns[kept], displacements[kept], confidence[kept]
    root = structure_tensor_root(
        appearance_flow.rendered_image, radius, rows, columns, appearance_flow.photometric_error
    )
    root = root * np.sqrt(confidence)[:, None, None]
    targets = np.stack([columns, rows], 1) + 0.5 + displacements
    return Constraints(rendered.surface_points(rows, columns), view.fractions(targets), root)


def normalized_images(rendered: RenderedPose) -> tuple[np.ndarray, np.ndarray]:
    """The rendering and the frame, each normalised within its object: (h, w) float32 grey levels."""
    view, radius = rendered.view, max(3.0, TUNING.normalization_radius * rendered.view.extent)
    return normalized(luma(rendered.color), rendered.mask, radius), normalized(luma(view.color), view.mask, radius)


def luma(color: np.ndarray) -> np.ndarray:
    """Luma (h, w) of sRGB colours (h, w, 3), with the weights of ITU-R BT.601."""
    return np.ascontiguousarray(color @ np.array([0.299, 0.587, 0.114], np.float32))


def normalized(image: np.ndarray, mask: np.ndarray, radius: float) -> np.ndarray:
    """An image minus its local mean, over its local standard deviation, both within the mask.

    Args:
        image: (h, w) float32 in [0, 1].
        mask: (h, w) coverage.
        radius: of the neighbourhood, pixels; a box filter, applied twice.

    Returns:
        (h, w) float32 grey levels, one constant level outside the mask.
    """
    inside = (mask > 0.5).astype(np.float32)

    def local_sum(values: np.ndarray) -> np.ndarray:
        side = 2 * round(radius) + 1
        return cv2.blur(cv2.blur(values, (side, side)), (side, side))

    share = np.maximum(local_sum(inside), 1e-3)
    mean = local_sum(image * inside) / share
    variance = np.maximum(local_sum(image * image * inside) / share - mean * mean, 0)
    level = (image - mean) / np.sqrt(variance + TUNING.image_noise**2)
    level = level.clip(TUNING.background_level + 0.1, 3)
    return TUNING.gray_levels_per_deviation * np.where(inside > 0, level, np.float32(TUNING.background_level))


def gray_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense inverse search flow between normalised images.

    Args:
        first: (h, w) grey levels about 0.
        second: (h, w).

    Returns:
        (h, w, 2) displacements in pixels, from the first to the second.
    """
    levels = [(image + 128).clip(0, 255).round().astype(np.uint8) for image in (first, second)]
    return dense_flow(levels[0], levels[1], LARGE_PATCHES)


def structure_tensor_root(
    image: np.ndarray,
    radius: float,
    rows: np.ndarray,
    columns: np.ndarray,
    photometric_error: np.ndarray | None = None,
) -> np.ndarray:
    """Square root of the information that texture gives on a point's position, by the structure tensor.

    With J the structure tensor of Scharr gradients over a square window, the information is J (J + g^2 I)^-1: an
    eigenvalue is 1/2 where the gradient is g grey levels a pixel. g^2 grows with the photometric error.

    Args:
        image: (h, w) float32 grey levels, from ``normalized``.
        radius: of the window, pixels.
        rows: (N,) int.
        columns: (N,) int.
        photometric_error: (h, w) squared difference of the two images at the correspondences, grey levels squared.

    Returns:
        (N, 2, 2) float64, symmetric, eigenvalues in [0, 1], axes (x, y).
    """
    # The step from the background is no texture.
    inside = eroded(image > TUNING.background_level * TUNING.gray_levels_per_deviation, 1).astype(np.float32)
    dx, dy = (cv2.Scharr(image, cv2.CV_32F, *order) / 32.0 * inside for order in ((1, 0), (0, 1)))
    side = 2 * max(2, round(radius)) + 1
    xx, xy, yy = (cv2.blur(value, (side, side))[rows, columns] for value in (dx**2, dx * dy, dy**2))
    tensor = np.stack([np.stack([xx, xy], 1), np.stack([xy, yy], 1)], 1).astype(np.float64)
    values, axes = np.linalg.eigh(tensor)
    noise = np.full(len(rows), TUNING.texture_gradient**2)
    if photometric_error is not None:
        noise = noise + TUNING.photometric_error_share * cv2.blur(photometric_error, (side, side))[rows, columns]
    values = values.clip(0) / (values.clip(0) + noise[:, None])
    return (axes * np.sqrt(values)[:, None]) @ axes.transpose(0, 2, 1)


def sample_grid(rendered: RenderedPose, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, (N,) int64 each, of a regular grid of pixels that show the pose, N at most ``limit``.

    The grid is the finest with at most that many points on surface that faces the camera
    (``CorrespondenceTuning.min_view_cosine``).
    """
    visible = (rendered.rast[..., 3] > 0) & (rendered.view_cosine > TUNING.min_view_cosine)
    stride = max(1.0, np.sqrt(visible.sum() / max(limit, 1)))
    while True:
        rows, columns = (np.arange(stride / 2, length, stride).astype(np.int64) for length in visible.shape)
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        grid = grid[visible[grid[:, 0], grid[:, 1]]]
        if len(grid) <= limit:
            return grid[:, 0], grid[:, 1]
        stride *= 1.02


def distance_from_edges(rendered: RenderedPose, radius: float) -> np.ndarray:
    """Distance (h, w) of pixels from occlusion edges and the outline, over ``radius`` pixels, at most 1."""
    distance = cv2.distanceTransform(continuous_surface(rendered).astype(np.uint8), cv2.DIST_L2, 3)
    return np.minimum(distance / max(radius, 1.0), 1.0)


def bilinear(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear samples (N, C) or (N, K, C) of an image (h, w[, C]) at pixels (N, 2) or (N, K, 2).

    The centre of the first pixel is at (0.5, 0.5); outside, the border's value is repeated.
    """
    if len(points) == 0:
        return np.zeros((*points.shape[:-1], image.shape[2] if image.ndim > 2 else 1), image.dtype)
    at = points.astype(np.float32).reshape(len(points), -1, 2) - 0.5
    samples = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return samples.reshape(*points.shape[:-1], -1)


def no_constraints(rendered: RenderedPose) -> Constraints:
    """An empty set of constraints."""
    empty = np.zeros(0, np.int64)
    return Constraints(rendered.surface_points(empty, empty), np.zeros((0, 2)), np.zeros((0, 2, 2)))
