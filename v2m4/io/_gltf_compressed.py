"""Decompress the meshes of a glTF document: Draco, by the optional package DracoPy, and meshopt, by our own decoder.

Sources: Khronos, KHR_draco_mesh_compression, EXT_meshopt_compression and KHR_meshopt_compression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from v2m4.io._draco_header import check_draco
from v2m4.io._gltf_document import COMPONENT_CODES, COMPONENTS, Document
from v2m4.io._gltf_error import GltfError
from v2m4.io._gltf_extensions import COMPRESSIONS

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
DRACO_INSTALL = 'pip install "DracoPy>=2,<3"'  # as in requirements/compressed.txt
MAX_STEP = 1 / 1024  # of a primitive's size; files are rounded to 11 bits and more
MAX_BYTES = 1 << 32  # of all decompressed views
MAX_EXPANSION = 1024  # a block of 256 elements takes at least one byte for every four of an element


def decompressed(document: Document) -> Document:
    """The document with its compressed meshes decompressed, and the extensions removed; its JSON is changed in place.

    Raises:
        GltfError: a stream is broken, or a mesh is compressed by Draco and DracoPy is not installed.
    """
    json = document.json
    decompression = _Decompression(document)
    for index, view in enumerate(document.items("bufferViews")):
        extensions = view.get("extensions") or {}
        for name in extensions.keys() & set(MESHOPT):
            decompression.decode_view(index, view, extensions[name])
    # From here on views are read from the decompressed document.
    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            extension = (primitive.get("extensions") or {}).get(DRACO)
            if extension is not None:
                decompression.decode_primitive(primitive, extension)
        decompression.store_positions()
    primitives = [primitive for mesh in document.items("meshes") for primitive in mesh["primitives"]]
    for item in (*document.items("bufferViews"), *document.items("buffers"), *primitives):
        _remove_extensions(item)
    for key in ("extensionsUsed", "extensionsRequired"):
        names = [name for name in json.pop(key, None) or [] if name not in COMPRESSIONS]
        if names:
            json[key] = names
    return decompression.document


class _Decompression:
    """The decompression of one document; every decoded array becomes a buffer of its own."""

    def __init__(self, document: Document) -> None:
        self.document = Document(document.path, document.json, list(document.buffers))
        self._bytes = 0  # of all views decoded so far
        self._positions: list[tuple[dict[str, Any], np.ndarray]] = []  # of one mesh: accessor, (V, 3)

    def decode_view(self, index: int, view: dict[str, Any], extension: dict[str, Any]) -> None:
        """Decode a buffer view compressed by meshopt, in place."""
        from v2m4.io._meshopt import MeshoptError, decode

        path = self.document.path
        stored = self.document.buffers[extension["buffer"]]
        start, length = extension.get("byteOffset", 0), extension["byteLength"]
        if stored is None or start + length > len(stored):
            raise GltfError(f"{path}: buffer view {index}, compressed by meshopt, is cut off")
        count, stride = extension["count"], extension["byteStride"]
        self._bytes += max(count * stride, 0)
        if not 0 <= count * stride <= MAX_EXPANSION * length or self._bytes > MAX_BYTES:
            raise GltfError(f"{path}: buffer view {index} of {count} elements of {stride} bytes, compressed by meshopt")
        data = stored[start : start + length]
        try:
            decoded = decode(data, count, stride, extension["mode"], extension.get("filter", "NONE"))
        except MeshoptError as error:
            raise GltfError(f"{path}: buffer view {index}, compressed by meshopt, is {error}") from error
        view |= {"buffer": self._add(decoded), "byteOffset": 0, "byteLength": len(decoded)}

    def decode_primitive(self, primitive: dict[str, Any], extension: dict[str, Any]) -> None:
        """Decode a primitive compressed by Draco: its accessors get buffer views.

        Without DracoPy, a primitive that is stored uncompressed, too, is left as it is.
        """
        path, accessors = self.document.path, self.document.items("accessors")
        try:
            import DracoPy
        except ImportError as error:
            if "bufferView" in accessors[primitive["attributes"]["POSITION"]]:
                return
            raise GltfError(
                f"{path}: uses Draco compression ({DRACO}); {DRACO_INSTALL}, or export it uncompressed"
            ) from error
        try:
            stream = self.document.view(extension["bufferView"])
            check_draco(stream)
            mesh = DracoPy.decode(stream)
            tables = {name: mesh.get_attribute_by_unique_id(number) for name, number in extension["attributes"].items()}
        except GltfError:
            raise
        except Exception as error:  # DracoPy has errors of its own for each kind of damage
            raise GltfError(f"{path}: a mesh compressed by Draco cannot be decoded ({error})") from error
        for name, table in tables.items():
            if table is None or name not in primitive["attributes"]:
                raise GltfError(f"{path}: a mesh compressed by Draco without its attribute {name}")
            accessor, values = accessors[primitive["attributes"][name]], np.asarray(table["data"])
            if name == "POSITION" and values.dtype.kind == "f":
                self._positions.append((accessor, values.astype(np.float64)))
            else:
                self._store(accessor, values)
        if "indices" in primitive:
            faces = np.asarray(mesh.faces).reshape(-1, 1)
            self._store(accessors[primitive["indices"]], faces)
            primitive["mode"] = 4  # a strip is decoded to triangles

    def store_positions(self) -> None:
        """Store the positions of a mesh's primitives, the seams between them closed."""
        joined = _joined([values for _, values in self._positions])
        for (accessor, _), values in zip(self._positions, joined, strict=True):
            self._store(accessor, values)
        self._positions = []

    def _store(self, accessor: dict[str, Any], values: np.ndarray) -> None:
        """Give an accessor its decoded values (count, width)."""
        kind = np.dtype(COMPONENTS[accessor["componentType"]])
        if kind.kind in "iu" and len(values) and values.max() > np.iinfo(kind).max:
            kind = np.dtype(np.uint32)
        data = np.ascontiguousarray(values.reshape(len(values), -1), kind.newbyteorder("<")).tobytes()
        views = self.document.json.setdefault("bufferViews", [])
        views.append({"buffer": self._add(data), "byteLength": len(data)})
        accessor.pop("byteOffset", None)
        accessor.pop("sparse", None)
        accessor |= {"bufferView": len(views) - 1, "count": len(values), "componentType": COMPONENT_CODES[kind]}

    def _add(self, data: bytes) -> int:
        """Add a buffer; returns its index."""
        self.document.json.setdefault("buffers", []).append({"byteLength": len(data)})
        self.document.buffers.append(data)
        return len(self.document.buffers) - 1


