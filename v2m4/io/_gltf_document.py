"""A glTF document in memory: its JSON, its buffers, and the typed arrays and pictures in them.

Source: Khronos, glTF 2.0 specification, section 3.6 (buffers, accessors).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from v2m4.io._gltf_error import GltfError
from v2m4.io.beside import find_beside

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
MAX_ZEROS = 1 << 24  # elements of an accessor without data, all of them 0
TYPE_NAMES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


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
            GltfError: its buffer has no data, or it reaches past the end.
        """
        view = self.items("bufferViews")[index]
        buffer = self.buffers[view["buffer"]]
        if buffer is None:
            raise GltfError(f"{self.path}: buffer {view['buffer']} has no data; export the file again")
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
            stride = view.get("byteStride") or kind.itemsize * width
            start = accessor.get("byteOffset", 0)
            values = self._strided(accessor["bufferView"], start, kind, (count, width), stride)
        elif 0 <= count <= MAX_ZEROS:
            values = np.zeros((count, width), kind)
        else:
            raise GltfError(f"{self.path}: accessor {index} of {count} elements has no data; export the file again")
        if "sparse" in accessor:
            values = self._with_sparse(values, accessor["sparse"])
        if accessor.get("normalized", False) and kind.kind in "iu":
            return np.maximum(values / np.float32(np.iinfo(kind).max), np.float32(-1.0)).astype(np.float32)
        return values

    def _strided(self, view: int, start: int, kind: np.dtype, shape: tuple[int, int], stride: int) -> np.ndarray:
        data = self.view(view)
        count, width = shape
        if count < 0 or start < 0 or stride < 0:
            raise GltfError(f"{self.path}: an accessor of buffer view {view} has a negative count, offset or stride")
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
        """The encoded picture of an image, from a buffer view, a data URI or a file.

        Raises:
            GltfError: there is no such file, or the view is broken.
        """
        image = self.items("images")[index]
        if "bufferView" in image:
            return self.view(image["bufferView"])
        return resolve_uri(image["uri"], self.path)


def resolve_uri(uri: str, path: Path) -> bytes:
    """The bytes behind a URI in the file ``path``: inline data, or a file beside it (see ``find_beside``).

    Raises:
        GltfError: the URI is remote, the data cannot be decoded, or the file is not there.
    """
    if uri[:5].lower() == "data:":
        return _inline_data(uri, path)
    if uri.lower().startswith(("http://", "https://", "ftp://", "blob:")):
        raise GltfError(f"{path}: refers to {uri}; remote files are not fetched, put it beside the .gltf")
    file = find_beside(path.parent, uri.removeprefix("file://"))
    if file is None:
        raise GltfError(f"{path}: refers to {unquote(uri)}, which is not there; put it beside the file")
    return file.read_bytes()


def _inline_data(uri: str, path: Path) -> bytes:
    """The bytes of a data URI, whatever its MIME type."""
    head, comma, body = uri.partition(",")
    if not comma:
        raise GltfError(f"{path}: a data URI is not base64 (it has no comma)")
    raw = unquote_to_bytes(body)
    if not head.lower().rstrip().endswith("base64"):
        return raw
    raw = b"".join(raw.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise GltfError(f"{path}: a data URI is not base64 ({error})") from error
