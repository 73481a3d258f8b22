"""Mend the tables of a glTF document: empty ones, scenes and weights that do not fit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


def tidy(json: dict[str, Any], path: Path) -> None:
    """Mend a document in place.

    Tables that are empty or null are removed. A scene number out of range means the first scene. A root of a scene that
    is listed twice, or that is the child of another node, too, is listed once. Morph targets get as many weights as
    there are targets.

    Args:
        json: the document.
        path: named in warnings.
    """
    for key in [key for key, value in json.items() if value is None or value == []]:
        del json[key]
    nodes, scenes = json.get("nodes", []), json.get("scenes", [])
    if scenes and not 0 <= json.get("scene", 0) < len(scenes):
        logger.warning("%s: scene %d of %d; the first is read", path, json["scene"], len(scenes))
        json["scene"] = 0
    for node in nodes:
        if node.get("children") in ([], None):
            node.pop("children", None)
    children = {child for node in nodes for child in node.get("children", [])}
    for scene in scenes:
        roots = list(dict.fromkeys(scene.get("nodes") or []))
        scene["nodes"] = [root for root in roots if root not in children] or roots
    for item in (*json.get("meshes", []), *nodes):
        if "weights" in item:
            _fit_weights(item, json)


def target_count(mesh: dict[str, Any]) -> int:
    """The number of morph targets of a mesh: the largest of its primitives, which should all have as many."""
    return max((len(primitive.get("targets") or []) for primitive in mesh["primitives"]), default=0)


def _fit_weights(item: dict[str, Any], json: dict[str, Any]) -> None:
    """Give a mesh, or a node with one, as many weights as its mesh has morph targets."""
    mesh = item if "primitives" in item else json["meshes"][item["mesh"]] if "mesh" in item else {"primitives": []}
    count = target_count(mesh)
    item["weights"] = [*(item["weights"] or []), *[0.0] * count][:count]
    if not count:
        del item["weights"]


def add_view_targets(json: dict[str, Any]) -> None:
    """Say of the buffer views of vertex attributes and of indices what they are for, where the file does not."""
    uses: dict[int, set[int]] = {}
    views, accessors = json.get("bufferViews", []), json.get("accessors", [])

    def use(accessor: int, target: int) -> None:
        if "bufferView" in accessors[accessor]:
            uses.setdefault(accessors[accessor]["bufferView"], set()).add(target)

    for mesh in json.get("meshes", []):
        for primitive in mesh["primitives"]:
            for table in (primitive["attributes"], *(primitive.get("targets") or [])):
                for accessor in table.values():
                    use(accessor, ARRAY_BUFFER)
            if "indices" in primitive:
                use(primitive["indices"], ELEMENT_ARRAY_BUFFER)
    for skin in json.get("skins", []):
        if "inverseBindMatrices" in skin:
            use(skin["inverseBindMatrices"], 0)
    for view, targets in uses.items():
        if len(targets) == 1 and 0 not in targets:
            views[view].setdefault("target", min(targets))
