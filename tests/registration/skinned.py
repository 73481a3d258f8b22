"""Poses of a skinned glTF model, just enough of the format for the fox."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import Document, load_document
from v2m4.io._gltf_nodes import local_matrix


def posed(document: Document, animation: str, time: float) -> list[dict]:
    """The document's nodes at a moment of an animation (linear keys; rotations normalised)."""
    nodes = copy.deepcopy(document.items("nodes"))
    (clip,) = [item for item in document.items("animations") if item["name"] == animation]
    for channel in clip["channels"]:
        sampler = clip["samplers"][channel["sampler"]]
        times = document.accessor(sampler["input"])[:, 0]
        values = document.accessor(sampler["output"]).astype(np.float64)
        later = int(np.clip(np.searchsorted(times, time), 1, len(times) - 1))
        share = np.clip((time - times[later - 1]) / (times[later] - times[later - 1]), 0, 1)
        first, second = values[later - 1], values[later]
        if channel["target"]["path"] == "rotation":
            second = second * np.sign(first @ second)
        value = (1 - share) * first + share * second
        if channel["target"]["path"] == "rotation":
            value /= np.linalg.norm(value)
        nodes[channel["target"]["node"]][channel["target"]["path"]] = value.tolist()
    return nodes


def skinned_vertices(path: Path, animation: str, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) of the first skinned primitive at a moment, and its triangles (F, 3)."""
    document = load_document(path)
    document = replace(document, json=document.json | {"nodes": posed(document, animation, time)})
    nodes = document.items("nodes")
    world: dict[int, np.ndarray] = {}
    pending = [(root, np.eye(4)) for root in document.items("scenes")[0]["nodes"]]
    while pending:
        index, parent = pending.pop()
        world[index] = parent @ local_matrix(nodes[index])
        pending += [(child, world[index]) for child in nodes[index].get("children", [])]
    (node,) = [node for node in nodes if "skin" in node]
    skin, primitive = document.items("skins")[node["skin"]], document.items("meshes")[node["mesh"]]["primitives"][0]
    attributes = {name: document.accessor(index) for name, index in primitive["attributes"].items()}
    inverse = document.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    joints = np.stack([world[joint] @ bind for joint, bind in zip(skin["joints"], inverse, strict=True)])
    rest = np.concatenate([attributes["POSITION"], np.ones((len(attributes["POSITION"]), 1))], 1)
    blended = np.einsum("vj,vjab->vab", attributes["WEIGHTS_0"], joints[attributes["JOINTS_0"].astype(int)])
    vertices = np.einsum("vab,vb->va", blended, rest)[:, :3]
    faces = document.accessor(primitive["indices"]) if "indices" in primitive else np.arange(len(vertices))
    return vertices, np.asarray(faces).reshape(-1, 3).astype(np.int64)
