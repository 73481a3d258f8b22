"""Encode and decode textures, and pack several into one atlas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.io._texture_picture import JPEG, PNG, decode_picture, is_cmyk, picture_format

ATLAS_PADDING = 4  # texels around each picture of an atlas, copies of its border
MAX_ATLAS_SIDE = 8192


@dataclass(frozen=True)
class EncodedImage:
    """An encoded picture, so that many files share one encoding.

    Attributes:
        data: the file's bytes.
        mime: "image/png" or "image/jpeg".
    """

    data: bytes
    mime: str


def encode_texture(texture: Tensor, kind: Literal["png", "jpeg"] = "png", quality: int = 95) -> EncodedImage:
    """Encode a texture with 8 bits a channel.

    Args:
        texture: (H, W, 3) sRGB in [0, 1].
        kind: png is lossless, jpeg several times smaller.
        quality: JPEG quality, 1 to 100.
    """
    pixels = (texture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if kind == "png":
        # On painted textures run lengths alone give the smallest file and the shortest time of zlib's strategies
        # (chili.glb's at 1024^2: 1.08 MB, 46 ms; the default strategy 1.19 MB, 71 ms, at level 9 1.14 MB, 595 ms).
        suffix = ".png"
        options = [cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    else:
        suffix, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    encoded, data = cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]), options)
    if not encoded:
        raise ValueError(f"encode_texture: cannot encode a picture of shape {tuple(texture.shape)} as {kind}")
    return EncodedImage(data.tobytes(), "image/" + kind)


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Decode a picture of any format that Pillow or OpenCV reads to (H, W, 3) float32 sRGB in [0, 1]; alpha is dropped.

    Args:
        data: the file's bytes.
        where: named in the error.

    Raises:
        GltfError: the bytes are no such picture.
    """
    return decode_picture(data, where)[..., :3].astype(np.float32) / 255.0


def as_png_or_jpeg(data: bytes, where: str) -> tuple[bytes, str]:
    """Return a picture's bytes as PNG or JPEG, the formats of core glTF, and their MIME type.

    PNG and JPEG of grey or RGB are returned unchanged; all else, CMYK included, becomes PNG, with its alpha.

    Args:
        data: a picture of any format that Pillow or OpenCV reads.
        where: named in the error.

    Raises:
        GltfError: the bytes are no such picture.
    """
    kind = {PNG: "image/png", JPEG: "image/jpeg"}.get(picture_format(data) or "")
    if kind is not None and not is_cmyk(data):
        decode_picture(data, where)
        return data, kind
    pixels = decode_picture(data, where)
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))[1].tobytes(), "image/png"


def pack_atlas(pictures: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pack pictures into one atlas by shelves, tallest first, each padded with copies of its border texels.

    Args:
        pictures: (H, W, 3) each.

    Returns:
        The atlas (H, W, 3), and for each picture (4,): x offset, y offset, x scale, y scale that map its texture
        coordinates to those of the atlas.

    Raises:
        ValueError: the atlas would be larger than MAX_ATLAS_SIDE.
    """
    padding = 2 * ATLAS_PADDING
    sizes = [(picture.shape[0] + padding, picture.shape[1] + padding) for picture in pictures]
    area = sum(height * width for height, width in sizes)
    atlas_width = max(*(width for _, width in sizes), int(np.ceil(np.sqrt(area))))
    corners: dict[int, tuple[int, int]] = {}
    x = y = row_height = 0
    for index in sorted(range(len(sizes)), key=lambda each: (-sizes[each][0], each)):
        height, width = sizes[index]
        if x + width > atlas_width:
            x, y, row_height = 0, y + row_height, 0
        corners[index] = (y, x)
        x, row_height = x + width, max(row_height, height)
    atlas_height = y + row_height
    if max(atlas_height, atlas_width) > MAX_ATLAS_SIDE:
        raise ValueError(f"the textures together need {atlas_width} x {atlas_height} texels; reduce them first")
    atlas = np.zeros((atlas_height, atlas_width, 3), np.float32)
    uv_transforms = []
    for index, picture in enumerate(pictures):
        (top, left), (height, width) = corners[index], sizes[index]
        border = ((ATLAS_PADDING, ATLAS_PADDING), (ATLAS_PADDING, ATLAS_PADDING), (0, 0))
        atlas[top : top + height, left : left + width] = np.pad(picture, border, mode="edge")
        offset = np.array([left + ATLAS_PADDING, top + ATLAS_PADDING])
        scale = np.array([picture.shape[1], picture.shape[0]])
        size = np.array([atlas_width, atlas_height])
        uv_transforms.append(np.concatenate([offset / size, scale / size]))
    return atlas, uv_transforms


def smallest_encoding(texture: Tensor, png: EncodedImage | None = None) -> EncodedImage:
    """A texture as PNG or JPEG, whichever is smaller.

    A JPEG of quality 95 is a third of the PNG, 46 dB from it, unless the texture is flat.
    """
    png = encode_texture(texture) if png is None else png
    return min(png, encode_texture(texture, "jpeg"), key=lambda image: len(image.data))
