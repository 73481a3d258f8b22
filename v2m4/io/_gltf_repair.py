"""Mend what is broken in glTF files that viewers show nevertheless; all readers read the mended document.

Mended are: attributes with numbers that are not finite, vertex colours from 0 to 255 or in integers that are not marked
as normalised, and optional attributes that cannot be read. Instances (EXT_mesh_gpu_instancing) become nodes.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from v2m4.io._gltf_document import COMPONENT_CODES, TYPE_NAMES, Document
from v2m4.io._gltf_error import GltfError

logger = logging.getLogger(__name__)

TRIANGLES, TRIANGLE_STRIP, TRIANGLE_FAN = 4, 5, 6
FLOAT = 5126
OPTIONAL = ("NORMAL", "TANGENT", "TEXCOORD_", "COLOR_")  # attributes without which a mesh is still shown
MAX_DROPPED = 0.1  # of a primitive's faces, at vertices that are no finite numbers; one face is always allowed
MAX_INSTANCES = 10_000
BYTE_COLORS = 1.5  # float vertex colours with a larger value are taken as 0 to 255
REPLACEMENTS = {"COLOR": (1, 1, 1, 1), "NORMAL": (0, 0, 1), "TANGENT": (1, 0, 0, 1)}  # of what is not finite
INSTANCING = "EXT_mesh_gpu_instancing"


def repaired(document: Document) -> Document:
    """The document mended, with one warning for each kind of repair; its JSON is changed in place.

    Raises:
        GltfError: too many faces have vertices that are no finite numbers, or instances are malformed.
    """
    repair = _Repair(document)
    repair.expand_instances()
    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            repair.mend_primitive(primitive)
    return repair.document()


def triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Faces (F, 3) of a list of triangles, a strip or a fan."""
    if mode == TRIANGLES:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    count = max(len(indices) - 2, 0)
    if mode == TRIANGLE_FAN:
        return np.stack([indices[1 : count + 1], indices[2 : count + 2], np.repeat(indices[:1], count)], 1)
    faces = np.stack([indices[:count], indices[1 : count + 1], indices[2 : count + 2]], 1)
    faces[1::2] = faces[1::2][:, [0, 2, 1]]  # every second triangle of a strip has the opposite orientation
    return faces


