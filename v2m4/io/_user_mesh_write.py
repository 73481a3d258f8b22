"""Write a user's glTF document again with new morph targets or positions; everything else is kept.

Buffer views are copied byte by byte; those that only animations, skins and morph targets used are left out.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.io._gltf_container import ARRAY_BUFFER, Document, GltfBuilder, glb_header
from v2m4.io._gltf_extensions import COMPRESSIONS
from v2m4.io._gltf_nodes import scene_nodes
from v2m4.io._gltf_tidy import add_view_targets
from v2m4.io._user_mesh_read import MeshNode

logger = logging.getLogger(__name__)

# Extensions known to hold no index of an accessor or buffer view. With any other extension none is renumbered.
KNOWN_EXTENSIONS = (
    *("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "KHR_xmp", "VRM"),
    *("EXT_lights_", "EXT_materials_", "MSFT_lod", "FB_ngon_encoding", "ADOBE_materials_", "KHR_node_"),
    *("KHR_mesh_quantization", "KHR_animation_pointer", *COMPRESSIONS),
)
DROPPED_EXTENSIONS = {"KHR_animation_pointer", *COMPRESSIONS}  # their content is removed, or stored uncompressed


class DocumentEditor(GltfBuilder):
    """A copy of a document without animations, skins and morph targets, to which vertex attributes are added.

    The binary buffer is written to a temporary file at once, so that memory does not grow with the number of poses.

    Attributes:
        nodes: for each ``MeshNode`` the index of the node that has its mesh in the copy.
    """

    def __init__(
        self,
        document: Document,
        mesh_nodes: list[MeshNode],
        folder: Path,
        drop_vertices: bool = False,
        keep_animation: bool = False,
    ) -> None:
        """Copy the document.

        Args:
            document: the user's document.
            mesh_nodes: the nodes with a mesh of its scene.
            folder: folder of the temporary file, which exists until ``close``.
            drop_vertices: leave out positions, normals and tangents of the mesh nodes.
            keep_animation: keep animations, skins and morph targets.
        """
        self.json = copy.deepcopy(document.json)
        self._length = 0
        self._stored_attributes: dict[bytes, int] = {}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # until close
        if keep_animation:
            self.nodes = [mesh_node.node_index for mesh_node in mesh_nodes]
            if _remove_pointer_channels(self.json):
                logger.warning("%s: animations of KHR_animation_pointer are left out", document.path)
        else:
            self.nodes = _remove_animation(self.json, document, mesh_nodes)
        if drop_vertices:
            for mesh_node, node in zip(mesh_nodes, self.nodes, strict=True):
                primitives = self.primitives(node)
                for attributes in (
                    primitives[number]["attributes"] for buffer in mesh_node.buffers for number in buffer.primitives
                ):
                    for name in ("POSITION", "NORMAL", "TANGENT"):
                        attributes.pop(name, None)
        self._copy_buffers(document, keep_animation)

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
        """Add vertex attributes (R, C), integers normalised, equal arrays once; returns the accessor's index."""
        values = np.ascontiguousarray(values)
        integer = values.dtype.kind == "i"
        if integer:
            self.use_extension("KHR_mesh_quantization", required=True)
        key = hashlib.sha256(f"{values.dtype}{values.shape}{bounds}".encode() + values.tobytes()).digest()
        if key not in self._stored_attributes:
            self._stored_attributes[key] = self.accessor(values, ARRAY_BUFFER, bounds, integer)
        return self._stored_attributes[key]

    def bind_to_skin(self, node: int, skin: int) -> None:
        """Give a node's mesh to a new root of the scene with a skin; a skinned mesh ignores its node's transform."""
        nodes, scene = self.json["nodes"], self.json["scenes"][self.json.get("scene", 0)]
        name = nodes[node].get("name", "mesh")
        new = self.add("nodes", {"name": name, "mesh": nodes[node].pop("mesh"), "skin": skin})
        scene.setdefault("nodes", []).append(new)

    def save(self, path: Path) -> None:
        """Write the GLB."""
        with path.open("wb") as file:
            file.write(glb_header({key: value for key, value in self.json.items() if key != "buffers"}, self._length))
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

    def _copy_buffers(self, document: Document, keep_all: bool) -> None:
        """Copy the buffer views still in use (or all), byte by byte, into one buffer."""
        used = set(self.json.get("extensionsUsed", []))
        keep_all = keep_all or any(not name.startswith(KNOWN_EXTENSIONS) for name in used)
        _renumber(self.json, "accessors", list(_accessor_slots(self.json)), keep_all)
        add_view_targets(self.json)
        _renumber(self.json, "bufferViews", list(_view_slots(self.json)), keep_all)
        offsets: dict[tuple[int, int, int], int] = {}
        for view in self.json.get("bufferViews", []):
            span = (view["buffer"], view.get("byteOffset", 0), view["byteLength"])
            if span not in offsets:
                offsets[span] = self._append(Document(document.path, {"bufferViews": [view]}, document.buffers).view(0))
            view |= {"buffer": 0, "byteOffset": offsets[span]}
            _drop_extensions(view)
        for name in ("extensionsUsed", "extensionsRequired"):
            kept = [each for each in self.json.pop(name, []) if each not in DROPPED_EXTENSIONS]
            if kept:
                self.json[name] = kept


