"""Embed the pictures of a glTF document, and take out of its materials those that cannot be shown."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from v2m4.io._gltf_document import Document
from v2m4.io._gltf_error import GltfError
from v2m4.io._gltf_images import as_png_or_jpeg, decode_image, encode_texture

logger = logging.getLogger(__name__)

# Pictures that textures refer to by an extension, kept as they are: by their first bytes, or those from byte 4 on.
KEPT = {
    b"RIFF": ("image/webp", "EXT_texture_webp"),
    b"\xabKTX": ("image/ktx2", "KHR_texture_basisu"),
    b"DDS ": ("image/vnd-ms.dds", "MSFT_texture_dds"),
    b"ftyp": ("image/avif", "EXT_texture_avif"),
}
TEXTURE_EXTENSIONS = tuple(name for _, name in KEPT.values())


def self_contained(document: Document) -> Document:
    """The document with all images embedded as buffer views; PNG, JPEG and WebP bytes are unchanged.

    Other formats become PNG. A picture that is missing or broken is taken out of the materials, with one warning each;
    a white pixel stands in its place, so that the images' indices stay.
    """
    json, buffers = copy.deepcopy(document.json), list(document.buffers)
    used_by = _users(json)
    unusable = set()
    for index, image in enumerate(json.get("images") or []):
        where = f"{document.path}: image {index}"
        try:
            data = document.image_bytes(index)
            stored, kind = _stored_picture(data, used_by.get(index, set()), where)
        except (GltfError, KeyError) as error:
            reason = error if isinstance(error, GltfError) else f"{where} has no data"
            logger.warning("%s; its textures are left out, and the materials' colours shown", reason)
            unusable.add(index)
            data, (stored, kind) = None, _white_pixel()
        uri = image.pop("uri", None)
        if uri is not None and uri[:5].lower() != "data:":
            image.setdefault("name", Path(unquote(uri).replace("\\", "/")).stem)
        image["mimeType"] = kind
        if stored is not data or "bufferView" not in image:
            views = json.setdefault("bufferViews", [])
            image["bufferView"] = len(views)
            views.append({"buffer": len(buffers), "byteLength": len(stored)})
            json.setdefault("buffers", []).append({"byteLength": len(stored)})
            buffers.append(stored)
    _remove_pictures(json, unusable)
    return Document(document.path, json, buffers)


def _users(json: dict[str, Any]) -> dict[int, set[str]]:
    """For each image the extensions by which textures refer to it; "" for core glTF."""
    users: dict[int, set[str]] = {}
    for texture in json.get("textures") or []:
        if "source" in texture:
            users.setdefault(texture["source"], set()).add("")
        for name, extension in (texture.get("extensions") or {}).items():
            if name in TEXTURE_EXTENSIONS and "source" in extension:
                users.setdefault(extension["source"], set()).add(name)
    return users


def _stored_picture(data: bytes, users: set[str], where: str) -> tuple[bytes, str]:
    """A picture as it is stored, and its MIME type; the same bytes where glTF allows its format.

    Raises:
        GltfError: it cannot be decoded.
    """
    kind, extension = KEPT.get(data[:4], KEPT.get(data[4:8], ("", "")))
    if extension and users == {extension}:
        if extension == "EXT_texture_webp":
            decode_image(data, where)
        return data, kind
    return as_png_or_jpeg(data, where)


def _white_pixel() -> tuple[bytes, str]:
    """The PNG of a white pixel, and its MIME type."""
    import torch

    encoded = encode_texture(torch.from_numpy(np.ones((1, 1, 3), np.float32)))
    return encoded.data, encoded.mime


def _remove_pictures(json: dict[str, Any], images: set[int]) -> None:
    """Remove the references to images from textures, and those to textures without any picture from materials."""
    if not images:
        return
    empty = set()
    for index, texture in enumerate(json.get("textures") or []):
        extensions = texture.get("extensions") or {}
        for name in TEXTURE_EXTENSIONS:
            if extensions.get(name, {}).get("source") in images:
                del extensions[name]
        if "extensions" in texture and not extensions:
            del texture["extensions"]
        if texture.get("source") in images:
            del texture["source"]
        if "source" not in texture and not extensions:
            empty.add(index)
    for material in json.get("materials") or []:
        _remove_textures(material, empty)


def _remove_textures(item: dict[str, Any], textures: set[int]) -> None:
    """Remove the references to textures from a material, those in its extensions included."""
    for key, value in list(item.items()):
        if isinstance(value, dict):
            if key.endswith("Texture") and value.get("index") in textures:
                del item[key]
            else:
                _remove_textures(value, textures)
