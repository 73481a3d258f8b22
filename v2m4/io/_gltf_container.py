"""The glTF 2.0 container: a JSON document and buffers of typed arrays, read from .glb and .gltf, written as .glb.

Source: Khronos, glTF 2.0 specification, sections 3.6 (buffers, accessors) and 4 (GLB).
"""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.io._gltf_bytes import BINARY_CHUNK, JSON_CHUNK, MAGIC, split_file
from v2m4.io._gltf_compressed import decompressed
from v2m4.io._gltf_document import COMPONENT_CODES, COMPONENTS, TYPE_NAMES, WIDTHS, Document, resolve_uri
from v2m4.io._gltf_error import GltfError, broken_as_gltf_error
from v2m4.io._gltf_extensions import check_extensions
from v2m4.io._gltf_material import add_base_colors
from v2m4.io._gltf_repair import repaired
from v2m4.io._gltf_tidy import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, tidy

__all__ = [
    "ARRAY_BUFFER",
    "COMPONENTS",
    "COMPONENT_CODES",
    "ELEMENT_ARRAY_BUFFER",
    "WIDTHS",
    "Document",
    "GltfBuilder",
    "GltfError",
    "broken_as_gltf_error",
    "glb_header",
    "load_document",
    "resolve_uri",
]

logger = logging.getLogger(__name__)


def load_document(path: Path) -> Document:
    """Read a .glb or .gltf file as viewers do, with a warning on what is not as it should be.

    Raises:
        GltfError: the file is no glTF 2.0, is cut off, or requires an extension that we do not read.
        OSError: the file cannot be read.
    """
    with broken_as_gltf_error(path):
        json, binary = split_file(path.read_bytes(), path)
        check_extensions(json, path)
        tidy(json, path)
        add_base_colors(json)
        return repaired(decompressed(Document(path, json, _read_buffers(json, binary, path))))


def _read_buffers(json: dict[str, Any], binary: bytes | None, path: Path) -> list[bytes | None]:
    """The bytes of the document's buffers; None for one that has no data."""
    buffers: list[bytes | None] = []
    for number, entry in enumerate(json.get("buffers") or []):
        if entry.get("uri") is not None:
            buffers.append(resolve_uri(entry["uri"], path))
        else:
            buffers.append(binary if number == 0 else None)
        data = buffers[-1]
        if data is not None and len(data) < entry.get("byteLength", 0):
            logger.warning("%s: buffer %d has %d of %d bytes", path, number, len(data), entry["byteLength"])
    return buffers


class GltfBuilder:
    """Build a glTF document and its binary buffer; the same calls give the same bytes."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0", "generator": "v2m4"}}
        self._parts: list[bytes] = []  # of the buffer: one that grows would be copied again and again
        self._length = 0

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append to a top-level array ("nodes", "meshes", ...); returns the item's index."""
        entries = self.json.setdefault(kind, [])
        entries.append(item)
        return len(entries) - 1

    def use_extension(self, name: str, required: bool) -> None:
        """Declare an extension."""
        for key in ("extensionsUsed", "extensionsRequired") if required else ("extensionsUsed",):
            names = self.json.setdefault(key, [])
            if name not in names:
                names.append(name)

    def view(self, data: bytes, target: int | None = None, stride: int | None = None) -> int:
        """Append bytes to the buffer, aligned to 4; returns the buffer view's index."""
        self._put(b"\0" * (-self._length % 4))
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)}
        if stride is not None:
            view["byteStride"] = stride
        if target is not None:
            view["target"] = target
        self._put(data)
        return self.add("bufferViews", view)

    def accessor(
        self, values: np.ndarray, target: int | None = None, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Append an array as an accessor in a buffer view of its own.

        Args:
            values: (count,) or (count, width), of a dtype in COMPONENTS.
            target: ARRAY_BUFFER for vertex attributes (rows are then padded to 4 bytes), ELEMENT_ARRAY_BUFFER for
                indices, None for anything else.
            bounds: write min and max of the stored numbers.
            normalized: integers encode values in [-1, 1] or [0, 1].

        Returns:
            The accessor's index.
        """
        table = values.reshape(len(values), -1)
        width, row = table.shape[1], table.shape[1] * table.dtype.itemsize
        stride = None
        data = np.ascontiguousarray(table.astype(table.dtype.newbyteorder("<")))
        if target == ARRAY_BUFFER:
            stride = row + -row % 4
            padded = np.zeros((len(table), stride), np.uint8)
            padded[:, :row] = data.view(np.uint8).reshape(len(table), row)
            data = padded
        entry: dict[str, Any] = {
            "bufferView": self.view(data.tobytes(), target, stride if stride != row else None),
            "componentType": COMPONENT_CODES[table.dtype],
            "count": len(table),
            "type": TYPE_NAMES[width],
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            entry["min"], entry["max"] = table.min(0).tolist(), table.max(0).tolist()
        return self.add("accessors", entry)

    def document(self, path: Path) -> Document:
        """The document built so far, as if read from ``path``."""
        return Document(path, self.json | {"buffers": [{"byteLength": self._length}]}, [b"".join(self._parts)])

    def write(self, path: Path) -> None:
        """Write the GLB file.

        Raises:
            OSError: the file cannot be written.
        """
        with path.open("wb") as stream:  # the buffer is large, and is not copied
            stream.write(glb_header(self.json, self._length))
            stream.writelines(self._parts)
            stream.write(b"\0" * (-self._length % 4))

    def tobytes(self) -> bytes:
        """The GLB file's contents."""
        return b"".join([glb_header(self.json, self._length), *self._parts, b"\0" * (-self._length % 4)])


def glb_header(document: dict[str, Any], length: int) -> bytes:
    """Header and JSON chunk of a GLB, and the header of its binary chunk (data padded with zeros to 4 bytes).

    Args:
        document: the JSON document without its buffers.
        length: of the binary buffer, bytes.

    Raises:
        ValueError: the file would be larger than a GLB can be.
    """
    if length:
        document = document | {"buffers": [{"byteLength": length}]}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 4)
    padded = length + -length % 4
    whole = 20 + len(text) + (8 + padded if length else 0)
    if whole >= 2**32:
        raise ValueError(f"{whole / 2**30:.1f} GiB are more than a GLB can hold (4); take fewer frames or vertices")
    head = struct.pack("<III", MAGIC, 2, whole) + struct.pack("<II", len(text), JSON_CHUNK) + text
    return head + (struct.pack("<II", padded, BINARY_CHUNK) if length else b"")
