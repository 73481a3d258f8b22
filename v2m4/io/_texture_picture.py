"""Decode texture pictures of any format that Pillow or OpenCV reads, and name the formats that neither does."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from PIL import Image

from v2m4.io._gltf_container import GltfError
from v2m4.io.picture import BROKEN, as_array, check_size
from v2m4.io.srgb import linear_to_srgb

PNG, JPEG, WEBP = "PNG", "JPEG", "WebP"
SAVE_AS = "save it as PNG or JPEG"
# The first bytes of formats that are met as textures.
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"\xabKTX 20\xbb", "KTX2"),
    (b"\xabKTX 11\xbb", "KTX"),
    (b"DDS ", "DDS"),
    (b"8BPS", "PSD"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF8", "GIF"),
    (b"PVR\x03", "PVR"),
    (b"sB", "Basis Universal"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"gimp xcf", "GIMP's XCF"),
    (b"<svg", "SVG"),
    (b"<?xml", "SVG or other XML"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself (run: git lfs pull)"),
    (b"<!DOCTYPE html", "a web page, not a picture (download it anew)"),
    (b"<html", "a web page, not a picture (download it anew)"),
)
FOR_OPENCV = ("TIFF", "Radiance HDR", "AVIF")  # kinds of these formats are read by OpenCV alone


class _TooLargeError(Exception):
    """A picture that declares more pixels than are read."""


def picture_format(data: bytes) -> str | None:
    """The name of a picture's format by its first bytes; None for an unknown one (TGA has no signature)."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(data[8:12], "HEIF")
    return next((name for signature, name in SIGNATURES if data.startswith(signature)), None)


def decode_picture(data: bytes, where: str) -> np.ndarray:
    """Decode a picture of any format to (H, W, 3 or 4) uint8 sRGB with straight alpha.

    A JPEG's EXIF orientation is ignored, as glTF does; of an animated picture the first frame is taken. Floating-point
    pictures (TIFF, Radiance HDR) are taken as linear and clipped to [0, 1].

    Args:
        data: the file's bytes.
        where: named in the error.

    Raises:
        GltfError: the bytes are no picture, or one of a format that is not read.
    """
    pixels: np.ndarray | None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which does not matter here
            pixels = _decode_with_pillow(data)
    except _TooLargeError as error:
        raise GltfError(f"{where}: {error}") from error
    except BROKEN:
        pixels = _decode_with_opencv(data) if picture_format(data) in FOR_OPENCV else None
    if pixels is None:
        raise GltfError(f"{where}: {_what_is_wrong(data)}")
    return pixels


def is_cmyk(data: bytes) -> bool:
    """Whether a picture has the four channels of print (CMYK), which JPEG files may have."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.mode == "CMYK"
    except BROKEN:
        return False


def _decode_with_pillow(data: bytes) -> np.ndarray:
    """Decode by Pillow; its errors are passed on."""
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise _TooLargeError(f"the picture is too large ({error}); reduce it") from error
    with picture:
        try:
            check_size(picture.width, picture.height)
        except ValueError as error:
            raise _TooLargeError(f"the picture has {error}") from error
        return _to_uint8(np.asarray(picture)) if picture.mode == "F" else as_array(picture)


def _decode_with_opencv(data: bytes) -> np.ndarray | None:
    """Decode by OpenCV, in silence; None where it cannot."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        return None
    pixels = _to_uint8(pixels)
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of any type as (H, W, 3 or 4) uint8; floating-point ones are linear."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if pixels.dtype.kind == "f":
        values = np.nan_to_num(pixels, nan=0.0).clip(0, 1).astype(np.float32)
        values[..., :3] = linear_to_srgb(values[..., :3])
        return (values * 255).round().astype(np.uint8)
    return pixels.astype(np.uint8)


def _what_is_wrong(data: bytes) -> str:
    """Why neither decoder reads a picture, and what to do."""
    name = picture_format(data)
    if not data:
        return f"the picture is empty; {SAVE_AS}"
    if name is None:
        return f"the picture is of no known format, or is broken; {SAVE_AS}"
    if name == "AVIF" and ".avif" not in Image.registered_extensions():
        return f'the picture is AVIF, which this Pillow does not read; pip install "pillow>=11.3", or {SAVE_AS}'
    if name in (PNG, JPEG, WEBP, "BMP", "TIFF", "GIF", "AVIF", "DDS", "PSD", "JPEG 2000", "Radiance HDR"):
        return f"the {name} picture is broken or cut off; {SAVE_AS}"
    return f"the picture is {name}, which is not read; {SAVE_AS}"
