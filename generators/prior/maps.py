"""Maps over a square crop of a picture, and the maps of ``Inflate`` on it: the prediction that the network corrects.

Coordinates: the crop is [-1, 1]^2, x to the right and y down. The ray of the point (x, y) is
((x + offset_x) / focal, (y + offset_y) / focal, 1). A depth z along the optical axis is stored as
(z / z0 - 1) * focal with z0 the object's distance, so that at that distance all three axes have one unit: half a crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from generators.inflate import height_field, read_silhouette, unproject

SIZE = 64  # pixels of a crop's side in the network
MARGIN = 1.12  # side of a crop over the object's longer side


@dataclass(frozen=True)
class Window:
    """A square window of a picture, as rays.

    Attributes:
        focal: focal length in half the window's side.
        offset: (x, y) from the optical axis to the window's centre, in half the window's side.
    """

    focal: float
    offset: tuple[float, float]

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Rays (..., 3), third component 1, of points (..., 2) of the window."""
        sides = (points + np.asarray(self.offset)) / self.focal
        return np.concatenate([sides, np.ones((*points.shape[:-1], 1))], -1)

    def points(self, positions: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Points (..., 3) of camera space (OpenCV axes) at positions (..., 2) and stored depths; z0 is ``focal``."""
        return self.rays(positions) * (self.focal + depth)[..., None]


@dataclass(frozen=True)
class BaseMaps:
    """Maps of ``Inflate`` over a window, in half the window's side; 0 outside the silhouette.

    Attributes:
        centre: (S, S) float32, mean of front and back depth.
        thickness: (S, S) float32, back minus front.
        distance: (S, S) float32, from the outline, positive inside; clipped at 0.
    """

    centre: np.ndarray
    thickness: np.ndarray
    distance: np.ndarray


def base_maps(alpha: np.ndarray, window: Window) -> BaseMaps:
    """Maps of ``Inflate`` from the mask of a window.

    Args:
        alpha: (S, S) uint8.
        window: where it lies.

    Raises:
        ValueError: there is almost no foreground.
    """
    size = alpha.shape[0]
    rows, columns = np.nonzero(alpha > 127)
    if len(rows) == 0:
        raise ValueError("base_maps: there is no foreground")
    silhouette = read_silhouette(alpha, max(int(np.ptp(rows)), int(np.ptp(columns))) + 1)
    shape = height_field(silhouette.level)
    centres = np.arange(size) + 0.5
    grid = np.stack(np.meshgrid(centres, centres), -1)
    at = ((grid - silhouette.origin) / silhouette.cell)[..., ::-1].reshape(-1, 2).T

    def sample(values: np.ndarray, outside: float | None = None) -> np.ndarray:
        mode = "nearest" if outside is None else "constant"
        found = ndimage.map_coordinates(values, at, order=1, mode=mode, cval=outside or 0.0)
        return found.reshape(size, size)

    level = sample(silhouette.level, -1.0)
    height = np.sqrt(np.maximum(level * sample(shape.factor), 0))
    part_offset = np.stack([sample(shape.center_offset[..., axis]) for axis in (0, 1)], -1)
    centre, thickness = inflate_depths(
        grid,
        silhouette.cell * height,
        silhouette.cell * part_offset,
        silhouette.cell * sample(shape.radius),
        window,
        size,
    )
    inside = level > 0
    distance = np.where(inside, level * silhouette.cell * 2 / size, 0)
    return BaseMaps(
        np.where(inside, centre, 0).astype(np.float32),
        np.where(inside, thickness, 0).astype(np.float32),
        distance.astype(np.float32),
    )


def inflate_depths(
    pixels: np.ndarray, height: np.ndarray, part_offset: np.ndarray, radius: np.ndarray, window: Window, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and thickness (...,) of ``Inflate`` in half the window's side.

    Args:
        pixels: (..., 2) in the window of ``size`` pixels.
        height: (...,) half the thickness, pixels.
        part_offset: (..., 2) from the pixel to the centre of its part, pixels.
        radius: (...,) of that part, pixels.
        window: the window.
        size: pixels of its side.
    """
    focal = window.focal * size / 2
    side = 2 * math.ceil(focal + size)  # of a picture about the optical axis that contains the window
    fov = 2 * math.atan(0.5 * side / focal)
    positions = (pixels.reshape(-1, 2) / (size / 2) - 1 + np.asarray(window.offset)) * (size / 2) + side / 2
    flat = [
        np.zeros(height.size), positions + part_offset.reshape(-1, 2), radius.reshape(-1), (side, side), fov
    ]  # fmt: skip
    middle = -unproject(positions, *flat)[:, 2]  # type: ignore[arg-type]
    flat[0] = height.reshape(-1)
    front = -unproject(positions, *flat)[:, 2]  # type: ignore[arg-type]
    centre = (middle / focal - 1) * window.focal
    thickness = 2 * (middle - front) / focal * window.focal
    return centre.reshape(height.shape), thickness.reshape(height.shape)


def object_window(alpha: np.ndarray, fov: float, margin: float = MARGIN) -> tuple[Window, tuple[float, float, float]]:
    """Square window about the foreground of a picture, and the same as (left, top, side) in pixels.

    Args:
        alpha: (H, W) uint8.
        fov: vertical field of view, radians.
        margin: side of the window over the longer side of the object.

    Raises:
        ValueError: there is no foreground.
    """
    rows, columns = np.nonzero(alpha > 127)
    if len(rows) == 0:
        raise ValueError("there is no foreground")
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    side = float(margin * (high - low).max())
    left, top = (low + high) / 2 - side / 2
    focal = 0.5 * alpha.shape[0] / math.tan(fov / 2) / (side / 2)
    middle = (low + high) / 2 - np.array([alpha.shape[1], alpha.shape[0]]) / 2
    return Window(focal, (float(middle[0] / (side / 2)), float(middle[1] / (side / 2)))), (left, top, side)


def crop(rgba: np.ndarray, place: tuple[float, float, float], size: int = SIZE) -> np.ndarray:
    """Window of a picture at ``size`` pixels by area averages: (size, size, 4) uint8, straight alpha.

    Args:
        rgba: (H, W, 4) uint8.
        place: (left, top, side) in pixels; may extend past the picture, which is transparent there.
        size: of the result.
    """
    left, top, side = place
    premultiplied = rgba.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    scale = side / size
    fine = max(1, math.ceil(scale))  # samples per pixel along an axis, averaged
    step = scale / fine
    matrix = np.array([[step, 0, left + 0.5 * step - 0.5], [0, step, top + 0.5 * step - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(premultiplied, matrix, (size * fine, size * fine), flags=flags)
    found = found.reshape(size, fine, size, fine, 4).mean((1, 3))
    found[..., :3] /= np.maximum(found[..., 3:] / 255, 1 / 255)
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)
