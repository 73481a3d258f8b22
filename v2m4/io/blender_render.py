"""Render the result of an animation with Blender, from the video's own camera, as pictures and a video."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imageio.v3 as iio
import numpy as np
import torch

from v2m4.camera import OPENCV_TO_OPENGL, picture_shape
from v2m4.export import ANIMATION, CAMERAS, VideoCameras, read_cameras
from v2m4.io.blender_install import INSTALL, find_blender
from v2m4.io.blender_process import SCRIPTS, TIMEOUT, blender_command, run_blender
from v2m4.io.picture_folder import write_pictures
from v2m4.io.video import write_video

SCRIPT = SCRIPTS / "_blender_render_script.py"
SAMPLES = 16  # per pixel, of Cycles
SECONDS_PER_FRAME = 300.0  # after which a render counts as failed
SUFFIX = "_blender"
EngineName = Literal["workbench", "cycles"]


@dataclass(frozen=True)
class BlenderRenderer:
    """How Blender renders.

    Attributes:
        path: Blender's executable or its folder, or a Python with bpy or its environment's folder.
        engine: workbench shows the colours of the textures alone; cycles is path tracing in even white light.
        size: longer side of the pictures, pixels.
    """

    path: Path
    engine: EngineName
    size: int

    def render(self, folder: Path, images: str, masks: str, video: str) -> tuple[int, list[str]]:
        """Render all frames of an animation on white, and their pixel coverage.

        Args:
            folder: the animation's folder, as ``main.py`` wrote it.
            images: name of the folder of pictures, to which SUFFIX is added.
            masks: name of the folder of masks, likewise.
            video: name of the video without its suffix, likewise.

        Returns:
            The number of frames, and the names of what was written.

        Raises:
            ValueError: the animation or its cameras are missing or broken.
            FileNotFoundError: there is no Blender at ``path``.
            RuntimeError: Blender failed.
        """
        animation = folder / ANIMATION
        if not (folder / CAMERAS).is_file():
            raise ValueError(f"{folder}: no {CAMERAS} in it; let main.py finish first")
        cameras = read_cameras(folder / CAMERAS)
        if not animation.is_file():
            raise ValueError(f"{animation}: missing; run main.py again, it makes what is not there")
        with tempfile.TemporaryDirectory() as name:
            outputs = [Path(name) / f"{index:06d}.png" for index in range(len(cameras.names))]
            request = self._request(animation, cameras) | {"outputs": [str(path) for path in outputs]}
            file = Path(name) / "request.json"
            file.write_text(json.dumps(request), "utf-8")
            run_blender(
                [*blender_command(self.path, SCRIPT), str(file)],
                {f"the picture of frame {frame!r}": path for frame, path in zip(cameras.names, outputs, strict=True)},
                TIMEOUT + SECONDS_PER_FRAME * len(outputs),
            )
            rendered = {frame: iio.imread(path) for frame, path in zip(cameras.names, outputs, strict=True)}
        pictures = {frame: on_white(picture) for frame, picture in rendered.items()}
        files = [write_pictures(folder / f"{images}{SUFFIX}", pictures), f"{video}{SUFFIX}.mp4"]
        write_pictures(folder / f"{masks}{SUFFIX}", {frame: picture[..., 3] for frame, picture in rendered.items()})
        write_video(folder / files[1], pictures.values(), cameras.fps, cameras.variable_times)
        return len(pictures), files

    def _request(self, animation: Path, video: VideoCameras) -> dict[str, object]:
        """The arguments of the script, without the paths of the pictures."""
        aspect = video.cameras.aspect
        poses = torch.linalg.inv(video.cameras.extrinsics.double()) @ OPENCV_TO_OPENGL.double()
        return {
            "glb": str(animation.resolve()),
            "fps": video.fps,
            "seconds": video.times.tolist(),
            "poses": poses.tolist(),
            "origin": list(video.origin),
            "fov": float(video.cameras.fov),
            "size": list(picture_shape(aspect, self.size))[::-1],
            "engine": self.engine,
            "samples": SAMPLES,
        }


def blender_renderer(path: Path | None, engine: EngineName, size: int) -> BlenderRenderer:
    """The renderer with Blender at a path, or where it is found.

    Raises:
        FileNotFoundError: there is none; one line with what to do.
    """
    if path is None:
        found = find_blender()
        if found is None:
            raise FileNotFoundError(f"--renderer blender: no Blender found; give --blender_path, or run {INSTALL}")
        path = found.path
    blender_command(path, SCRIPT)
    return BlenderRenderer(path, engine, size)


def on_white(picture: np.ndarray) -> np.ndarray:
    """An RGBA picture (H, W, 4) uint8 over white, (H, W, 3) uint8."""
    alpha = picture[..., 3:].astype(np.float64) / 255
    return np.round(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
