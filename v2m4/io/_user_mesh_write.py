"""A user's document written again: everything in it kept, except what moves.

Buffer views are copied byte by byte; those that only animations, skins and morph targets needed are left out.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.deformation import SurfaceGradients, turned_normals
from v2m4.io._gltf_container import ARRAY_BUFFER, COMPRESSIONS, Builder, Document, glb_head, resolve_uri
from v2m4.io._gltf_nodes import scene_nodes
from v2m4.io._gltf_quantize import SHORT_MAX, normal_deltas
from v2m4.io._user_mesh_read import Piece, Rows
from v2m4.io._user_mesh_scene import picture_kind

# Extensions that refer to no accessor or buffer view in ways that we do not know; with any other one all are kept.
KNOWN_EXTENSIONS = (
    *("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "KHR_xmp", "VRM"),
    *("KHR_mesh_quantization", "KHR_node_visibility", "KHR_animation_pointer", *COMPRESSIONS),
)
ENDED_EXTENSIONS = {"KHR_animation_pointer", *COMPRESSIONS}  # of what is left out, or is stored plainly now
FINE_ENOUGH = 2e-5  # of the size: rounding of positions to 16 bits that does not show
OTHER_PICTURES = {".webp": "image/webp", ".ktx2": "image/ktx2", ".dds": "image/vnd-ms.dds"}


def self_contained(document: Document) -> Document:
    """The document with the pictures that lie beside it as buffer views, their bytes untouched.

    Raises:
        GltfError: one is not there.
    """
    changed, buffers = copy.deepcopy(document.json), list(document.buffers)
    for image in changed.get("images", []):
        uri = image.get("uri")
        if uri is None or uri.startswith("data:"):
            continue
        data = resolve_uri(uri, document.path)
        del image["uri"]
        image.setdefault("name", Path(uri).stem)
        kind = picture_kind(data) or OTHER_PICTURES.get(Path(uri).suffix.lower())
        if kind is not None:
            image["mimeType"] = kind
        views = changed.setdefault("bufferViews", [])
        image["bufferView"] = len(views)
        views.append({"buffer": len(buffers), "byteLength": len(data)})
        changed.setdefault("buffers", []).append({"byteLength": len(data)})
        buffers.append(data)
    return Document(document.path, changed, buffers)


class Rewriter(Builder):
    """A copy of a document, still and without what moved it, to which new vertices are added.

    The binary buffer goes to a temporary file at once, so that memory does not grow with the number of poses.
    """

    def __init__(self, document: Document, pieces: list[Piece], folder: Path, drop_vertices: bool = False) -> None:
        """Copy the document.

        Args:
            document: the user's.
            pieces: of its scene.
            folder: where the temporary file lies until ``close``.
            drop_vertices: leave out the positions, normals and tangents of the pieces.
        """
        self.json = copy.deepcopy(document.json)
        self._length = 0
        self._known: dict[bytes, int] = {}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # until close
        self.nodes = _make_still(self.json, document, pieces)
        if drop_vertices:
            for piece, node in zip(pieces, self.nodes, strict=True):
                primitives = self.primitives(node)
                for attributes in (
                    primitives[number]["attributes"] for rows in piece.rows for number in rows.primitives
                ):
                    for name in ("POSITION", "NORMAL", "TANGENT"):
                        attributes.pop(name, None)
        self._copy_buffers(document)

    def primitives(self, node: int) -> list[dict[str, Any]]:
        """The primitives of a node's mesh."""
        return self.mesh(node)["primitives"]

    def mesh(self, node: int) -> dict[str, Any]:
        """A node's mesh."""
        return self.json["meshes"][self.json["nodes"][node]["mesh"]]

    def view(self, data: bytes, target: int | None = None, stride: int | None = None) -> int:
        """Append bytes to the buffer, aligned to 4; returns the buffer view's index."""
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": self._append(data), "byteLength": len(data)}
        if stride is not None:
            entry["byteStride"] = stride
        if target is not None:
            entry["target"] = target
        return self.add("bufferViews", entry)

    def vertices(self, values: np.ndarray, bounds: bool = False) -> int:
        """An accessor of vertex attributes (R, C), integers normalised; equal ones are stored once."""
        values = np.ascontiguousarray(values)
        integer = values.dtype.kind == "i"
        if integer:
            self.use_extension("KHR_mesh_quantization", required=True)
        key = hashlib.sha256(f"{values.dtype}{values.shape}{bounds}".encode() + values.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self.accessor(values, ARRAY_BUFFER, bounds, integer)
        return self._known[key]

    def save(self, path: Path) -> None:
        """Write the GLB."""
        with path.open("wb") as file:
            file.write(glb_head({key: value for key, value in self.json.items() if key != "buffers"}, self._length))
            self._file.seek(0)
            shutil.copyfileobj(self._file, file, 1 << 20)
            file.write(b"\0" * (-self._length % 4))

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _append(self, data: bytes) -> int:
        padding = -self._length % 4
        self._file.write(b"\0" * padding + data)
        start = self._length + padding
        self._length = start + len(data)
        return start

    def _copy_buffers(self, document: Document) -> None:
        """The buffer views that are still needed, byte by byte, in one buffer."""
        used = set(self.json.get("extensionsUsed", []))
        everything = any(not name.startswith(KNOWN_EXTENSIONS) for name in used)
        _renumber(self.json, "accessors", list(_accessor_slots(self.json)), everything)
        _renumber(self.json, "bufferViews", list(_view_slots(self.json)), everything)
        places: dict[tuple[int, int, int], int] = {}
        for view in self.json.get("bufferViews", []):
            place = (view["buffer"], view.get("byteOffset", 0), view["byteLength"])
            if place not in places:
                places[place] = self._append(Document(document.path, {"bufferViews": [view]}, document.buffers).view(0))
            view |= {"buffer": 0, "byteOffset": places[place]}
            _drop_extensions(view)
        for name in ("extensionsUsed", "extensionsRequired"):
            kept = [each for each in self.json.pop(name, []) if each not in ENDED_EXTENSIONS]
            if kept:
                self.json[name] = kept


class Follower:
    """The vertices of a piece, at any pose of the working mesh, in the piece's own space."""

    def __init__(self, piece: Piece, rest: np.ndarray) -> None:
        """Prepare for many poses.

        Args:
            piece: of the scene.
            rest: (V, 3) the working mesh's vertices at rest.
        """
        self._piece, self._rest = piece, rest[piece.vertex].astype(np.float64)
        self._inverse = np.linalg.inv(piece.matrix[:3, :3])
        self._gradients = SurfaceGradients(piece.base, piece.faces)
        self._start = piece.rest - piece.base
        # The length of a unit of this space in the world, and the object's size.
        self._unit = float(np.linalg.norm(piece.matrix[:3, :3], 2))
        self._size = float(np.ptp(rest, axis=0).max())

    def moved(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from the stored positions (N, 3), and the deformation gradients less the identity (N, 3, 3).

        Args:
            pose: (V, 3) of the working mesh, in the world.
        """
        offsets = (pose[self._piece.vertex] - self._rest) @ self._inverse.T + self._start
        return offsets, self._gradients.changes(self._piece.base + offsets)

    def stored_offsets(self, offsets: np.ndarray, quantize: bool) -> np.ndarray:
        """Offsets as 16-bit integers where they reach no further than 1 and rounding does not show, else float32."""
        if quantize and 0.5 / SHORT_MAX * self._unit <= FINE_ENOUGH * self._size and np.abs(offsets).max() <= 1:
            return np.round(offsets * SHORT_MAX).astype(np.int16)
        return offsets.astype(np.float32)


def on_rows(rows: Rows, values: np.ndarray) -> np.ndarray:
    """Values (N, ...) of a piece's vertices on the rows of the file; 0 where no face uses the row."""
    return np.concatenate([values, np.zeros_like(values[:1])])[rows.vertex]


def turned(rows: Rows, changes: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Normals and tangents that a set of rows has: as stored, and under deformation gradients, (R, 3) each."""
    found = {}
    gradients = on_rows(rows, changes) if rows.normals is not None or rows.tangents is not None else changes
    if rows.normals is not None:
        found["NORMAL"] = (rows.normals, turned_normals(gradients, rows.normals))
    if rows.tangents is not None:  # stay square to normals, which turn by the cofactors
        moved = rows.tangents + (gradients @ rows.tangents[:, :, None])[..., 0]
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        found["TANGENT"] = (rows.tangents, np.where(length > 1e-12, moved / np.maximum(length, 1e-12), rows.tangents))
    return found


def stored_deltas(rest: np.ndarray, directions: np.ndarray, quantize: bool) -> np.ndarray:
    """Changes of unit directions (R, 3), in small integers where they fit."""
    if quantize and np.abs(rest).max(initial=0) <= 1 + 1e-5:
        return normal_deltas(rest.clip(-1, 1).astype(np.float32), directions.astype(np.float32))
    return (directions - rest).astype(np.float32)


def _make_still(changed: dict[str, Any], document: Document, pieces: list[Piece]) -> list[int]:
    """Take animations, skins and morph targets out of the document; returns the node of each piece.

    A mesh that several nodes show becomes one for each, since each moves on its own.
    """
    changed.pop("animations", None)
    parents = scene_nodes(document)
    nodes, meshes = changed["nodes"], changed["meshes"]
    if not changed.get("scenes"):
        changed["scenes"] = [{"nodes": [index for index, parent in parents.items() if parent is None]}]
        changed["scene"] = 0
    shown = Counter(node["mesh"] for node in nodes if "mesh" in node)
    places = []
    for piece in pieces:
        node, place = nodes[piece.node], piece.node
        index = node["mesh"]
        if shown[index] > 1:
            shown[index] -= 1
            meshes.append(copy.deepcopy(meshes[index]))
            node["mesh"] = len(meshes) - 1
        _without_targets(node, meshes[node["mesh"]])
        if piece.placement is not None:
            place = _placed_in_world(changed, piece, parents[piece.node])
        places.append(place)
    if "skins" in changed and not any("skin" in node for node in nodes):
        del changed["skins"]
    return places


def _without_targets(node: dict[str, Any], mesh: dict[str, Any]) -> None:
    """Take morph targets and skin out of a node and its mesh."""
    for item in (node, mesh):
        item.pop("weights", None)
    if "targetNames" in mesh.get("extras", {}):
        del mesh["extras"]["targetNames"]
    skinned = node.pop("skin", None) is not None
    for primitive in mesh["primitives"]:
        primitive.pop("targets", None)
        _drop_extensions(primitive)
        if skinned:
            for name in [each for each in primitive["attributes"] if each.startswith(("JOINTS_", "WEIGHTS_"))]:
                del primitive["attributes"][name]


def _placed_in_world(changed: dict[str, Any], piece: Piece, parent: int | None) -> int:
    """Put a node that had a skin straight into the scene; returns the node that shows the mesh now."""
    assert piece.placement is not None
    nodes, place = changed["nodes"], piece.node
    scene = changed["scenes"][changed.get("scene", 0)]
    if "children" in nodes[place]:  # they stay where they are
        nodes.append({"name": nodes[place].get("name", "mesh"), "mesh": nodes[place].pop("mesh")})
        place = len(nodes) - 1
    elif parent is not None:
        nodes[parent]["children"].remove(place)
        if not nodes[parent]["children"]:
            del nodes[parent]["children"]
    if place not in scene["nodes"]:
        scene["nodes"].append(place)
    nodes[place].pop("matrix", None)
    for name, value in zip(("translation", "rotation", "scale"), piece.placement, strict=True):
        nodes[place][name] = value.tolist()
    return place


def _drop_extensions(item: dict[str, Any]) -> None:
    """Take compressions out of what is stored plainly beside them."""
    extensions = item.get("extensions", {})
    for name in COMPRESSIONS.keys() & extensions.keys():
        del extensions[name]
    if "extensions" in item and not extensions:
        del item["extensions"]


def _accessor_slots(changed: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the document refers to accessors."""
    for mesh in changed.get("meshes", []):
        for primitive in mesh["primitives"]:
            _drop_extensions(primitive)
            for table in (primitive["attributes"], *primitive.get("targets", [])):
                yield from ((table, name) for name in table)
            if "indices" in primitive:
                yield primitive, "indices"
    for skin in changed.get("skins", []):
        if "inverseBindMatrices" in skin:
            yield skin, "inverseBindMatrices"


def _view_slots(changed: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the document refers to buffer views."""
    for accessor in changed.get("accessors", []):
        sparse = accessor.get("sparse", {})
        yield from ((item, "bufferView") for item in (accessor, *sparse.values()) if _refers(item))
    yield from ((image, "bufferView") for image in changed.get("images", []) if _refers(image))


def _refers(item: Any) -> bool:
    return isinstance(item, dict) and "bufferView" in item


def _renumber(changed: dict[str, Any], kind: str, slots: list[tuple[dict[str, Any], str]], everything: bool) -> None:
    """Leave out the items of a top-level array that nothing refers to."""
    items = changed.get(kind, [])
    if everything or not items:
        return
    needed = sorted({table[name] for table, name in slots})
    number = {old: new for new, old in enumerate(needed)}
    for table, name in slots:
        table[name] = number[table[name]]
    changed[kind] = [items[index] for index in needed]
    if not needed:
        del changed[kind]
