"""Textures of every format that people bring: decoded alike, and stored as PNG or JPEG."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, features

from v2m4.io._gltf_images import as_png_or_jpeg, decode_image
from v2m4.io._texture_picture import decode_picture, picture_format
from v2m4.io.srgb import srgb_to_linear

HEIGHT, WIDTH = 6, 10
PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PIXELS[:3, :5], PIXELS[:3, 5:] = (200, 40, 10), (20, 180, 60)
PIXELS[3:, :5], PIXELS[3:, 5:] = (10, 30, 220), (250, 240, 5)
ALPHA = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None], HEIGHT, 0)


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(PIXELS)
    if "A" in mode:
        picture.putalpha(Image.fromarray(ALPHA))
    picture = picture.quantize(16, dither=Image.Dither.NONE) if mode == "P" else picture.convert(mode)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def linear_floats() -> np.ndarray:
    return srgb_to_linear(PIXELS[..., ::-1].astype(np.float32) / 255)


EXACT: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved("PNG"),
    "palette": lambda: saved("PNG", "P"),
    "png with alpha": lambda: saved("PNG", "RGBA"),
    "png of 16 bits": lambda: encoded(".png", PIXELS[..., ::-1].astype(np.uint16) * 257),
    "tga": lambda: saved("TGA"),
    "tga by run lengths": lambda: saved("TGA", "RGBA", compression="tga_rle"),
    "bmp": lambda: saved("BMP"),
    "tiff": lambda: saved("TIFF", compression="tiff_lzw"),
    "tiff of 16 bits": lambda: encoded(".tiff", PIXELS[..., ::-1].astype(np.uint16) * 257),
    "tiff of floats": lambda: encoded(".tiff", linear_floats()),
    "webp": lambda: saved("WEBP", lossless=True),
    "gif": lambda: saved("GIF", "P"),
    "dds": lambda: saved("DDS", "RGBA"),
}
LOSSY: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG", quality=100, subsampling=0),
    "cmyk jpeg": lambda: saved("JPEG", "CMYK", quality=100, subsampling=0),
    "avif": lambda: saved("AVIF", quality=100, subsampling="4:4:4"),
    "hdr": lambda: encoded(".hdr", linear_floats()),
}


@pytest.mark.parametrize("kind", [*EXACT, *LOSSY])
def test_any_format_is_decoded_and_stored_as_png_or_jpeg(kind: str) -> None:
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data, tolerance = (EXACT | LOSSY)[kind](), 0.5 if kind in EXACT else 12
    decoded = decode_image(data, "here")
    assert decoded.dtype == np.float32
    assert np.abs(decoded * 255 - PIXELS).max() <= tolerance
    assert np.abs(decode_picture(data, "here")[..., :3].astype(int) - PIXELS).max() <= tolerance
    stored, mime = as_png_or_jpeg(data, "here")
    assert mime == f"image/{picture_format(stored).lower()}"
    assert (stored == data) == (kind.split(maxsplit=1)[0] in ("png", "palette", "jpeg"))
    assert np.abs(decode_image(stored, "here") * 255 - PIXELS).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pictures_have_three_channels(mode: str) -> None:
    expected = np.asarray(Image.fromarray(PIXELS).convert("1" if mode == "1" else "L").convert("RGB"))
    assert np.array_equal(decode_image(saved("PNG", mode), "here") * 255, expected)


def test_grey_of_16_bits_is_scaled() -> None:
    levels = np.linspace(0, 65535, 60).reshape(HEIGHT, WIDTH).astype(np.uint16)
    for suffix in (".png", ".tiff"):
        decoded = decode_picture(encoded(suffix, levels), "here")
        assert decoded.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(decoded[..., 0] * 257.0 - levels).max() <= 129


@pytest.mark.parametrize("kind", ["TGA", "TIFF", "WEBP", "PNG"])
def test_alpha_is_kept(kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    stored, _ = as_png_or_jpeg(saved(kind, "RGBA", **options), "here")
    assert np.array_equal(decode_picture(stored, "here"), np.dstack([PIXELS, ALPHA]))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"no picture at all" * 9, "no known format"),
        (b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80), "KTX2, which is not read; save it as PNG"),
        (b"v/1\x01" + bytes(80), "OpenEXR, which is not read"),
        (b"\0\0\0\x1cftypheic" + bytes(80), "HEIF, which is not read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (saved("PNG")[:30], "PNG picture is broken or cut off"),
        (saved("JPEG")[:30], "JPEG picture is broken or cut off"),
        (saved("WEBP")[:30], "WebP picture is broken or cut off"),
        (saved("TIFF")[:30], "TIFF picture is broken or cut off"),
    ],
)
def test_what_is_no_picture_is_said_in_one_line(data: bytes, says: str) -> None:
    for function in (decode_image, decode_picture, as_png_or_jpeg):
        with pytest.raises(ValueError, match=says) as error:
            function(data, "here")
        assert str(error.value).startswith("here: ") and "\n" not in str(error.value)
