"""Data in the folder layout of Motion 3-to-4's owners.

A list file names the objects, one a line. For each object there are

* ``pcds/<name>_pointclouds/frame_*.npy``: vertices (V, 3) of each frame; ``faces.npy``: faces (F, 3) of all;
  ``uv_face_texture.npz``: ``face_uvs`` (F, 3, 2), v upwards, and ``texture_array`` (H, W, 3) uint8, row 0 at the top;
* ``all_images/<name>_images/camera_<n>/frame_*.jpg`` or ``.png``: pictures of the frames from each camera.

The cameras are not part of the data, so that the points keep the object's axes. What is missing or damaged is an error
with its path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from motion324.clips import STRIDE_SHARES, STRIDES
from motion324.samples import Sample, SampleConfig, normals_on, surface_points, texels
from v2m4.io.face_texture import read_face_texture
from v2m4.io.picture import read_picture

log = logging.getLogger(__name__)

HELD_OUT_EVERY = 20


class OwnersFolder:
    """Random samples of such a folder.

    Args:
        folder: with ``pcds`` and ``all_images``.
        names: list file; None for every object that has a folder of vertices.
        frames: T of a sample; objects with fewer frames are left out, with a warning.
        held_out: every twentieth object, the first among them, for validation; or the others, to train on.

    Raises:
        FileNotFoundError: there is no object with enough frames.
    """

    def __init__(self, folder: Path, names: Path | None, frames: int, held_out: bool) -> None:
        self.folder, self.frames = folder, frames
        if names is None:
            listed = [path.name.removesuffix("_pointclouds") for path in sorted(folder.glob("pcds/*_pointclouds"))]
        else:
            listed = [line.strip() for line in names.read_text("utf-8").splitlines() if line.strip()]
        self.names = []
        for number, name in enumerate(listed):
            if (number % HELD_OUT_EVERY == 0) != held_out:
                continue
            if self.length(name) >= frames:
                self.names.append(name)
            else:
                log.warning("%s: %s has %d frames, %d are needed; left out", folder, name, self.length(name), frames)
        if not self.names:
            use = "validate" if held_out else "train"
            raise FileNotFoundError(f"{folder}: no object with {frames} frames below pcds and all_images to {use} on")

    def length(self, name: str) -> int:
        """Number of frames with vertices and a picture from every camera."""
        counts = [len(_numbered(camera, ("jpg", "png"))) for camera in self.cameras(name)]
        return min([len(_numbered(self._points(name), ("npy",))), *counts]) if counts else 0

    def cameras(self, name: str) -> list[Path]:
        """Folders of pictures of an object."""
        return sorted((self.folder / "all_images" / f"{name}_images").glob("camera_*"))

    def samples(self, config: SampleConfig, rng: np.random.Generator) -> Iterator[tuple[Sample, str, str]]:
        """Endless random samples, with the object's name and kind; the axes are the object's."""
        while True:
            name = self.names[int(rng.integers(len(self.names)))]
            yield self.sample(name, config, rng), name, "owners"

    def sample(self, name: str, config: SampleConfig, rng: np.random.Generator) -> Sample:
        """A random window of an object from a random camera.

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: a file does not fit the layout.
        """
        chosen = window_indices(self.length(name), self.frames, rng)
        folder, cameras = self._points(name), self.cameras(name)
        camera = cameras[int(rng.integers(len(cameras)))]
        pictures = [_picture(_numbered(camera, ("jpg", "png"))[index], config.size) for index in chosen]
        files = _numbered(folder, ("npy",))
        vertices = torch.from_numpy(
            np.stack([np.load(files[index], allow_pickle=False) for index in chosen]).astype(np.float32)
        )
        faces = torch.from_numpy(np.load(folder / "faces.npy", allow_pickle=False).astype(np.int64))
        if vertices.ndim != 3 or vertices.shape[2] != 3 or faces.ndim != 2 or int(faces.max()) >= vertices.shape[1]:
            raise ValueError(f"{folder}: faces.npy {tuple(faces.shape)} does not fit vertices {tuple(vertices.shape)}")
        uvs, texture = map(torch.from_numpy, read_face_texture(folder / "uv_face_texture.npz"))
        lower, upper = vertices[0].amin(0), vertices[0].amax(0)
        vertices = (vertices - (lower + upper) / 2) / (upper - lower).max().clamp_min(1e-9)
        places, weights = surface_points(vertices[0], faces, config.points, rng)
        points = (vertices[:, faces[places]] * weights[..., None]).sum(-2)
        normals = normals_on(vertices[0], faces, places, weights)
        colors = texels(texture, (uvs[places] * weights[..., None]).sum(1))
        return Sample(
            np.stack(pictures),
            points.to(torch.float16).numpy(),
            normals.to(torch.float16).numpy(),
            (colors * 255).round().to(torch.uint8).numpy(),
            np.tile(np.array([0.5, 0.5, 1.0], np.float32), (self.frames, 1)),
            np.zeros((self.frames - 1, config.points, 0), np.float16),
        )

    def _points(self, name: str) -> Path:
        return self.folder / "pcds" / f"{name}_pointclouds"


def window_indices(length: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (frames,) of a random window of ``length`` frames, at a random stride that fits."""
    spans = (frames - 1) * np.array(STRIDES) + 1
    shares = np.where(spans <= length, STRIDE_SHARES, 0)
    chosen = int(rng.choice(len(STRIDES), p=shares / shares.sum()))
    return int(rng.integers(length - spans[chosen] + 1)) + np.arange(frames) * STRIDES[chosen]


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files ``frame_<number>`` of a folder, by their numbers."""
    found = {}
    for path in folder.glob("frame_*"):
        match = re.fullmatch(r"frame_(\d+)\.(\w+)", path.name)
        if match and match[2] in suffixes:
            found[int(match[1])] = path
    return [found[number] for number in sorted(found)]


def _picture(path: Path, size: int) -> np.ndarray:
    """A square picture (size, size, 4) uint8; without transparency, all of it is covered."""
    picture = read_picture(path)
    if picture.shape[-1] == 3:
        picture = np.concatenate([picture, np.full_like(picture[..., :1], 255)], -1)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
