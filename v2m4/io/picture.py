"""Read picture files as arrays, and downsample pictures."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def read_picture(file: Path, data: bytes | None = None) -> np.ndarray:
    """Read a picture of any format as (H, W, 3 or 4) uint8 sRGB with straight alpha, its EXIF orientation applied.

    Args:
        file: path, for errors; read if ``data`` is None.
        data: the file's contents.

    Raises:
        ValueError: it cannot be read as a picture.
    """
    try:
        with Image.open(io.BytesIO(file.read_bytes() if data is None else data)) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I;16") or picture.mode == "I":
                return np.repeat(_to_uint8(np.asarray(picture))[..., None], 3, axis=2)
            transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
            if picture.mode == "La":
                picture = picture.convert("LA")
            return np.array(picture.convert("RGBA" if transparent else "RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: cannot be read as a picture ({error}); replace or remove it") from error


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """16-bit grey values rounded to 8 bits."""
    return ((np.clip(values.astype(np.int64), 0, 65535) * 255 + 32767) // 65535).astype(np.uint8)


def reduced(picture: np.ndarray, max_side: int) -> np.ndarray:
    """Downsample to a longer side of at most ``max_side`` pixels (0: unchanged); alpha-weighted area average."""
    longer = max(picture.shape[:2])
    if max_side <= 0 or longer <= max_side:
        return picture
    size = tuple(max(1, round(side * max_side / longer)) for side in picture.shape[1::-1])
    if picture.shape[2] == 3:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    weighted = picture.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:] / 255
    small = np.asarray(cv2.resize(weighted, size, interpolation=cv2.INTER_AREA), np.float32)
    small[..., :3] /= np.maximum(small[..., 3:], 1) / 255
    return np.clip(np.round(small), 0, 255).astype(np.uint8)