class _Repair:
    """The repairs of one document: new accessors in a buffer of their own, and what to warn of."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._data = bytearray()
        self._mended: dict[tuple[str, int], int] = {}
        self._warned: set[str] = set()

    def document(self) -> Document:
        """The mended document."""
        old = self._document
        if not self._data:
            return old
        old.json.setdefault("buffers", []).append({"byteLength": len(self._data)})
        return Document(old.path, old.json, [*old.buffers, bytes(self._data)])

    def mend_primitive(self, primitive: dict[str, Any]) -> None:
        """Mend the attributes and morph targets of a primitive."""
        attributes = primitive["attributes"]
        if "POSITION" not in attributes:
            return
        count = self._document.items("accessors")[attributes["POSITION"]]["count"]
        for name in [each for each in attributes if each.startswith(OPTIONAL)]:
            if not self._is_readable(attributes[name], count):
                self._warn(f"attribute {name} cannot be read and is left out")
                del attributes[name]
        for table in (attributes, *(primitive.get("targets") or [])):
            for name, index in table.items():
                if name == "POSITION" and table is attributes:
                    self._drop_broken_faces(primitive, index)
                table[name] = self._mended_accessor(name if table is attributes else "target", index)

    def expand_instances(self) -> None:
        """Replace the instances of EXT_mesh_gpu_instancing by child nodes, added behind all others."""
        nodes = self._document.json.get("nodes") or []
        for node in list(nodes):
            instancing = (node.get("extensions") or {}).get(INSTANCING)
            if instancing is None or "mesh" not in node:
                continue
            attributes = instancing.get("attributes") or {}
            paths = {"TRANSLATION": "translation", "ROTATION": "rotation", "SCALE": "scale"}
            tables = {
                path: self._document.accessor(attributes[name]) for name, path in paths.items() if name in attributes
            }
            counts = {len(table) for table in tables.values()}
            if len(counts) != 1 or max(counts) > MAX_INSTANCES:
                raise GltfError(
                    f"{self._document.path}: instances ({INSTANCING}) without one transform each,"
                    f" or more than {MAX_INSTANCES}; export them as nodes"
                )
            mesh = node.pop("mesh")
            node.setdefault("children", []).extend(range(len(nodes), len(nodes) + max(counts)))
            for number in range(max(counts)):
                transform = {path: [float(value) for value in table[number]] for path, table in tables.items()}
                nodes.append({"mesh": mesh, **transform})
            del node["extensions"][INSTANCING]
            if not node["extensions"]:
                del node["extensions"]
            self._warn(f"{max(counts)} instances ({INSTANCING}) become nodes")
        for name in ("extensionsUsed", "extensionsRequired"):
            if INSTANCING in (self._document.json.get(name) or []):
                self._document.json[name].remove(INSTANCING)
                if not self._document.json[name]:
                    del self._document.json[name]

    def _is_readable(self, index: int, count: int) -> bool:
        """Whether an accessor can be read and has ``count`` values."""
        try:
            return len(self._document.accessor(index)) == count
        except (GltfError, KeyError, IndexError, TypeError, ValueError, AttributeError):
            return False

    def _mended_accessor(self, name: str, index: int) -> int:
        """The index of the accessor, or of a mended copy of it."""
        entry = self._document.items("accessors")[index]
        key = (name.partition("_")[0], index)
        if key not in self._mended:
            self._mended[key] = index
            integer_color = key[0] == "COLOR" and entry["componentType"] != FLOAT and not entry.get("normalized")
            if entry["componentType"] == FLOAT or integer_color:
                stored = self._document.accessor(index)
                values = self._mended_values(name, stored)
                if values is not stored:
                    self._mended[key] = self._add(values, bounds=name in ("POSITION", "target"))
        return self._mended[key]

    def _mended_values(self, name: str, stored: np.ndarray) -> np.ndarray:
        """The values of an attribute mended, or the same array."""
        values = stored
        finite = np.isfinite(values).all(1)
        if not finite.all():
            if name != "POSITION":
                self._warn(f"{name} has numbers that are not finite, at {(~finite).sum()} of {len(values)} vertices")
            replacement = {"COLOR": (1, 1, 1, 1), "NORMAL": (0, 0, 1), "TANGENT": (1, 0, 0, 1)}.get(
                name.partition("_")[0]
            )
            filled = np.where(np.isfinite(values), values, 0)
            if replacement is not None:
                filled[~finite] = np.array(replacement[: values.shape[1]], values.dtype)
            elif name == "POSITION" and finite.any():  # of no face, but it must not widen the bounding box
                filled[~finite] = values[finite][0]
            values = filled.astype(stored.dtype)
        if name.startswith("COLOR_"):
            return self._mended_colors(values)
        return values

    def _mended_colors(self, values: np.ndarray) -> np.ndarray:
        """Vertex colours in [0, 1], where they are from 0 to 255 or integers without the mark of normalisation."""
        largest = float(values.max(initial=0))
        if values.dtype.kind in "iu":
            self._warn("vertex colours in integers that are not normalised; they are taken as if they were")
            unit = np.iinfo(values.dtype).max if largest > 1 else 1
            return (values / np.float32(unit)).astype(np.float32)
        if BYTE_COLORS < largest <= 255:
            self._warn("vertex colours above 1 are taken as 0 to 255")
            scaled = values / np.float32(255)
            if values.shape[1] == 4 and values[:, 3].max() <= 1:
                scaled[:, 3] = values[:, 3]
            return scaled
        return values

    def _drop_broken_faces(self, primitive: dict[str, Any], index: int) -> None:
        """Leave out the faces of a primitive with a vertex that is no finite number or is not there."""
        mode = primitive.get("mode", TRIANGLES)
        if mode < TRIANGLES:
            return
        broken = ~np.isfinite(self._document.accessor(index)).all(1)
        indices = np.arange(len(broken))
        if "indices" in primitive:
            indices = self._document.accessor(primitive["indices"])[:, 0].astype(np.int64)
        outside = len(indices) and indices.max() >= len(broken)
        if not (outside or broken.any()):
            return
        faces = triangles(indices, mode)
        dropped = np.append(broken, True)[np.minimum(faces, len(broken))].any(1)
        if not dropped.any():
            return
        what = f"an index that is out of range ({indices.max()})" if outside else "vertices that are no finite numbers"
        if dropped.all() or dropped.sum() > max(1, MAX_DROPPED * len(faces)):
            raise GltfError(f"{self._document.path}: {dropped.sum()} of {len(faces)} faces have {what}")
        self._warn(f"{dropped.sum()} of {len(faces)} faces have {what}; they are left out")
        primitive["indices"] = self._add(faces[~dropped].reshape(-1, 1).astype(np.uint32))
        primitive["mode"] = TRIANGLES

    def _add(self, values: np.ndarray, bounds: bool = False) -> int:
        """Add an accessor (count, width) of its own; returns its index."""
        json = self._document.json
        self._data.extend(b"\0" * (-len(self._data) % 4))
        view = {"buffer": len(self._document.buffers), "byteOffset": len(self._data), "byteLength": values.nbytes}
        self._data.extend(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        json.setdefault("bufferViews", []).append(view)
        entry: dict[str, Any] = {
            "bufferView": len(json["bufferViews"]) - 1,
            "componentType": COMPONENT_CODES[values.dtype],
            "count": len(values),
            "type": TYPE_NAMES[values.shape[1]],
        }
        if bounds:
            entry["min"], entry["max"] = values.min(0).tolist(), values.max(0).tolist()
        json["accessors"].append(entry)
        return len(json["accessors"]) - 1

    def _warn(self, what: str) -> None:
        """Log a warning once."""
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s: %s", self._document.path, what)
