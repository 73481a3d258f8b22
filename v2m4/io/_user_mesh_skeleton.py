"""The skeleton of a user's own glTF document: its nodes, what is bound to them, and animation channels on them.

All nodes between the scene and its meshes are nodes of the skeleton. Joints of skins rotate; the joint from which the
whole body hangs translates too. A joint without vertices of its own that carries several parts (as the ground bone of
rigs with inverse kinematics does) holds nothing together: each of its children then translates, if the file's own
animations translate it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from v2m4.io._gltf_container import Document
from v2m4.io._gltf_deform import read_deformer
from v2m4.io._gltf_nodes import all_nodes, local_matrix, trs_of_matrix, world_matrices
from v2m4.io._user_mesh_read import MeshNode
from v2m4.rotation import matrix_from_quaternion
from v2m4.skinning.skeleton import Binding, Skeleton

logger = logging.getLogger(__name__)

LARGEST_SHEAR = 1e-4  # of a joint's matrix: one with more cannot be animated by translation, rotation and scale


@dataclass(frozen=True)
class DocumentSkeleton:
    """A document's skeleton.

    Attributes:
        skeleton: one node for each node of the scene; roots are relative to the working mesh's origin.
        nodes: (J,) their indices in the document.
        binding: of the working mesh's vertices.
    """

    skeleton: Skeleton
    nodes: list[int]
    binding: Binding


def read_skeleton(
    document: Document, mesh_nodes: list[MeshNode], vertices: int, origin: np.ndarray
) -> DocumentSkeleton | None:
    """Read the skeleton; None where the document has no skin.

    Args:
        document: the file.
        mesh_nodes: its nodes with a mesh.
        vertices: number V of vertices of the working mesh.
        origin: (3,) of the working mesh in the world.
    """
    joints = {joint for skin in document.items("skins") for joint in skin["joints"]}
    if not any("skin" in document.items("nodes")[each.node_index] for each in mesh_nodes) or not joints:
        return None
    parents = all_nodes(document)
    order = list(parents)
    place = {node: number for number, node in enumerate(order)}
    binding = _read_binding(document, mesh_nodes, place, vertices)
    tree = np.array([-1 if parents[node] is None else place[parents[node]] for node in order])  # type: ignore[index]
    rotating = np.array([node in joints for node in order])
    translations, rotations, scales = _rest_transforms(document, order)
    translations[tree < 0] -= origin
    sheared = np.abs(scales * (1 - np.eye(3))).max((1, 2)) > LARGEST_SHEAR * np.abs(scales).max((1, 2))
    if (sheared & rotating).any():
        logger.warning("%s: %d joints are sheared and keep their pose", document.path, (sheared & rotating).sum())
    fixed = np.zeros(len(order), dtype=bool)
    skeleton = Skeleton(tree, translations, rotations, scales, rotating & ~sheared, fixed)
    translating = _translating(skeleton, binding, _translated_nodes(document, place))
    return DocumentSkeleton(replace(skeleton, translating=translating), order, binding)


def _rest_transforms(document: Document, order: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translations (J, 3), rotations (J, 3, 3) and the rest of the linear map (J, 3, 3) of the nodes."""
    translations, rotations, scales = [], [], []
    for node in order:
        matrix = local_matrix(document.items("nodes")[node])
        translation, quaternion, _ = trs_of_matrix(matrix)
        rotation = matrix_from_quaternion(quaternion)
        translations.append(translation)
        rotations.append(rotation)
        scales.append(rotation.T @ matrix[:3, :3])
    return np.array(translations), np.array(rotations), np.array(scales)


def _read_binding(document: Document, mesh_nodes: list[MeshNode], place: dict[int, int], count: int) -> Binding:
    """Binding of the working vertices: to a skin's joints, or rigidly to the node whose mesh they belong to."""
    nodes = document.items("nodes")
    world = world_matrices(all_nodes(document), {node: local_matrix(nodes[node]) for node in place})
    rows: list[list[tuple[int, float, np.ndarray]]] = [[] for _ in range(count)]
    for mesh_node in mesh_nodes:
        skinned = "skin" in nodes[mesh_node.node_index]
        mesh = document.items("meshes")[nodes[mesh_node.node_index]["mesh"]]
        for buffer in mesh_node.buffers:
            primitive = mesh["primitives"][buffer.primitives[0]]
            stored = document.accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
            skin = None
            if skinned:
                plain = {key: value for key, value in primitive.items() if key != "targets"}
                skin = read_deformer(document, mesh_node.node_index, plain, stored, world).skin
            seen = set()
            for row in np.flatnonzero(buffer.node_vertex >= 0):
                node_vertex = int(buffer.node_vertex[row])
                working = int(mesh_node.working_vertex[node_vertex])
                if node_vertex in seen or rows[working]:
                    continue
                seen.add(node_vertex)
                position = mesh_node.base[node_vertex]
                if skin is None:
                    rest = mesh_node.rest[node_vertex]
                    rows[working].append((place[mesh_node.node_index], 1.0, rest))
                    continue
                start, stop = skin.skin_weights.indptr[row : row + 2]
                for joint, weight in zip(
                    skin.skin_weights.indices[start:stop], skin.skin_weights.data[start:stop], strict=True
                ):
                    if weight > 0:
                        bind = skin.inverse_binds[joint]
                        rows[working].append((place[skin.joints[joint]], weight, bind[:3, :3] @ position + bind[:3, 3]))
    width = max(len(row) for row in rows)
    joint, weights, local = np.zeros((count, width), np.int64), np.zeros((count, width)), np.zeros((count, width, 3))
    for vertex, influences in enumerate(rows):
        for number, (node, weight, position) in enumerate(influences):
            joint[vertex, number], weights[vertex, number], local[vertex, number] = node, weight, position
    return Binding(joint, weights / np.maximum(weights.sum(1, keepdims=True), 1e-12), local)


def _translated_nodes(document: Document, place: dict[int, int]) -> np.ndarray | None:
    """Which nodes the file's own animations translate, (J,); None where it has no animation."""
    clips = document.items("animations")
    if not clips:
        return None
    translated = np.zeros(len(place), dtype=bool)
    for clip in clips:
        for channel in clip.get("channels") or []:
            node = channel["target"].get("node")
            if channel["target"]["path"] != "translation" or node not in place:
                continue
            keys = document.accessor(clip["samplers"][channel["sampler"]]["output"])
            translated[place[node]] |= bool((keys != keys[:1]).any())
    return translated


def _translating(skeleton: Skeleton, binding: Binding, translated: np.ndarray | None) -> np.ndarray:
    """The nodes (J,) that a pose may translate: see the module's docstring."""
    bound = np.zeros(len(skeleton), dtype=bool)
    bound[binding.nodes[binding.weights > 0]] = True
    followed = skeleton.followed(bound)
    result = np.zeros(len(skeleton), dtype=bool)
    pending = [node for node, parent in enumerate(skeleton.parents) if parent < 0 and followed[node]]
    while pending:
        node = pending.pop()
        children = [child for child in np.flatnonzero(skeleton.parents == node) if followed[child]]
        if not skeleton.rotating[node] or (not bound[node] and len(children) == 1):
            pending += [int(child) for child in children]
            continue
        moved = [child for child in children if translated is None or translated[child]]
        if not bound[node] and len(moved) > 1:
            result[moved] = True
        else:
            result[node] = True
    return result & skeleton.rotating
