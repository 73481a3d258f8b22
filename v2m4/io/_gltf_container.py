"""The glTF 2.0 container: a JSON document and buffers of typed arrays, read from .glb and .gltf, written as .glb.

Source: Khronos, glTF 2.0 specification, sections 3.6 (buffers, accessors) and 4 (GLB).
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
COMPONENTS: dict[int, type[np.generic]] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
COMPONENT_CODES = {np.dtype(kind): code for code, kind in COMPONENTS.items()}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
TYPE_NAMES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

# Extensions that a file may require: they are read, or change neither shape nor base colour.
READABLE_EXTENSIONS = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp", "KHR_lights_punctual"}
COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}


class GltfError(ValueError):
    """A file that cannot be read as glTF; the message names the file and what is wrong with it."""


@contextmanager
def broken_as_gltf_error(path: Path) -> Iterator[None]:
    """Turn the errors that a malformed document causes in our code into one GltfError that names the file."""
    try:
        yield
    except GltfError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise GltfError(f"{path}: broken glTF ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class Document:
    """A glTF file in memory.

    Attributes:
        path: the file; external files are relative to its folder.
        json: the JSON document.
        buffers: one per entry of ``json["buffers"]``; None where the file leaves out a fallback buffer.
    """

    path: Path
    json: dict[str, Any]
    buffers: list[bytes | None]

    def items(self, kind: str) -> list[dict[str, Any]]:
        """The top-level array ``kind`` ("nodes", "meshes", ...), empty where the document has none."""
        return self.json.get(kind, [])

    def view(self, index: int) -> bytes:
        """The bytes of a buffer view.

        Raises:
            GltfError: the view is compressed or reaches past the end of its buffer.
        """
        view = self.items("bufferViews")[index]
        buffer = self.buffers[view["buffer"]]
        compressed = COMPRESSIONS.keys() & view.get("extensions", {}).keys()
        if buffer is None:
            reason = f" ({COMPRESSIONS[min(compressed)]} compression)" if compressed else ""
            raise GltfError(f"{self.path}: buffer {view['buffer']} has no data{reason}; export it uncompressed")
        start = view.get("byteOffset", 0)
        end = start + view["byteLength"]
        if end > len(buffer):
            raise GltfError(f"{self.path}: buffer view {index} ends at byte {end} of {len(buffer)}; it is cut off")
        return buffer[start:end]

    def accessor(self, index: int) -> np.ndarray:
        """The values (count, width) of an accessor; normalised integers are decoded to float32 in [-1, 1]."""
        accessor = self.items("accessors")[index]
        kind = np.dtype(COMPONENTS[accessor["componentType"]])
        width, count = WIDTHS[accessor["type"]], accessor["count"]
        if "bufferView" in accessor:
            view = self.items("bufferViews")[accessor["bufferView"]]
            stride = view.get("byteStride", kind.itemsize * width)
            start = accessor.get("byteOffset", 0)
            values = self._strided(accessor["bufferView"], start, kind, (count, width), stride)
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:
            values = self._with_sparse(values, accessor["sparse"])
        if accessor.get("normalized", False) and kind.kind in "iu":
            return np.maximum(values / np.float32(np.iinfo(kind).max), np.float32(-1.0)).astype(np.float32)
        return values

    def _strided(self, view: int, start: int, kind: np.dtype, shape: tuple[int, int], stride: int) -> np.ndarray:
        data = self.view(view)
        count, width = shape
        if count and start + (count - 1) * stride + width * kind.itemsize > len(data):
            raise GltfError(f"{self.path}: an accessor reaches past the end of buffer view {view}")
        if count == 0:
            return np.zeros(shape, kind)
        return np.ndarray(shape, kind.newbyteorder("<"), data, start, (stride, kind.itemsize)).astype(kind)

    def _with_sparse(self, values: np.ndarray, sparse: dict[str, Any]) -> np.ndarray:
        """The values with those of a sparse accessor substituted."""
        count, indices, stored = sparse["count"], sparse["indices"], sparse["values"]
        kind = np.dtype(COMPONENTS[indices["componentType"]])
        rows = self._strided(indices["bufferView"], indices.get("byteOffset", 0), kind, (count, 1), kind.itemsize)[:, 0]
        stride = values.shape[1] * values.dtype.itemsize
        result = values.copy()
        result[rows] = self._strided(
            stored["bufferView"], stored.get("byteOffset", 0), values.dtype, (count, values.shape[1]), stride
        )
        return result

    def image_bytes(self, index: int) -> bytes:
        """The encoded picture (PNG, JPEG, WebP) of an image, from a buffer view, a data URI or a file."""
        image = self.items("images")[index]
        if "bufferView" in image:
            return self.view(image["bufferView"])
        return resolve_uri(image["uri"], self.path)


def resolve_uri(uri: str, path: Path) -> bytes:
    """The bytes behind a URI in the file ``path``: inline base64 data, or a file beside it.

    Raises:
        GltfError: the URI is remote, the data is not base64, or the file is not there.
    """
    if uri.startswith("data:"):
        try:
            return base64.b64decode(uri.split(",", 1)[1], validate=True)
        except (IndexError, binascii.Error) as error:
            raise GltfError(f"{path}: a data URI is not base64 ({error})") from error
    if "://" in uri:
        raise GltfError(f"{path}: refers to {uri}; remote files are not fetched, put it beside the .gltf")
    file = path.parent / unquote(uri)
    if not file.is_file():
        raise GltfError(f"{path}: refers to {unquote(uri)}, which is not there")
    return file.read_bytes()


def load_document(path: Path) -> Document:
    """Read a .glb or .gltf file.

    Raises:
        GltfError: the file is no glTF 2.0, is cut off, or requires an extension that we do not read.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    binary: bytes | None = None
    if data[:4] == b"glTF":
        text, binary = _glb_chunks(data, path)
    else:
        text = data
    try:
        document = json.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise GltfError(f"{path}: not a glTF file ({error})") from error
    if not isinstance(document, dict) or not str(document.get("asset", {}).get("version", "")).startswith("2"):
        raise GltfError(f"{path}: not a glTF 2.0 file")
    _check_extensions(document, path)
    buffers: list[bytes | None] = []
    for entry in document.get("buffers", []):
        if "uri" in entry:
            buffers.append(resolve_uri(entry["uri"], path))
        else:
            buffers.append(binary if not buffers else None)
    return Document(path, document, buffers)


