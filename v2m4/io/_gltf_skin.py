"""Write skeletons, skins and skeletal animations into glTF documents.

Source: Khronos, glTF 2.0 specification, sections 3.7.3 (skins) and 3.11 (animations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from v2m4.io._gltf_container import ARRAY_BUFFER, GltfBuilder
from v2m4.io._gltf_nodes import local_matrix, trs_of_matrix
from v2m4.skinning.curves import Curve
from v2m4.skinning.skeleton import Binding, Skeleton

WEIGHT_MAX = 65535  # of normalised 16-bit weights: 8 bits would move a point by half a percent of a bone's motion


def add_joints(builder: GltfBuilder, skeleton: Skeleton, names: Sequence[str], origin: np.ndarray) -> list[int]:
    """Add a node for each bone of a skeleton whose rest axes are the world's; returns their indices.

    Args:
        builder: the document.
        skeleton: roots' translations are relative to ``origin``.
        names: of the bones.
        origin: (3,) in the document's world.
    """
    indices = []
    for parent, name, translation in zip(skeleton.parents, names, skeleton.translations, strict=True):
        place = translation + origin if parent < 0 else translation
        indices.append(builder.add("nodes", {"name": name, "translation": place.tolist()}))
    for index, parent in zip(indices, skeleton.parents, strict=True):
        if parent >= 0:
            builder.json["nodes"][indices[parent]].setdefault("children", []).append(index)
    return indices


def bone_names(skeleton: Skeleton) -> list[str]:
    """Names of the bones of a skeleton that was found from motion: root, bone_01, bone_02, ..."""
    return ["root" if parent < 0 else f"bone_{bone:02d}" for bone, parent in enumerate(skeleton.parents)]


def add_skin(builder: GltfBuilder, joints: Sequence[int], inverse_binds: np.ndarray, name: str) -> int:
    """Add a skin; returns its index.

    Args:
        builder: the document.
        joints: (B,) node indices.
        inverse_binds: (B, 4, 4) from mesh space to each joint's space in the rest pose.
        name: of the skin.
    """
    columns = inverse_binds.astype(np.float32).transpose(0, 2, 1).reshape(len(joints), 16)
    skin = {"name": name, "joints": list(joints), "inverseBindMatrices": builder.accessor(columns)}
    return builder.add("skins", skin)


def skin_attributes(builder: GltfBuilder, binding: Binding, rows: np.ndarray) -> dict[str, int]:
    """Add joints and weights of stored vertices; returns the accessors by attribute name.

    Args:
        builder: the document.
        binding: at most four influences each, the largest first.
        rows: (S,) the binding's point of each stored vertex; -1 for one that no face uses.
    """
    weights = np.zeros((len(binding.weights), 4), np.int64)
    joints = np.zeros(weights.shape, np.uint16 if binding.nodes.max(initial=0) > 255 else np.uint8)
    count = binding.weights.shape[1]
    weights[:, :count] = np.round(binding.weights * WEIGHT_MAX)
    weights[:, 0] += WEIGHT_MAX - weights.sum(1)  # they must sum to 1 exactly
    joints[:, :count] = np.where(weights[:, :count] > 0, binding.nodes, 0)  # unused influences name joint 0
    used = np.maximum(rows, 0)
    return {
        "JOINTS_0": builder.accessor(joints[used], ARRAY_BUFFER),
        "WEIGHTS_0": builder.accessor(weights[used].astype(np.uint16), ARRAY_BUFFER, normalized=True),
    }


def skeletal_animation(
    builder: GltfBuilder, curves: Sequence[Curve], nodes: Sequence[int], name: str, end: float
) -> dict[str, Any] | None:
    """An animation of curves' keys, LINEAR; None where no curve is left.

    Args:
        builder: the document, to which the keys are added.
        curves: of a skeleton's nodes.
        nodes: index in the document of each node of the skeleton.
        name: of the animation.
        end: time of the last frame, seconds: the first curve is held until then, so that the clip keeps its length.
    """
    inputs: dict[bytes, int] = {}
    samplers, channels = [], []
    for number, curve in enumerate(curves):
        times, values = curve.times.astype(np.float32), curve.values
        if number == 0 and times[-1] < np.float32(end):
            times, values = np.append(times, np.float32(end)), np.concatenate([values, values[-1:]])
        key = times.tobytes()
        if key not in inputs:
            inputs[key] = builder.accessor(times, bounds=True)
        if curve.path == "rotation":
            values = values / np.linalg.norm(values, axis=1, keepdims=True)
        output = builder.accessor(values.astype(np.float32))
        samplers.append({"input": inputs[key], "interpolation": "LINEAR", "output": output})
        channels.append({"sampler": number, "target": {"node": nodes[curve.node], "path": curve.path}})
    return {"name": name, "samplers": samplers, "channels": channels} if channels else None


def as_components(node: dict[str, Any]) -> None:
    """Replace a node's matrix by translation, rotation and scale, which an animation may change."""
    if "matrix" not in node:
        return
    translation, rotation, scale = trs_of_matrix(local_matrix(node))
    del node["matrix"]
    node |= {"translation": translation.tolist(), "rotation": rotation.tolist(), "scale": scale.tolist()}
