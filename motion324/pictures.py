"""The network's pictures from the frames of a video: the object on black, in one square crop for the whole video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from motion324.config import MotionConfig
from v2m4.frame import Frame
from v2m4.image_window import Window, object_box, window_around

BACKGROUND = 0.0  # black
OPAQUE = 127  # alpha above which a pixel belongs to the object


def video_window(frames: Sequence[Frame]) -> Window:
    """The smallest square that contains the object in every frame, fractions of the picture.

    Raises:
        ValueError: no frame shows the object, or the pictures' shapes differ.
    """
    if len({frame.rgba.shape for frame in frames}) > 1:
        raise ValueError("video_window: the frames' pictures differ in size")
    boxes = [object_box(frame) for frame in frames if frame.rgba[..., 3].max() > OPAQUE]
    if not boxes:
        raise ValueError("video_window: no frame shows the object; its foreground mask is empty")
    return window_around(boxes, frames[0].aspect, margin=0.0, square=True)


def video_pictures(frames: Sequence[Frame], config: MotionConfig) -> Tensor:
    """Crops of all frames, (T, 3, size, size) sRGB in [0, 1].

    As the owners prepare a video: background black, one crop about the object's boxes of all frames, brought to
    ``config.crop_size``, then to ``config.image_size`` by bilinear interpolation.

    Raises:
        ValueError: see ``video_window``.
    """
    window, size = video_window(frames), (config.image_size, config.image_size)
    pictures = []
    for frame in frames:
        color, _ = frame.tensors(config.crop_size, window, background=BACKGROUND)
        picture = color.permute(2, 0, 1)[None]
        if picture.shape[-2:] != size:
            picture = interpolate(picture, size, mode="bilinear", align_corners=False)
        pictures.append(picture)
    return torch.cat(pictures)
