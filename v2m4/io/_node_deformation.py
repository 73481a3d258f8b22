"""Deform a glTF node's stored vertices, normals and tangents by poses of the working mesh."""

from __future__ import annotations

import numpy as np

from v2m4.deformation import SurfaceGradients, turned_normals
from v2m4.io._gltf_quantize import SHORT_MAX, normal_deltas
from v2m4.io._user_mesh_read import MeshNode, VertexBuffer

QUANTIZATION_TOLERANCE = 2e-5  # of the bounding box's longest side: largest rounding error allowed for 16-bit positions


class NodeDeformation:
    """Deformation of a node's vertices, in node space, by poses of the working mesh."""

    def __init__(self, mesh_node: MeshNode, rest: np.ndarray) -> None:
        """Precompute what all poses share.

        Args:
            mesh_node: a node with a mesh.
            rest: (V, 3) rest vertices of the working mesh, in the world.
        """
        self._mesh_node, self._rest = mesh_node, rest[mesh_node.working_vertex].astype(np.float64)
        self._inverse = np.linalg.inv(mesh_node.matrix[:3, :3])
        self._gradients = SurfaceGradients(mesh_node.base, mesh_node.faces)
        self._rest_offset = mesh_node.rest - mesh_node.base
        self._scale_to_world = float(np.linalg.norm(mesh_node.matrix[:3, :3], 2))
        self._size = float(np.ptp(rest, axis=0).max())

    def offsets_and_gradients(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offsets (N, 3) from the stored positions, and deformation gradients minus the identity (N, 3, 3).

        Args:
            pose: (V, 3) vertices of the working mesh, in the world.
        """
        offsets = (pose[self._mesh_node.working_vertex] - self._rest) @ self._inverse.T + self._rest_offset
        return offsets, self._gradients.changes(self._mesh_node.base + offsets)

    def quantized_offsets(self, offsets: np.ndarray, quantize: bool) -> np.ndarray:
        """Offsets as normalised int16 where all lie in [-1, 1] and rounding is below the tolerance, else float32."""
        if (
            quantize
            and 0.5 / SHORT_MAX * self._scale_to_world <= QUANTIZATION_TOLERANCE * self._size
            and np.abs(offsets).max() <= 1
        ):
            return np.round(offsets * SHORT_MAX).astype(np.int16)
        return offsets.astype(np.float32)


def per_stored_vertex(buffer: VertexBuffer, values: np.ndarray) -> np.ndarray:
    """Values (N, ...) of a node's vertices, repeated for its stored vertices (R, ...); 0 where no face uses one."""
    return np.concatenate([values, np.zeros_like(values[:1])])[buffer.node_vertex]


def deformed_directions(buffer: VertexBuffer, changes: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Normals and tangents by attribute name: as stored, and under the deformation, (R, 3) each.

    Args:
        buffer: the stored vertices.
        changes: (N, 3, 3) deformation gradients minus the identity, at the node's vertices.
    """
    result = {}
    gradients = (
        per_stored_vertex(buffer, changes) if buffer.normals is not None or buffer.tangents is not None else changes
    )
    if buffer.normals is not None:
        result["NORMAL"] = (buffer.normals, turned_normals(gradients, buffer.normals))
    if buffer.tangents is not None:  # the gradient keeps them orthogonal to normals, which the cofactor matrix maps
        directions = buffer.tangents + (gradients @ buffer.tangents[:, :, None])[..., 0]
        length = np.linalg.norm(directions, axis=1, keepdims=True)
        result["TANGENT"] = (
            buffer.tangents,
            np.where(length > 1e-12, directions / np.maximum(length, 1e-12), buffer.tangents),
        )
    return result


def quantized_deltas(rest: np.ndarray, directions: np.ndarray, quantize: bool) -> np.ndarray:
    """Differences (R, 3) of unit directions, as normalised integers where they fit, else float32."""
    if quantize and np.abs(rest).max(initial=0) <= 1 + 1e-5:
        return normal_deltas(rest.clip(-1, 1).astype(np.float32), directions.astype(np.float32))
    return (directions - rest).astype(np.float32)