def _joined(tables: list[np.ndarray]) -> list[np.ndarray]:
    """Positions (V, 3) of a mesh's primitives, vertices of different primitives that were one made equal again.

    Draco rounds each primitive to a grid of its own, so that a vertex on a seam differs by up to half a step of each.
    """
    joined = tables[:1]
    for table in tables[1:]:
        others = np.concatenate(joined)
        distance, nearest = cKDTree(others).query(table)
        reach = 0.9 * (_grid_step(table) + max(_grid_step(other) for other in joined))
        joined.append(np.where((distance <= reach)[:, None], others[nearest], table))
    return joined


def _grid_step(positions: np.ndarray) -> float:
    """An estimate of the step of the grid that positions (V, 3) were rounded to, at most MAX_STEP of their size."""
    extent = float(np.ptp(positions, axis=0).max(initial=0)) if len(positions) else 0.0
    steps = np.concatenate([np.diff(np.unique(column)) for column in positions.T])
    steps = steps[steps > 1e-7 * extent]
    return min(float(steps.min(initial=np.inf)), MAX_STEP * extent)


def _remove_extensions(item: dict[str, Any]) -> None:
    """Remove the compression extensions of an item."""
    extensions = item.get("extensions")
    if extensions is None:
        return
    for name in COMPRESSIONS:
        extensions.pop(name, None)
    if not extensions:
        del item["extensions"]