def _remove_animation(json: dict[str, Any], document: Document, mesh_nodes: list[MeshNode]) -> list[int]:
    """Remove animations, skins and morph targets from the document; returns the index of each mesh node.

    A mesh that several nodes share is copied for each of them, since each is deformed on its own.
    """
    json.pop("animations", None)
    parents = scene_nodes(document)
    nodes, meshes = json["nodes"], json["meshes"]
    if not json.get("scenes"):
        json["scenes"] = [{"nodes": [index for index, parent in parents.items() if parent is None]}]
        json["scene"] = 0
    uses = Counter(node["mesh"] for node in nodes if "mesh" in node)
    node_indices = []
    for mesh_node in mesh_nodes:
        node, node_index = nodes[mesh_node.node_index], mesh_node.node_index
        index = node["mesh"]
        if uses[index] > 1:
            uses[index] -= 1
            meshes.append(copy.deepcopy(meshes[index]))
            node["mesh"] = len(meshes) - 1
        _remove_targets_and_skin(node, meshes[node["mesh"]])
        if mesh_node.placement is not None:
            node_index = _move_to_scene_root(json, mesh_node, parents[mesh_node.node_index])
        node_indices.append(node_index)
    if "skins" in json and not any("skin" in node for node in nodes):
        del json["skins"]
    _remove_expression_targets(json)
    return node_indices


def _remove_pointer_channels(json: dict[str, Any]) -> bool:
    """Remove the channels of KHR_animation_pointer, and animations without any other; returns whether any were."""
    animations = json.pop("animations", [])
    found = False
    for animation in animations:
        kept = [each for each in animation["channels"] if each["target"]["path"] != "pointer"]
        found |= len(kept) < len(animation["channels"])
        animation["channels"] = kept
    if any(animation["channels"] for animation in animations):
        json["animations"] = [animation for animation in animations if animation["channels"]]
    return found


def _remove_expression_targets(json: dict[str, Any]) -> None:
    """Remove the references of an avatar's expressions (VRM 0 and 1) to morph targets, which are replaced."""
    extensions = json.get("extensions") or {}
    for group in (extensions.get("VRM", {}).get("blendShapeMaster") or {}).get("blendShapeGroups") or []:
        if group.get("binds"):
            group["binds"] = []
    expressions = extensions.get("VRMC_vrm", {}).get("expressions") or {}
    for expression in (each for kind in ("preset", "custom") for each in (expressions.get(kind) or {}).values()):
        if expression.get("morphTargetBinds"):
            expression["morphTargetBinds"] = []


def _remove_targets_and_skin(node: dict[str, Any], mesh: dict[str, Any]) -> None:
    """Remove morph targets and skin from a node and its mesh."""
    for item in (node, mesh):
        item.pop("weights", None)
    if isinstance(mesh.get("extras"), dict):
        mesh["extras"].pop("targetNames", None)
    skinned = node.pop("skin", None) is not None
    for primitive in mesh["primitives"]:
        primitive.pop("targets", None)
        _drop_extensions(primitive)
        if skinned:
            for name in [each for each in primitive["attributes"] if each.startswith(("JOINTS_", "WEIGHTS_"))]:
                del primitive["attributes"][name]


def _move_to_scene_root(json: dict[str, Any], mesh_node: MeshNode, parent: int | None) -> int:
    """Make a node that had a skin a root of the scene; returns the index of the node that has the mesh now."""
    assert mesh_node.placement is not None
    nodes, node_index = json["nodes"], mesh_node.node_index
    scene = json["scenes"][json.get("scene", 0)]
    if "children" in nodes[node_index]:  # children keep their parent's transform, so the mesh gets a node of its own
        nodes.append({"name": nodes[node_index].get("name", "mesh"), "mesh": nodes[node_index].pop("mesh")})
        node_index = len(nodes) - 1
    elif parent is not None:
        nodes[parent]["children"].remove(node_index)
        if not nodes[parent]["children"]:
            del nodes[parent]["children"]
    if node_index not in scene["nodes"]:
        scene["nodes"].append(node_index)
    nodes[node_index].pop("matrix", None)
    for name, value in zip(("translation", "rotation", "scale"), mesh_node.placement, strict=True):
        nodes[node_index][name] = value.tolist()
    return node_index


def _drop_extensions(item: dict[str, Any]) -> None:
    """Remove compression extensions of data that is stored uncompressed, too."""
    extensions = item.get("extensions", {})
    for name in COMPRESSIONS.keys() & extensions.keys():
        del extensions[name]
    if "extensions" in item and not extensions:
        del item["extensions"]


def _accessor_slots(json: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every (table, key) of the document whose value is the index of an accessor."""
    for mesh in json.get("meshes", []):
        for primitive in mesh["primitives"]:
            _drop_extensions(primitive)
            for table in (primitive["attributes"], *primitive.get("targets", [])):
                yield from ((table, name) for name in table)
            if "indices" in primitive:
                yield primitive, "indices"
    for skin in json.get("skins", []):
        if "inverseBindMatrices" in skin:
            yield skin, "inverseBindMatrices"


def _view_slots(json: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every (table, key) of the document whose value is the index of a buffer view."""
    for accessor in json.get("accessors", []):
        sparse = accessor.get("sparse", {})
        yield from ((item, "bufferView") for item in (accessor, *sparse.values()) if _has_buffer_view(item))
    yield from ((image, "bufferView") for image in json.get("images", []) if _has_buffer_view(image))


def _has_buffer_view(item: Any) -> bool:
    return isinstance(item, dict) and "bufferView" in item


def _renumber(json: dict[str, Any], kind: str, slots: list[tuple[dict[str, Any], str]], keep_all: bool) -> None:
    """Remove unreferenced items of a top-level array and renumber the references to it."""
    items = json.get(kind, [])
    if keep_all or not items:
        return
    needed = sorted({table[name] for table, name in slots})
    number = {old: new for new, old in enumerate(needed)}
    for table, name in slots:
        table[name] = number[table[name]]
    json[kind] = [items[index] for index in needed]
    if not needed:
        del json[kind]
