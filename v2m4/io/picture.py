"""Read picture files as arrays, and resize pictures."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# A picture that declares more is refused before it is decoded: a file of a few kilobytes may declare any size.
MAX_PIXELS = 150_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of what ``check_size`` refuses
BAND = 1 << 22  # pixels that are converted at a time
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
# What Pillow raises for broken files. OSError (UnidentifiedImageError is one), ValueError, SyntaxError and EOFError are
# its readers' own. The others come from the data structures that they fill with what they find: struct.error, TypeError
# and LookupError (TIFF, EXIF, GIF), OverflowError (offsets of a BigTIFF); RuntimeError is the AVIF decoder's, and, as
# NotImplementedError, of kinds of pixels that a reader does not know.
BROKEN = (
    *(OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError),
    *(struct.error, TypeError, LookupError, OverflowError, RuntimeError),
)


@contextmanager
def opened_picture(file: Path, data: bytes | None = None, whole: bool = False) -> Iterator[Image.Image]:
    """Open a picture file with Pillow; errors within the block are reported as the file's.

    Args:
        file: path, for errors; read if ``data`` is None.
        data: the file's contents.
        whole: read the file at once, for callers that decode it: from a file, Pillow reserves memory for chunks of
            any length that they declare.

    Raises:
        ValueError: it cannot be read as a picture, or declares more than MAX_PIXELS.
    """
    heif = file.suffix.lower() in HEIF_SUFFIXES
    if heif and not _heif_is_there():
        raise ValueError(f"{file}: HEIC needs another package: pip install pillow-heif; or save it as PNG or JPEG")
    try:
        data = file.read_bytes() if whole and data is None else data
        with Image.open(file if data is None else io.BytesIO(data)) as picture:
            check_size(picture.width, picture.height)
            yield picture
    except BROKEN as error:
        why = (
            "not a picture, or damaged"
            if isinstance(error, UnidentifiedImageError)
            else str(error) or type(error).__name__
        )
        if isinstance(error, Image.DecompressionBombError):  # at twice as many pixels Pillow does not open it
            why = f"it declares more than the {MAX_PIXELS / 1e6:.0f} million pixels that are read; reduce it"
        raise ValueError(f"{file}: cannot be read as a picture ({why}); replace or remove it") from error


def check_size(width: int, height: int) -> None:
    """Check the size that a picture or video declares, in pixels.

    Raises:
        ValueError: it is larger than MAX_PIXELS.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels are more than the {MAX_PIXELS / 1e6:.0f} million that are read; reduce it"
        )


@cache
def _heif_is_there() -> bool:
    """Register the HEIF reader with Pillow; False where its package is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def read_picture(file: Path, data: bytes | None = None, orientation: int | None = None) -> np.ndarray:
    """Read a picture of any format as (H, W, 3 or 4) uint8 sRGB with straight alpha, its EXIF orientation applied.

    Args:
        file: path, for errors; read if ``data`` is None.
        data: the file's contents.
        orientation: EXIF orientation in place of the file's own.

    Raises:
        ValueError: it cannot be read as a picture.
    """
    with opened_picture(file, data, whole=True) as opened:
        if orientation is not None:
            opened.getexif()[0x0112] = orientation
        ImageOps.exif_transpose(opened, in_place=True)
        return as_array(opened)


def as_array(picture: Image.Image) -> np.ndarray:
    """A Pillow picture of any mode as (H, W, 3 or 4) uint8 sRGB with straight alpha."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return np.repeat(_to_uint8(np.asarray(picture))[..., None], 3, axis=2)
    if picture.mode == "F":
        values = np.asarray(picture)
        scaled = np.nan_to_num(values) * (255 if np.nanmax(values, initial=0) <= 1 else 1)
        return np.repeat(np.clip(np.round(scaled), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    if picture.mode == "La":
        picture = picture.convert("LA")
    mode = "RGBA" if transparent else "RGB"
    pixels = np.empty((picture.height, picture.width, len(mode)), np.uint8)
    rows = max(1, BAND // max(1, picture.width))
    for top in range(0, picture.height, rows):  # Pillow needs several times the memory of what it converts
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        pixels[top : top + rows] = np.asarray(band.convert(mode))
    return pixels


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """16-bit grey values rounded to 8 bits."""
    return ((np.clip(values.astype(np.int64), 0, 65535) * 255 + 32767) // 65535).astype(np.uint8)


def opaque_as_rgb(picture: np.ndarray) -> np.ndarray:
    """The picture (H, W, 4) without its alpha channel where that is opaque everywhere."""
    return picture if picture[..., 3].min() < np.iinfo(picture.dtype).max else picture[..., :3]


def resized(picture: np.ndarray, max_side: int, aspect: float = 1.0) -> np.ndarray:
    """Resample to square pixels and to a longer side of at most ``max_side`` pixels; colours are weighted by alpha.

    Args:
        picture: (H, W, 3 or 4) uint8 or uint16, straight alpha.
        max_side: pixels; 0 for any.
        aspect: width / height of the picture's pixels; where it is not 1, one side is enlarged.
    """
    height, width = picture.shape[:2]
    rows, columns = height / min(aspect, 1), width * max(aspect, 1)
    longer = max(rows, columns)
    if 0 < max_side < longer:
        rows, columns = rows * max_side / longer, columns * max_side / longer
    size = (max(1, round(columns)), max(1, round(rows)))
    if size == (width, height):
        return picture
    shrinks = size[0] <= width and size[1] <= height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if picture.shape[2] == 3:
        return np.asarray(cv2.resize(picture, size, interpolation=interpolation))
    largest = np.iinfo(picture.dtype).max
    weighted = picture.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:] / largest
    small = np.asarray(cv2.resize(weighted, size, interpolation=interpolation), np.float32)
    small[..., :3] /= np.maximum(small[..., 3:], 1) / largest
    return np.clip(np.round(small), 0, largest).astype(picture.dtype)
