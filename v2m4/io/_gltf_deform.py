"""Deformation of a glTF primitive: morph targets, then linear blend skinning or the node's transform.

Source: Khronos, glTF 2.0 specification, sections 3.7.2.2 (morph targets) and 3.7.3 (skins).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from v2m4.io._gltf_container import Document, GltfError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skin:
    """Linear blend skinning of a primitive: its joints and skin weights.

    Attributes:
        joints: (J,) node indices.
        inverse_binds: (J, 4, 4) float64.
        skin_weights: (V, J) sparse; rows sum to 1.
    """

    joints: list[int]
    inverse_binds: np.ndarray
    skin_weights: csr_array


@dataclass(frozen=True)
class Deformer:
    """One primitive with its morph targets, and its skin or node.

    Attributes:
        node: index of its node; the transform of a skinned primitive's node has no effect.
        base: (V, 3) float64 positions in mesh space.
        targets: (M, V * 3) float64 offsets of the morph targets.
        skin: the node's skin, or None.
    """

    node: int
    base: np.ndarray
    targets: np.ndarray
    skin: Skin | None

    def poses(self, world: Mapping[int, np.ndarray], weights: np.ndarray) -> np.ndarray:
        """The vertices in the world, (T, V, 3) float64.

        Args:
            world: (4, 4) or (T, 4, 4) node-to-world matrices of all nodes.
            weights: (T, M or more) of the morph targets.
        """
        count = len(weights)
        poses = np.empty((count, *self.base.shape))
        shape = (count, 4, 4)
        if self.skin is None:
            matrices = np.broadcast_to(world[self.node], shape)
        else:
            pairs = zip(self.skin.joints, self.skin.inverse_binds, strict=True)
            joints = np.stack([np.broadcast_to(world[joint] @ bind, shape) for joint, bind in pairs], 1)
        for index in range(count):
            local = self.base + (weights[index, : len(self.targets)] @ self.targets).reshape(self.base.shape)
            if self.skin is None:
                poses[index] = local @ matrices[index, :3, :3].T + matrices[index, :3, 3]
            else:
                blended = (self.skin.skin_weights @ joints[index, :, :3].reshape(-1, 12)).reshape(-1, 3, 4)
                poses[index] = (blended[:, :, :3] @ local[:, :, None])[..., 0] + blended[:, :, 3]
        return poses

    def mirrored(self, world: Mapping[int, np.ndarray]) -> bool:
        """Whether the transforms (4, 4) of the nodes reverse the orientation of the surface (negative determinant)."""
        if self.skin is None:
            return bool(np.linalg.det(world[self.node][:3, :3]) < 0)
        pairs = zip(self.skin.joints, self.skin.inverse_binds, strict=True)
        signs = np.sign([np.linalg.det((world[joint] @ bind)[:3, :3]) for joint, bind in pairs])
        return bool((self.skin.skin_weights @ signs).sum() < 0)


def read_deformer(
    document: Document, node: int, primitive: dict[str, Any], base: np.ndarray, world: Mapping[int, np.ndarray]
) -> Deformer:
    """Read a primitive's morph targets and skin.

    Args:
        document: the file.
        node: index of the primitive's node.
        primitive: the primitive.
        base: (V, 3) its positions.
        world: matrices of all nodes.

    Raises:
        GltfError: morph targets or skin do not fit the vertices or the scene.
    """
    stored = primitive.get("targets") or []
    targets = np.zeros((len(stored), base.size))
    for index, target in enumerate(stored):
        if "POSITION" in target:
            offsets = document.accessor(target["POSITION"])
            if offsets.shape != base.shape:
                raise GltfError(f"{document.path}: a morph target has {len(offsets)} of {len(base)} vertices")
            targets[index] = offsets.reshape(-1)
    skin = document.items("nodes")[node].get("skin")
    read = None if skin is None else _read_skin(document, document.items("skins")[skin], primitive, len(base))
    for joint in [] if read is None else read.joints:
        if joint not in world:
            raise GltfError(f"{document.path}: skin {skin} has joint {joint}, which is no node")
    return Deformer(node, base, targets, read)


def _read_skin(document: Document, skin: dict[str, Any], primitive: dict[str, Any], count: int) -> Skin:
    joints = skin["joints"]
    inverse_binds = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        stored = document.accessor(skin["inverseBindMatrices"]).astype(np.float64)
        if stored.shape[0] < len(joints) or stored.shape[1] != 16:
            raise GltfError(f"{document.path}: {len(stored)} inverse bind matrices for {len(joints)} joints")
        inverse_binds = stored[: len(joints)].reshape(-1, 4, 4).swapaxes(1, 2)
    columns, shares = _weights(document, primitive, count, len(joints))
    rows = np.repeat(np.arange(count), columns.shape[1])
    skin_weights = csr_array((shares.reshape(-1), (rows, columns.reshape(-1))), shape=(count, len(joints)))
    return Skin(joints, inverse_binds, skin_weights)


def _weights(document: Document, primitive: dict[str, Any], count: int, joints: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (V, J) of a primitive's vertices and their weights (V, J), which sum to 1 for each vertex.

    As in three.js, weights are normalised, and a vertex without weights takes its first joint's transform. Weights that
    are negative, no finite numbers, or of joints that the skin does not have count as 0.
    """
    attributes = primitive["attributes"]
    joint_sets, weights = [], []
    for number in range(sum(name.startswith("JOINTS_") for name in attributes)):
        if not {f"JOINTS_{number}", f"WEIGHTS_{number}"} <= attributes.keys():
            break
        joint_sets.append(document.accessor(attributes[f"JOINTS_{number}"]).astype(np.int64))
        weights.append(document.accessor(attributes[f"WEIGHTS_{number}"]).astype(np.float64))
    if not joint_sets:
        raise GltfError(f"{document.path}: a skinned mesh without JOINTS_0 and WEIGHTS_0")
    columns, shares = np.concatenate(joint_sets, 1), np.concatenate(weights, 1)
    if columns.shape != shares.shape or len(columns) != count:
        raise GltfError(f"{document.path}: joints {columns.shape} and weights {shares.shape} of {count} vertices")
    outside = (columns < 0) | (columns >= joints)
    if (outside & (shares > 0)).any():
        number = (outside & (shares > 0)).any(1).sum()
        logger.warning("%s: %d vertices are bound to joints that the skin does not have", document.path, number)
    columns = np.where(outside, 0, columns)
    shares = np.where(outside | ~(shares > 0) | ~np.isfinite(shares), 0.0, shares)
    unweighted = shares.sum(1) <= 0
    if unweighted.any():
        logger.warning(
            "%s: %d vertices without weights take their first joint's transform", document.path, unweighted.sum()
        )
        shares[unweighted, 0] = 1.0
    return columns, shares / shares.sum(1, keepdims=True)
