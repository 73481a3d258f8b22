"""Textures as glTF stores them: encoded pictures, and several of them packed into one atlas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.io._gltf_container import GltfError

ATLAS_PADDING = 4  # texels around each picture of an atlas, repeated from its border
LARGEST_ATLAS = 8192


@dataclass(frozen=True)
class EncodedImage:
    """A picture ready to be written, so that many files share one encoding.

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
        kind: png keeps every byte, jpeg is several times smaller.
        quality: of the JPEG, 1 to 100.
    """
    pixels = (texture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if kind == "png":
        # On painted textures run lengths alone give the smallest file and the shortest time of zlib's strategies
        # (chili.glb's at 1024^2: 1.08 MB, 46 ms; the default strategy 1.19 MB, 71 ms, at level 9 1.14 MB, 595 ms).
        suffix = ".png"
        options = [cv2.IMWRITE_PNG_COMPRESSION, 4, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    else:
        suffix, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]), options)
    if not done:
        raise ValueError(f"encode_texture: cannot encode a picture of shape {tuple(texture.shape)} as {kind}")
    return EncodedImage(data.tobytes(), "image/" + kind)


def decode_image(data: bytes, where: str) -> np.ndarray:
    """The picture (H, W, 3) float32 sRGB in [0, 1]; transparency is left out.

    Args:
        data: PNG, JPEG or WebP.
        where: named in the error.

    Raises:
        GltfError: the bytes are no such picture.
    """
    # glTF ignores a JPEG's EXIF orientation.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise GltfError(f"{where}: the picture is neither PNG, JPEG nor WebP, or is broken")
    return pixels[..., ::-1].astype(np.float32) / 255.0


def pack_atlas(pictures: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Put pictures on one sheet, in rows, each with a border of its own last texels.

    Args:
        pictures: (H, W, 3) each.

    Returns:
        The sheet (H, W, 3), and for each picture (4,): x offset, y offset, x scale, y scale, which take its own texture
        coordinates to the sheet's.

    Raises:
        ValueError: the sheet would be larger than LARGEST_ATLAS.
    """
    padding = 2 * ATLAS_PADDING
    sizes = [(picture.shape[0] + padding, picture.shape[1] + padding) for picture in pictures]
    area = sum(height * width for height, width in sizes)
    sheet_width = max(*(width for _, width in sizes), int(np.ceil(np.sqrt(area))))
    places: dict[int, tuple[int, int]] = {}
    x = y = row = 0
    for index in sorted(range(len(sizes)), key=lambda each: (-sizes[each][0], each)):
        height, width = sizes[index]
        if x + width > sheet_width:
            x, y, row = 0, y + row, 0
        places[index] = (y, x)
        x, row = x + width, max(row, height)
    sheet_height = y + row
    if max(sheet_height, sheet_width) > LARGEST_ATLAS:
        raise ValueError(f"the textures together need {sheet_width} x {sheet_height} texels; reduce them first")
    sheet = np.zeros((sheet_height, sheet_width, 3), np.float32)
    maps = []
    for index, picture in enumerate(pictures):
        (top, left), (height, width) = places[index], sizes[index]
        border = ((ATLAS_PADDING, ATLAS_PADDING), (ATLAS_PADDING, ATLAS_PADDING), (0, 0))
        sheet[top : top + height, left : left + width] = np.pad(picture, border, mode="edge")
        offset = np.array([left + ATLAS_PADDING, top + ATLAS_PADDING])
        scale = np.array([picture.shape[1], picture.shape[0]])
        size = np.array([sheet_width, sheet_height])
        maps.append(np.concatenate([offset / size, scale / size]))
    return sheet, maps
