"""Which vertices of a user's file are one vertex of its surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from v2m4.geometry import connected_components
from v2m4.io._gltf_read import joined
from v2m4.mesh import Mesh

SAME_PLACE = 1e-6  # of the size


def same_place(base: np.ndarray, world: np.ndarray) -> np.ndarray:
    """Labels 0 .. N-1 of rows that are one vertex: stored at the same place, and not drawn apart by a skin."""
    labels = np.unique(base + 0.0, axis=0, return_inverse=True)[1].reshape(-1)
    first = np.unique(labels, return_index=True)[1]
    apart = np.abs(world - world[first[labels]]).max(1) > SAME_PLACE * np.ptp(world, axis=0).max()
    if not apart.any():
        return labels
    torn = np.isin(labels, labels[apart])
    keys = np.concatenate([labels[:, None], np.where(torn[:, None], world.astype(np.float32), 0)], 1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def joined_at_borders(mesh: Mesh, labels: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The labels, one for vertices of different nodes where border runs along border.

    Args:
        mesh: all parts, not welded.
        labels: (V,) of places; those of node i are from starts[i] to starts[i + 1].
        starts: (N + 1,).
    """
    if len(starts) <= 2:
        return labels
    faces = labels[mesh.faces.numpy()]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    keys, count = np.unique(edges.min(1) * starts[-1] + edges.max(1), return_counts=True)
    borders = np.stack(np.divmod(keys[count == 1], starts[-1]), 1)
    ends = np.unique(borders)
    if len(ends) == 0:
        return labels
    places = np.empty((starts[-1], 3))
    places[labels] = mesh.vertices.numpy()
    near = cKDTree(places[ends]).query_pairs(SAME_PLACE * float(np.ptp(places, axis=0).max()), output_type="ndarray")
    shared = np.arange(starts[-1])
    shared[ends] = ends[_first_members(len(ends), near)]
    owner = np.searchsorted(starts, borders[:, 0], side="right")
    lines, which = np.unique(np.sort(shared[borders], 1), axis=0, return_inverse=True)
    which = which.reshape(-1)
    pairs = np.unique(np.stack([which, owner], 1), axis=0)
    common = np.bincount(pairs[:, 0], minlength=len(lines)) > 1
    meeting = np.unique(borders[common[which]])
    result = np.arange(starts[-1])
    result[meeting] = shared[meeting]
    return result[labels]


def _first_members(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of ``count`` items the first item that it hangs together with, through pairs (P, 2)."""
    labels = connected_components(pairs, count)
    return np.unique(labels, return_index=True)[1][labels]


def welded_by(mesh: Mesh, labels: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The mesh with one vertex for each label, and the vertex (R,) of each row.

    Faces without an area because two corners are one are left out, with the vertices that only they have (-1).
    """
    one, kept = joined(mesh, labels)
    vertex = np.empty(labels.max() + 1, np.int64)
    vertex[labels[kept.numpy()]] = np.arange(len(kept))
    whole = torch.from_numpy((np.diff(np.sort(one.faces.numpy(), 1), axis=1) > 0).all(1))
    faces = one.faces[whole]
    used = torch.unique(faces)
    place = torch.full((len(kept),), -1)
    place[used] = torch.arange(len(used))
    working = replace(
        one,
        vertices=one.vertices[used],
        faces=place[faces],
        uv_faces=None if one.uv_faces is None else one.uv_faces[whole],
        colors=None if one.colors is None else one.colors[used],
    )
    return working, place.numpy()[vertex[labels]]
