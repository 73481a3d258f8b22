"""Node poses of a deformation graph from deformed vertices."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from registration.deformation_graph.graph import DeformationGraph, Poses
from v2m4.rotation import best_rotations


def poses_of_vertices(graph: DeformationGraph, vertices: np.ndarray) -> Poses:
    """Poses of a graph's nodes that are nearest to deformed vertices.

    Each node takes the rigid motion of the vertices that it influences, weighted by its influence: the least-squares
    fit of Kabsch. A rigid motion of the whole mesh is given back exactly.

    Args:
        graph: of the mesh.
        vertices: (T, V, 3) deformed.

    Returns:
        T poses.

    Raises:
        ValueError: not as many vertices as the graph's.
    """
    if vertices.ndim != 3 or vertices.shape[1:] != graph.rest.shape:
        raise ValueError(f"vertices: expected (T, {len(graph.rest)}, 3), got {vertices.shape}")
    row, slot = np.nonzero(graph.weights > 0)
    node = graph.influences[row, slot]
    shares = sparse.csr_array((graph.weights[row, slot], (node, row)), (len(graph), len(graph.rest)))
    shares = sparse.diags_array(1 / np.maximum(shares.sum(1), 1e-30)) @ shares
    rest, centers = graph.rest, shares @ graph.rest
    rotations, positions = [], []
    for deformed in vertices.astype(np.float64):
        moved = shares @ deformed
        products = shares @ (rest[:, :, None] * deformed[:, None, :]).reshape(len(rest), 9)
        correlation = products.reshape(-1, 3, 3) - centers[:, :, None] * moved[:, None, :]
        rotation = best_rotations(torch.from_numpy(correlation)).numpy()
        rotations.append(rotation)
        positions.append((rotation @ (rest[graph.nodes] - centers)[..., None])[..., 0] + moved)
    return Poses(np.stack(rotations), np.stack(positions))
