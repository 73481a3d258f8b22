"""Read back the meshes of a finished animation, and bring meshes of any unit to the renderer's depth range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from v2m4.camera import Camera
from v2m4.export import ANIMATION, FRAME_MESH
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh

FRAMES_IN_MEMORY = 16  # poses of an animation that are read at a time


def read_meshes(folder: Path, names: Sequence[str], pattern: str, device: str) -> Iterator[Mesh]:
    """Read the mesh file of each frame, lazily.

    Raises:
        ValueError: one is missing or broken.
    """
    for name in names:
        file = folder / pattern.format(name)
        if not file.is_file():
            raise ValueError(f"{file}: missing; run main.py again, it makes what is not there")
        yield read_glb(file).to(device)


def final_meshes(
    folder: Path, names: Sequence[str], times: np.ndarray, device: str, origin: Sequence[float] = (0.0, 0.0, 0.0)
) -> Iterator[Mesh]:
    """Read the final mesh of each frame, lazily: from per-frame files, or from a user mesh's animation.

    Raises:
        ValueError: one is missing or broken.
    """
    files = [folder / FRAME_MESH.format(name) for name in names]
    if any(file.is_file() for file in files) or not (folder / ANIMATION).is_file():
        yield from read_meshes(folder, names, FRAME_MESH, device)
        return
    for start in range(0, len(names), FRAMES_IN_MEMORY):
        some = times[start : start + FRAMES_IN_MEMORY]
        sequence = read_animation(folder / ANIMATION, times=some, origin=origin)
        for index in range(len(sequence)):
            yield sequence[index].to(device)


def unit_distance_scale(mesh: Mesh, camera: Camera) -> float:
    """The scale that puts a mesh at a depth of about two units: a user mesh may be in millimetres.

    It is a power of two, so that scaling is exact.
    """
    depth = float(camera.to_camera_space(mesh.vertices)[..., 2].mean())
    return 2.0 ** -round(math.log2(depth / 2)) if depth > 0 else 1.0


def scale_cameras(camera: Camera, scale: float) -> Camera:
    """The cameras for a world scaled about its origin."""
    extrinsics = camera.extrinsics.clone()
    extrinsics[:, :3, 3] *= scale
    return replace(camera, extrinsics=extrinsics)
