"""The node tree of a glTF scene and its matrices, static or at T times at once.

Source: Khronos, glTF 2.0 specification, section 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.rotation import matrix_from_quaternion, quaternion_from_matrix

IDENTITY = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}


def scene_nodes(document: Document) -> dict[int, int | None]:
    """The nodes of the default scene, depth first, each with its parent (None for a root).

    Without scenes, all nodes are the scene.

    Raises:
        GltfError: a node is its own ancestor or has two parents.
    """
    nodes, scenes = document.items("nodes"), document.items("scenes")
    if scenes:
        return _subtree(document, scenes[document.json.get("scene", 0)].get("nodes", []))
    children = {child for node in nodes for child in node.get("children", [])}
    roots = [index for index in range(len(nodes)) if index not in children]
    if nodes and not roots:
        raise GltfError(f"{document.path}: every node has a parent; the nodes are no tree")
    return _subtree(document, roots)


def all_nodes(document: Document) -> dict[int, int | None]:
    """The nodes of the default scene, then those outside of it, which skins may name, each with its parent.

    Raises:
        GltfError: a node is its own ancestor or has two parents.
    """
    nodes, parents = document.items("nodes"), scene_nodes(document)
    children = {child for node in nodes for child in node.get("children", [])}
    others = [index for index in range(len(nodes)) if index not in children and index not in parents]
    outside = {index: parent for index, parent in _subtree(document, others).items() if index not in parents}
    return parents | outside


def _subtree(document: Document, roots: list[int]) -> dict[int, int | None]:
    """The nodes below ``roots``, depth first, each with its parent."""
    nodes = document.items("nodes")
    parents: dict[int, int | None] = {}
    pending: list[tuple[int, int | None]] = [(index, None) for index in reversed(roots)]
    while pending:
        index, parent = pending.pop()
        if index in parents:
            raise GltfError(f"{document.path}: node {index} is reached twice; the nodes are no tree")
        if not 0 <= index < len(nodes):
            raise GltfError(f"{document.path}: node {index} of {len(nodes)}")
        parents[index] = parent
        pending += [(child, index) for child in reversed(nodes[index].get("children", []))]
    return parents


def world_matrices(parents: Mapping[int, int | None], local: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Node-to-world matrices of all nodes.

    Args:
        parents: parent of each node, a parent before its children (``scene_nodes``).
        local: (4, 4) node to parent, or (T, 4, 4) where a node is animated.

    Returns:
        (4, 4), or (T, 4, 4) for a node that is animated or has an animated ancestor.
    """
    world: dict[int, np.ndarray] = {}
    for index, parent in parents.items():
        world[index] = local[index] if parent is None else world[parent] @ local[index]
    return world


def local_matrix(node: dict[str, Any]) -> np.ndarray:
    """A node's (4, 4) float64 matrix to its parent's space, from ``matrix`` or translation, rotation and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    return trs_matrix(*(np.array(node.get(name, default), dtype=np.float64) for name, default in IDENTITY.items()))


def trs_of_matrix(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translation, rotation (unit quaternion) and scale of a node's (4, 4) matrix; shear is left out.

    The inverse of ``trs_matrix``, for nodes with a matrix that are animated nevertheless.
    """
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    if np.linalg.det(matrix[:3, :3]) < 0:
        scale[0] = -scale[0]
    axes = matrix[:3, :3] / np.where(scale == 0, 1.0, scale)
    left, _, right = np.linalg.svd(axes)
    return matrix[:3, 3], quaternion_from_matrix(left @ right), scale


def trs_matrix(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The matrices of a scale, then a rotation, then a translation.

    Args:
        translation: (..., 3).
        rotation: (..., 4) unit quaternions x, y, z, w.
        scale: (..., 3).

    Returns:
        (..., 4, 4) float64; the leading shapes are broadcast.
    """
    shape = np.broadcast_shapes(translation.shape[:-1], rotation.shape[:-1], scale.shape[:-1])
    matrix = np.zeros((*shape, 4, 4))
    matrix[..., :3, :3] = matrix_from_quaternion(rotation) * scale[..., None, :]
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1.0
    return matrix
