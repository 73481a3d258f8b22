"""Frames and clips: pictures with a foreground mask and a name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.camera import DEFAULT_FOV, Camera
from v2m4.kernels import kernel
from v2m4.stored_picture import Picture


@dataclass(frozen=True)
class Frame:
    """One picture of the video, background removed.

    Attributes:
        name: file name without suffix, unique in its clip; the names of the files on disk begin with it.
        index: position in the video, from 0.
        picture: (H, W, 4) uint8 sRGB, straight (not premultiplied) alpha; in memory, or read when looked at.
        fov: vertical field of view of the video's camera, radians.
    """

    name: str
    index: int
    picture: np.ndarray | Picture
    fov: float = DEFAULT_FOV

    @property
    def rgba(self) -> np.ndarray:
        """The picture's pixels, (H, W, 4) uint8.

        Raises:
            ValueError: its file is broken.
            OSError: its file cannot be read.
        """
        return self.picture if isinstance(self.picture, np.ndarray) else self.picture.pixels()

    @property
    def aspect(self) -> float:
        """Width / height."""
        return self.picture.shape[1] / self.picture.shape[0]

    def content(self) -> str:
        """Hash of the pixels, for the keys of artefacts."""
        pixels = np.ascontiguousarray(self.rgba)
        return hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:32]

    def camera(self, device: torch.device | str = "cpu") -> Camera:
        """The video's camera: identity extrinsics, with this picture's field of view and aspect."""
        return Camera.identity(self.fov, self.aspect, device)

    def tensors(
        self, size: int, window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0), background: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Resample a window of the picture to ``size`` rows (area average): colour on a plain background, and mask.

        Args:
            size: rows of the result; columns follow from the window's shape (a square window gives a square).
            window: (x0, y0, x1, y1) in fractions of width and height, as in ``Camera.window``; may extend outside.
            background: grey value behind the object.

        Returns:
            colour (h, w, 3) and mask (h, w, 1), float32 in [0, 1].
        """
        height, width = self.rgba.shape[:2]
        x0, y0, x1, y1 = window
        columns = max(1, round(size * (x1 - x0) * width / ((y1 - y0) * height)))
        picture = np.empty(self.rgba.shape, np.float32)
        rgba = np.ascontiguousarray(self.rgba).view()
        rgba.flags.writeable = False  # as those of stored pictures are: one type for the kernel
        _premultiply(rgba, picture)
        # Antialiasing: a Gaussian at the output's scale, then bilinear sampling.
        scale_x, scale_y = (x1 - x0) * width / columns, (y1 - y0) * height / size
        if window == (0.0, 0.0, 1.0, 1.0) and scale_x >= 1 and scale_y >= 1:
            picture = cv2.resize(picture, (columns, size), interpolation=cv2.INTER_AREA)
        else:
            kernel = (max(1, round(scale_x)), max(1, round(scale_y)))
            if kernel != (1, 1):
                picture = cv2.GaussianBlur(
                    picture, (0, 0), sigmaX=max(0.35 * scale_x, 0.1), sigmaY=max(0.35 * scale_y, 0.1)
                )
            matrix = np.array(
                [[scale_x, 0, x0 * width + 0.5 * scale_x - 0.5], [0, scale_y, y0 * height + 0.5 * scale_y - 0.5]]
            )
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            picture = cv2.warpAffine(picture, matrix, (columns, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        mask = torch.from_numpy(np.ascontiguousarray(picture[..., 3:]))
        colour = torch.from_numpy(np.ascontiguousarray(picture[..., :3]))
        return colour + background * (1 - mask), mask


@kernel("Array(uint8, 3, 'C', True), f4[:,:,::1]")
def _premultiply(rgba, out):
    """Values in [0, 1], colours times alpha; in one pass: a quarter of the time that numpy takes."""
    for row in range(rgba.shape[0]):
        for column in range(rgba.shape[1]):
            alpha = np.float32(rgba[row, column, 3]) / np.float32(255)
            for channel in range(3):
                out[row, column, channel] = np.float32(rgba[row, column, channel]) / np.float32(255) * alpha
            out[row, column, 3] = alpha


@dataclass(frozen=True)
class AbsentFrame:
    """A frame between others that does not show the object; its pose is interpolated.

    Attributes:
        name: as that of a frame.
        time: seconds.
    """

    name: str
    time: float


@dataclass(frozen=True)
class Clip:
    """The frames of one animation.

    Attributes:
        name: the animation's name, also its folder in the output.
        frames: those that show the object, in order of time.
        fps: mean rate, frames per second.
        source: hash of the input, part of the keys of all artefacts.
        foreground: description of the segmentation method.
        times: (T,) seconds of the frames, ascending; empty for a uniform rate from 0.
        absent: frames between them that do not show the object.
    """

    name: str
    frames: list[Frame]
    fps: float
    source: str
    foreground: str = "alpha"
    times: tuple[float, ...] = ()
    absent: tuple[AbsentFrame, ...] = ()

    def __post_init__(self) -> None:
        if self.times and len(self.times) != len(self.frames):
            raise ValueError(f"times: {len(self.times)} for {len(self.frames)} frames")

    @property
    def seconds(self) -> np.ndarray:
        """Times of the frames, (T,) float64 seconds."""
        return np.array(self.times) if self.times else np.arange(len(self.frames)) / self.fps

    @property
    def is_uniform(self) -> bool:
        """Whether the intervals between the frames are equal."""
        intervals = np.diff(self.seconds)
        return len(intervals) == 0 or bool(np.ptp(intervals) < 1e-6)

    @property
    def fov(self) -> float:
        """Vertical field of view of the video's camera, radians; all frames have the same."""
        return self.frames[0].fov

    def key_indices(self, skip: int) -> list[int]:
        """Indices of every ``skip``-th frame from the first, and of the last, so that no pose is extrapolated.

        Raises:
            ValueError: ``skip`` is less than 1.
        """
        if skip < 1:
            raise ValueError(f"skip: must be at least 1, got {skip}")
        last = len(self.frames) - 1
        return sorted({*range(0, last + 1, skip), last})
