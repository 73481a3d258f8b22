"""True meshes as a folder, the layout of Motion 3-to-4's data: ``pcds/<name>_pointclouds``.

    python -m evaluation.mesh_folder FOLDER FIRST_MESH.glb

writes the first frame with its texture. The folder holds:

- ``frame_0000.npy``, ``frame_0001.npy``, ...: (V, 3) positions, y up;
- ``faces.npy``: (F, 3) indices, the same for all frames;
- ``uv_face_texture.npz``: ``face_uvs`` (F, 3, 2), whose v runs upwards (1 is the picture's top row), and
  ``texture_array`` (H, W, 3 or 4), sRGB in 0..255.

``evaluation.sequences.read_sequence`` reads the positions of all frames.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from evaluation.sequences import FACES, read_sequence
from v2m4.command_line import end_with
from v2m4.io.face_texture import read_face_texture
from v2m4.io.gltf import write_glb
from v2m4.mesh import Mesh
from v2m4.workspace import atomic

log = logging.getLogger("evaluation")

TEXTURE = "uv_face_texture.npz"


def read_first_mesh(folder: Path) -> Mesh:
    """Read the first frame's mesh with its texture.

    Raises:
        FileNotFoundError: the folder has no frames, no faces or no texture.
        ValueError: a file is malformed, or they do not agree with each other.
    """
    for name in (FACES, TEXTURE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; a given mesh needs faces and texture")
    mesh = read_sequence(folder)[0]
    uvs, texture = read_face_texture(folder / TEXTURE)
    if len(uvs) != len(mesh.faces):
        raise ValueError(f"{folder / TEXTURE}: face_uvs of {len(uvs)} faces, but {FACES} has {len(mesh.faces)}")
    corners, uv_faces = np.unique(uvs.reshape(-1, 2), axis=0, return_inverse=True)
    return replace(
        mesh,
        uvs=torch.from_numpy(corners),
        uv_faces=torch.from_numpy(uv_faces.reshape(-1, 3).astype(np.int64)),
        texture=torch.from_numpy(texture),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when the mesh could not be read."""
    folder, output = (Path(argument) for argument in (sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    try:
        mesh = read_first_mesh(folder)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 1
    with atomic(output) as temporary:
        write_glb(temporary, mesh)
    return 0


if __name__ == "__main__":
    end_with(main)
