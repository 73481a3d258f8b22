"""Weld labels: which stored vertices of a user's file are one vertex of its surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from v2m4.geometry import connected_components
from v2m4.io._gltf_read import merge_vertices
from v2m4.mesh import Mesh

WELD_TOLERANCE = 1e-6  # of the bounding box's longest side


def coincident_labels(base: np.ndarray, world: np.ndarray) -> np.ndarray:
    """Weld labels 0 .. N-1 of vertices (R, 3): equal where stored positions are, and a skin does not separate them.

    Args:
        base: (R, 3) positions as stored.
        world: (R, 3) rest positions in the world.
    """
    labels = np.unique(base + 0.0, axis=0, return_inverse=True)[1].reshape(-1)
    first = np.unique(labels, return_index=True)[1]
    separated = np.abs(world - world[first[labels]]).max(1) > WELD_TOLERANCE * np.ptp(world, axis=0).max()
    if not separated.any():
        return labels
    separated_labels = np.isin(labels, labels[separated])
    keys = np.concatenate([labels[:, None], np.where(separated_labels[:, None], world.astype(np.float32), 0)], 1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def weld_node_borders(mesh: Mesh, labels: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The labels with those of different nodes merged along boundary edges that the nodes share.

    Args:
        mesh: all primitives, not welded.
        labels: (V,) weld labels; those of node i are starts[i] .. starts[i + 1] - 1.
        starts: (N + 1,).

    Returns:
        (V,) labels.
    """
    if len(starts) <= 2:
        return labels
    faces = labels[mesh.faces.numpy()]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    keys, count = np.unique(edges.min(1) * starts[-1] + edges.max(1), return_counts=True)
    borders = np.stack(np.divmod(keys[count == 1], starts[-1]), 1)
    border_vertices = np.unique(borders)
    if len(border_vertices) == 0:
        return labels
    label_positions = np.empty((starts[-1], 3))
    label_positions[labels] = mesh.vertices.numpy()
    close_pairs = cKDTree(label_positions[border_vertices]).query_pairs(
        WELD_TOLERANCE * float(np.ptp(label_positions, axis=0).max()), output_type="ndarray"
    )
    representative = np.arange(starts[-1])
    representative[border_vertices] = border_vertices[_first_members(len(border_vertices), close_pairs)]
    owner = np.searchsorted(starts, borders[:, 0], side="right")
    border_edges, edge_of_border = np.unique(np.sort(representative[borders], 1), axis=0, return_inverse=True)
    edge_of_border = edge_of_border.reshape(-1)
    pairs = np.unique(np.stack([edge_of_border, owner], 1), axis=0)
    in_two_nodes = np.bincount(pairs[:, 0], minlength=len(border_edges)) > 1
    shared_vertices = np.unique(borders[in_two_nodes[edge_of_border]])
    result = np.arange(starts[-1])
    result[shared_vertices] = representative[shared_vertices]
    return result[labels]


def _first_members(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of ``count`` items the first item of its connected component under the edges ``pairs`` (P, 2)."""
    labels = connected_components(pairs, count)
    return np.unique(labels, return_index=True)[1][labels]


def weld_by_label(mesh: Mesh, labels: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The mesh with one vertex per label, and the new vertex (R,) of each old one.

    Faces that become degenerate are removed, with the vertices that only they use (-1).
    """
    merged, kept = merge_vertices(mesh, labels)
    vertex = np.empty(labels.max() + 1, np.int64)
    vertex[labels[kept.numpy()]] = np.arange(len(kept))
    whole = torch.from_numpy((np.diff(np.sort(merged.faces.numpy(), 1), axis=1) > 0).all(1))
    faces = merged.faces[whole]
    used = torch.unique(faces)
    new_index = torch.full((len(kept),), -1)
    new_index[used] = torch.arange(len(used))
    working = replace(
        merged,
        vertices=merged.vertices[used],
        faces=new_index[faces],
        uv_faces=None if merged.uv_faces is None else merged.uv_faces[whole],
        colors=None if merged.colors is None else merged.colors[used],
    )
    return working, new_index.numpy()[vertex[labels]]
