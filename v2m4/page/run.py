"""What main.py left on disk of one animation, as far as its page shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.export import ANIMATION, CAMERAS, VideoCameras, read_cameras
from v2m4.frame_figures import SIZE, FrameFigures
from v2m4.io.gltf_animation import read_animation
from v2m4.io.picture import read_picture, resized
from v2m4.manifest import read_manifest
from v2m4.mesh import MeshSequence

FRAME_PICTURE = "{}_rmbg.png"
PICTURE_SIDE = 480  # longer side of the frames that the page shows and compares, pixels, at most
PICTURES_IN_MEMORY = 200e6  # bytes of these frames that are kept
POSES_IN_MEMORY = 300e6  # bytes of the poses that are read at a time, in float64


@dataclass(frozen=True)
class Run:
    """The finished run of one animation.

    Attributes:
        folder: of the animation.
        manifest: its ``manifest.json``.
        video: names, times and cameras of all T frames, those included that do not show the object.
    """

    folder: Path
    manifest: dict[str, Any]
    video: VideoCameras
    _pictures: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the manifest and the cameras.

        Raises:
            ValueError: a file is not what this program writes, or the animation is missing.
            OSError: a file is missing or cannot be read.
        """
        if not (folder / ANIMATION).is_file():
            raise ValueError(f"{folder}: no {ANIMATION} in it; let main.py finish first")
        return cls(folder, read_manifest(folder), read_cameras(folder / CAMERAS))

    @property
    def name(self) -> str:
        """Of the animation."""
        return self.folder.resolve().name

    @property
    def names(self) -> list[str]:
        """Of the T frames."""
        return self.video.names

    @property
    def times(self) -> np.ndarray:
        """(T,) float64 seconds of the frames."""
        return self.video.times

    @property
    def key_frame(self) -> str:
        """Name of the first key frame."""
        return next(iter(self.manifest.get("key_frames") or self.names))

    @property
    def is_user_mesh(self) -> bool:
        """Whether the mesh is a user's (``--mesh``)."""
        return (self.manifest.get("config") or {}).get("mesh") is not None

    def picture(self, name: str) -> np.ndarray | None:
        """Picture of a frame, background removed, (H, W, 4) uint8, at most ``PICTURE_SIDE`` pixels; None without one.

        Raises:
            ValueError: the file is damaged.
        """
        if name in self._pictures:
            return self._pictures[name]
        file = self.folder / FRAME_PICTURE.format(name)
        if not file.is_file():  # the frame does not show the object
            return None
        pixels = resized(read_picture(file), PICTURE_SIDE)
        if pixels.shape[2] == 3:
            pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], 2)
        if pixels.nbytes * len(self._pictures) < PICTURES_IN_MEMORY:
            self._pictures[name] = pixels
        return pixels

    def poses(self, indices: np.ndarray | None = None) -> Iterator[MeshSequence]:
        """The poses of frames in order, some at a time, relative to the cameras' origin.

        Args:
            indices: of the frames; None for all.

        Raises:
            ValueError: the animation is broken.
        """
        times = self.times if indices is None else self.times[indices]
        first = self.poses_at(times[:1])
        count = max(1, int(POSES_IN_MEMORY / (24 * first.vertices.shape[1])))
        for start in range(0, len(times), count):
            yield self.poses_at(times[start : start + count])

    def poses_at(self, times: np.ndarray) -> MeshSequence:
        """The poses at some times (N,), relative to the cameras' origin."""
        return read_animation(self.folder / ANIMATION, times=times, origin=self.video.origin)

    def recorded_figures(self) -> FrameFigures | None:
        """PSNR and IoU of all frames as the manifest has them; None where it has none, or of other frames."""
        stored = self.manifest.get("figures") or {}
        if stored.get("size") != SIZE or not set(stored.get("names", ())) <= set(self.names):
            return None
        return FrameFigures(self._recorded(stored, "psnr"), self._recorded(stored, "iou"))

    def _recorded(self, stored: dict[str, Any], kind: str) -> np.ndarray:
        """A figure (T,) of all frames as the manifest has it; NaN for frames that it does not name."""
        values = dict(zip(stored["names"], stored[kind], strict=True))
        return np.array([_number(values.get(name)) for name in self.names])

    def lost_frames(self) -> dict[str, str]:
        """Reasons for which track of the mesh is lost, by frame name."""
        absent = set(self.manifest.get("interpolated") or [])
        shown = [name for name in self.names if name not in absent]  # the manifest counts these alone
        reasons: dict[str, str] = (self.manifest.get("motion") or {}).get("lost") or {}
        return {shown[int(index)]: reason for index, reason in reasons.items() if int(index) < len(shown)}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
