"""Where a frame shows the surface, by dense optical flow from the picture of a pose to the frame.

The points are held to the mesh's own paint, so nothing drifts. Both pictures are normalised about each pixel (mean and
contrast of its surroundings within the object), so the frame's gain, its offset and slow shades do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from registration.correspondences.appearance_model import INSIDE, RenderedPose, continuous_surface, eroded
from registration.correspondences.constraints import Constraints
from v2m4.optical_flow import MEDIUM, FlowSettings, dense_flow

SURROUNDINGS = 0.15  # of the object's size, the radius that a pixel is normalised within
NOISE = 0.012  # sRGB, standard deviation of what is no texture
CONTRAST = 40.0  # grey levels to one standard deviation
OUTSIDE = -3.0  # standard deviations, what stands for the background in both pictures
PATCH = 0.02  # of the object's size, the radius that gradients are gathered within
GRADIENT = 6.0  # grey levels a pixel, of texture that holds a point firmly
UNLIKE = 0.6  # share of the pictures' squared difference that squared gradients have to exceed
RETURN = 1.0  # pixels that going there and back may miss by, and
RETURN_SHARE = 0.05  # of the way
LIKENESS = 0.7  # standard deviations that the pictures may differ by where a point is taken to lie
# Patches are larger than the preset's: there is little texture, and a mesh's own paint has no noise.
LARGE_PATCHES = FlowSettings(MEDIUM.preset, patch_size=12, patch_stride=5, descent_steps=16)
OBLIQUE = 0.25  # cosine to the camera below which a surface is not trusted


@dataclass(frozen=True)
class AppearanceFlow:
    """Dense flow from the picture of a pose to the frame.

    Attributes:
        rendered: the pose in the frame's view.
        given: (h, w) the pose's picture, grey levels.
        flow: (h, w, 2) pixels.
        trust: (h, w) how far going back ends where it began and the pictures agree there, 0 to 1.
        unlike: (h, w) squared difference of the two pictures there, grey levels.
    """

    rendered: RenderedPose
    given: np.ndarray
    flow: np.ndarray
    trust: np.ndarray
    unlike: np.ndarray

    @classmethod
    def of(cls, rendered: RenderedPose) -> AppearanceFlow:
        """Compute it."""
        given, wanted = normalized_images(rendered)
        ahead, back = grey_flow(given, wanted), grey_flow(wanted, given)
        height, width = given.shape
        columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        there = (ahead[..., 0] + columns, ahead[..., 1] + rows[:, None])
        kind = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        missed = np.square(ahead + cv2.remap(back, *there, **kind)).sum(2)
        way = np.sqrt(np.square(ahead).sum(2))
        unlike = np.square(cv2.remap(wanted, *there, **kind) - given)
        trust = np.exp(-missed / np.square(RETURN + RETURN_SHARE * way) - unlike / (LIKENESS * CONTRAST) ** 2)
        trust *= np.square(cv2.remap(rendered.view.mask, *there, **kind)).clip(0, 1)
        return cls(rendered, given, ahead, trust, unlike)


def appearance_constraints(
    rendered: RenderedPose, limit: int, reach: float | None = None, flow_match: AppearanceFlow | None = None
) -> Constraints:
    """Points spread evenly over what a pose shows, where the frame shows the same paint.

    A point is trusted as far as flow there and back ends where it began, the pictures agree there, and the surface
    around it is turned to the camera and free of edges. Where there is no texture across some direction, its place
    along that direction is left open.

    Args:
        rendered: the pose in the frame's view.
        limit: points at most.
        reach: pixels of the view that a point may go; None for any number.
        flow_match: of the sight, where it is known.
    """
    view = rendered.view
    rows, columns = sample_grid(rendered, limit)
    if len(rows) == 0 or not (view.mask > INSIDE).any():
        return none(rendered)
    flow_match = flow_match or AppearanceFlow.of(rendered)
    way = flow_match.flow[rows, columns]
    trust = flow_match.trust[rows, columns] * distance_from_edges(rendered, PATCH * view.extent)[rows, columns]
    if reach is not None:
        trust *= np.linalg.norm(way, axis=1) < reach
    kept = np.flatnonzero(trust > 0.02)
    rows, columns, way, trust = rows[kept], columns[kept], way[kept], trust[kept]
    root = (
        structure_tensor_root(flow_match.given, PATCH * view.extent, rows, columns, flow_match.unlike)
        * np.sqrt(trust)[:, None, None]
    )
    moved = np.stack([columns, rows], 1) + 0.5 + way
    return Constraints(rendered.points(rows, columns), view.fractions(moved), root)


def normalized_images(rendered: RenderedPose) -> tuple[np.ndarray, np.ndarray]:
    """The pose and the frame as (h, w) float32 grey levels, each normalised within its object."""
    view, radius = rendered.view, max(3.0, SURROUNDINGS * rendered.view.extent)
    return normalized(luma(rendered.color), rendered.mask, radius), normalized(luma(view.color), view.mask, radius)


def luma(color: np.ndarray) -> np.ndarray:
    """Brightness (h, w) of sRGB colours (h, w, 3)."""
    return np.ascontiguousarray(color @ np.array([0.299, 0.587, 0.114], np.float32))


def normalized(picture: np.ndarray, mask: np.ndarray, radius: float) -> np.ndarray:
    """A picture (h, w) less its mean, over its contrast, both within ``radius`` pixels and the mask."""
    inside = (mask > 0.5).astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        side = 2 * round(radius) + 1
        return cv2.blur(cv2.blur(values, (side, side)), (side, side))

    share = np.maximum(mean(inside), 1e-3)
    middle = mean(picture * inside) / share
    variance = np.maximum(mean(picture * picture * inside) / share - middle * middle, 0)
    level = ((picture - middle) / np.sqrt(variance + NOISE**2)).clip(OUTSIDE + 0.1, 3)
    return CONTRAST * np.where(inside > 0, level, np.float32(OUTSIDE))


def grey_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense inverse search flow, (h, w, 2) pixels from the first to the second of grey levels, of which 0 is medium."""
    levels = [(picture + 128).clip(0, 255).round().astype(np.uint8) for picture in (first, second)]
    return dense_flow(levels[0], levels[1], LARGE_PATCHES)


