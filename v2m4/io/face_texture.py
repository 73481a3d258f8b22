"""Read a texture with coordinates for each face, as the data of Motion 3-to-4 hold it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def read_face_texture(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ``uv_face_texture.npz``: ``face_uvs``, whose v runs upwards, and ``texture_array``, sRGB in 0..255.

    Returns:
        UVs (F, 3, 2) float32 with row 0 of the texture at v = 0, and the texture (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: the file is malformed.
        OSError: it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            uvs, texture = stored["face_uvs"], stored["texture_array"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: not readable as face_uvs and texture_array ({error})") from error
    if uvs.ndim != 3 or uvs.shape[1:] != (3, 2):
        raise ValueError(f"{file}: face_uvs: expected shape (F, 3, 2), got {uvs.shape}")
    if texture.ndim != 3 or texture.shape[2] not in (3, 4):
        raise ValueError(f"{file}: texture_array: expected shape (H, W, 3) or (H, W, 4), got {texture.shape}")
    upwards = uvs.astype(np.float32)
    downwards = np.stack([upwards[..., 0], 1 - upwards[..., 1]], -1)
    return downwards, np.ascontiguousarray(texture[..., :3], np.float32) / 255
