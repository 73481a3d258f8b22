"""The frame of reference of a window: axes, normalised space, and the part of the picture that the network sees.

In the axes of the object (as published) the camera is unknown and the network has to find it. In the axes of the camera
(x right, y up, z towards the camera) the mesh has been rotated as the camera of the reference frame sees it, and the
picture is cropped so that the unit cube about the reference has a fixed size in its middle: displacements across the
view are then displacements in the picture, which a small network can learn. The crop follows the object through the
later frames, or one that walks away would leave the picture; where the crops lie is known to the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.image_window import Window

CUBE = 0.7  # of the picture's side: the unit cube about the reference, at the depth of its centre
CROP_MARGIN = 0.05  # about the object's box, of its longer side, where it is larger than the reference's window
CAMERA_AXES = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # OpenCV's axes to x right, y up, z towards the camera


@dataclass(frozen=True)
class ViewFrame:
    """Similarity from the camera's space to the normalised space, and the crop of the picture.

    Attributes:
        camera: cropped to the square window that the network sees; batch of 1.
        rotation: (3, 3) from the world to the axes of the normalised space.
        centre: (3,) of the reference, in these axes.
        scale: from world units to the normalised space.
    """

    camera: Camera
    rotation: Tensor
    centre: Tensor
    scale: float

    def normalised(self, points: Tensor) -> Tensor:
        """World points (..., 3) in the normalised space."""
        return (points @ self.rotation.T - self.centre) * self.scale

    def eye(self) -> Tensor:
        """Centre of the camera in the normalised space, (3,)."""
        return self.normalised(self.camera.positions()[0])

    def world(self, points: Tensor) -> Tensor:
        """Points (..., 3) of the normalised space in the world; the inverse of ``normalised``."""
        return (points / self.scale + self.centre) @ self.rotation


def view_frame(vertices: Tensor, camera: Camera, camera_axes: bool, cube: float = CUBE) -> ViewFrame:
    """The frame of reference of a reference pose seen by a camera.

    Args:
        vertices: (V, 3) reference pose, world space.
        camera: of the whole picture; batch of 1.
        camera_axes: whether the normalised space has the camera's axes, or the object's.
        cube: side of the unit cube in the window, of the window's side.

    Raises:
        ValueError: the reference has no extent, or its centre is behind the camera.
    """
    extrinsics = camera.extrinsics[0]
    rotation = CAMERA_AXES.to(extrinsics) @ extrinsics[:3, :3] if camera_axes else torch.eye(3).to(extrinsics)
    placed = vertices @ rotation.T
    lower, upper = placed.amin(0), placed.amax(0)
    size = float((upper - lower).max())
    if not size > 0:
        raise ValueError("the reference pose has no extent")
    centre = (lower + upper) / 2
    pixels, depth = camera.project((centre @ rotation)[None], (1, 1))
    if not float(depth[0, 0]) > 0:
        raise ValueError("the centre of the reference pose is behind the camera")
    focal = float(camera.intrinsics((1, 1))[1, 1])
    half = 0.5 * size * focal / float(depth[0, 0]) / cube  # fraction of the picture's height
    x, y = (float(value) for value in pixels[0, 0])
    wide = half / camera.aspect
    return ViewFrame(camera.cropped((x - wide, y - half, x + wide, y + half)), rotation, centre, 1.0 / size)


def following_crops(boxes: Tensor) -> Tensor:
    """Square crops that follow an object through the frames; the first is the reference's window, (0.5, 0.5, 1).

    Args:
        boxes: (T, 4) bounding boxes (x0, y0, x1, y1) of the object, in fractions of the reference's window.

    Returns:
        (T, 3): centre x and y, and side; no side is less than the reference's.
    """
    sides = ((boxes[:, 2:] - boxes[:, :2]).amax(1) * (1 + 2 * CROP_MARGIN)).clamp_min(1.0)
    crops = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, sides[:, None]], 1)
    return torch.cat([crops.new_tensor([[0.5, 0.5, 1.0]]), crops[1:]])


def crop_window(window: Window, crop: Tensor) -> Window:
    """The part of the whole picture that a crop (3,) of the reference's window shows."""
    x0, y0, x1, y1 = window
    x, y, side = (float(value) for value in crop)
    wide, high = x1 - x0, y1 - y0
    left, top = x0 + wide * (x - side / 2), y0 + high * (y - side / 2)
    return (left, top, left + wide * side, top + high * side)