def _glb_chunks(data: bytes, path: Path) -> tuple[bytes, bytes | None]:
    """The JSON chunk and, if there is one, the binary chunk of a GLB."""
    if len(data) < 20:
        raise GltfError(f"{path}: the GLB is cut off after {len(data)} bytes")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2 or length > len(data):
        raise GltfError(f"{path}: GLB version {version}, {len(data)} of {length} bytes; expected a whole GLB 2 file")
    chunks: dict[int, bytes] = {}
    offset = 12
    while offset + 8 <= length:
        size, kind = struct.unpack_from("<II", data, offset)
        if offset + 8 + size > length:
            raise GltfError(f"{path}: a GLB chunk of {size} bytes reaches past the end of the file")
        chunks.setdefault(kind, data[offset + 8 : offset + 8 + size])
        offset += 8 + size + (-size) % 4
    if JSON_CHUNK not in chunks:
        raise GltfError(f"{path}: the GLB has no JSON chunk")
    return chunks[JSON_CHUNK], chunks.get(BINARY_CHUNK)


def _check_extensions(document: dict[str, Any], path: Path) -> None:
    for name in document.get("extensionsRequired", []):
        if name in COMPRESSIONS:
            raise GltfError(f"{path}: uses {COMPRESSIONS[name]} compression ({name}); export it uncompressed")
        if name not in READABLE_EXTENSIONS and not name.startswith("KHR_materials_"):
            raise GltfError(f"{path}: requires the glTF extension {name}, which is not supported")


class GltfBuilder:
    """Build a glTF document and its binary buffer; the same calls give the same bytes."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0", "generator": "v2m4"}}
        self._binary = bytearray()

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
        self._binary.extend(b"\0" * (-len(self._binary) % 4))
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        if stride is not None:
            view["byteStride"] = stride
        if target is not None:
            view["target"] = target
        self._binary.extend(data)
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
        return Document(path, self.json | {"buffers": [{"byteLength": len(self._binary)}]}, [bytes(self._binary)])

    def tobytes(self) -> bytes:
        """The GLB file."""
        binary = bytes(self._binary)
        return glb_header(self.json, len(binary)) + binary + b"\0" * (-len(binary) % 4)


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
