"""Crops of a frame around its object, with the matching cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from v2m4.camera import Camera, image_fractions
from v2m4.frame import Frame

MARGIN = 0.08  # relative to the longer side of the object's box
VIEW_MARGIN = 0.1  # the same, for ``ImageWindow.of``

Window = tuple[float, float, float, float]


def object_box(frame: Frame) -> Window:
    """The bounding box of the foreground, in fractions of the picture; the whole picture where there is none."""
    height, width = frame.rgba.shape[:2]
    rows, columns = (np.flatnonzero((frame.rgba[..., 3] > 127).any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        return (0.0, 0.0, 1.0, 1.0)
    return (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)


def window_around(boxes: Sequence[Window], aspect: float, margin: float = MARGIN, square: bool = False) -> Window:
    """The smallest window that contains all boxes and a margin.

    Args:
        boxes: in fractions of the picture.
        aspect: width / height of the picture.
        margin: relative to the longer side.
        square: as high as it is wide, counted in pixels.
    """
    x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    side = max((x1 - x0) * aspect, y1 - y0)
    wide, high = (side, side) if square else ((x1 - x0) * aspect, y1 - y0)
    wide, high = (wide + 2 * margin * side) / aspect, high + 2 * margin * side
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)


@dataclass(frozen=True)
class ImageWindow:
    """A frame cropped to a square window around its object.

    Attributes:
        frame: the whole picture.
        camera: the video's camera, cropped to the window.
        color: (h, w, 3) float32 sRGB, straight (not weighted by the mask); 0 where there is no object.
        mask: (h, w) float32, coverage.
        box: bounding box of the frame's object, fractions of the picture.
    """

    frame: Frame
    camera: Camera
    color: np.ndarray
    mask: np.ndarray
    box: Window

    @classmethod
    def of(cls, frame: Frame, camera: Camera, size: int, poses: list[Tensor]) -> ImageWindow:
        """The window around the frame's object and the projected poses (V, 3), with a margin, at ``size`` rows."""
        box, boxes = object_box(frame), []
        if frame.rgba[..., 3].max() > 127:
            boxes.append(box)
        for pose in poses:
            pixels = image_fractions(camera, pose)
            low, high = pixels.amin(0).tolist(), pixels.amax(0).tolist()
            boxes.append((low[0], low[1], high[0], high[1]))
        window = window_around(boxes or [box], frame.aspect, VIEW_MARGIN, square=True)
        return cls.through(frame, camera.cropped(window), size)

    @classmethod
    def through(cls, frame: Frame, camera: Camera, size: int) -> ImageWindow:
        """Crop the frame to the camera's window at ``size`` rows."""
        color, mask = (part.numpy() for part in frame.tensors(size, camera.window, background=0.0))
        straight = np.where(mask > 0.05, color / np.maximum(mask, 0.05), 0).clip(0, 1)
        return cls(frame, camera, straight, np.ascontiguousarray(mask[..., 0]), object_box(frame))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def pixel(self) -> np.ndarray:
        """A pixel's width and height in fractions of the picture's, (2,)."""
        x0, y0, x1, y1 = self.camera.window
        return np.array([(x1 - x0) / self.shape[1], (y1 - y0) / self.shape[0]])

    @property
    def extent(self) -> float:
        """The longer side of the frame's object, in pixels of the window."""
        return float(((np.array(self.box[2:]) - np.array(self.box[:2])) / self.pixel).max())

    def fractions(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels (N, 2) of the window, the first centred at (0.5, 0.5), to fractions of the whole picture."""
        return np.asarray(self.camera.window[:2]) + pixels * self.pixel

    def pixels(self, fractions: np.ndarray) -> np.ndarray:
        """The inverse of ``fractions``."""
        return (fractions - np.asarray(self.camera.window[:2])) / self.pixel