def structure_tensor_root(
    picture: np.ndarray, radius: float, rows: np.ndarray, columns: np.ndarray, unlike: np.ndarray | None = None
) -> np.ndarray:
    """How firmly texture holds a point across each direction: (N, 2, 2) symmetric, eigenvalues 0 to 1.

    A square root of the structure tensor's share J (J + g^2)^-1, where gradients of g grey levels a pixel count half;
    they have to be the larger, the more the pictures differ.

    Args:
        picture: (h, w) grey levels.
        radius: pixels that gradients are gathered within.
        rows: (N,).
        columns: (N,).
        unlike: (h, w) squared difference of the two pictures where the points are taken to lie.
    """
    inside = eroded(picture > OUTSIDE * CONTRAST, 1).astype(np.float32)  # an outline is no texture
    across, down = (cv2.Scharr(picture, cv2.CV_32F, *order) / 32.0 * inside for order in ((1, 0), (0, 1)))
    side = 2 * max(2, round(radius)) + 1
    xx, xy, yy = (cv2.blur(value, (side, side))[rows, columns] for value in (across**2, across * down, down**2))
    tensor = np.stack([np.stack([xx, xy], 1), np.stack([xy, yy], 1)], 1).astype(np.float64)
    values, axes = np.linalg.eigh(tensor)
    noise = np.full(len(rows), GRADIENT**2)
    if unlike is not None:
        noise = noise + UNLIKE * cv2.blur(unlike, (side, side))[rows, columns]
    values = values.clip(0) / (values.clip(0) + noise[:, None])
    return (axes * np.sqrt(values)[:, None]) @ axes.transpose(0, 2, 1)


def sample_grid(rendered: RenderedPose, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pixels that show the pose, on a grid just coarse enough for ``limit`` of them."""
    shown = (rendered.rast[..., 3] > 0) & (rendered.facing > OBLIQUE)
    stride = max(1.0, np.sqrt(shown.sum() / max(limit, 1)))
    while True:
        rows, columns = (np.arange(stride / 2, length, stride).astype(np.int64) for length in shown.shape)
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        grid = grid[shown[grid[:, 0], grid[:, 1]]]
        if len(grid) <= limit:
            return grid[:, 0], grid[:, 1]
        stride *= 1.02


def distance_from_edges(rendered: RenderedPose, radius: float) -> np.ndarray:
    """How far pixels (h, w) are from edges of the surface, where one part hides another or it ends, 0 to 1."""
    distance = cv2.distanceTransform(continuous_surface(rendered).astype(np.uint8), cv2.DIST_L2, 3)
    return np.minimum(distance / max(radius, 1.0), 1.0)


def bilinear(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values (N, C) or (N, K, C) at pixels (N, 2) or (N, K, 2), the first pixel centred at (0.5, 0.5)."""
    if len(points) == 0:
        return np.zeros((*points.shape[:-1], picture.shape[2] if picture.ndim > 2 else 1), picture.dtype)
    at = points.astype(np.float32).reshape(len(points), -1, 2) - 0.5
    found = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(*points.shape[:-1], -1)


def none(rendered: RenderedPose) -> Constraints:
    """No observation."""
    empty = np.zeros(0, np.int64)
    return Constraints(rendered.points(empty, empty), np.zeros((0, 2)), np.zeros((0, 2, 2)))
