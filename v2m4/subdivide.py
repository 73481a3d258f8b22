"""Subdivision of coarse meshes by splitting their longest edges, and the way back to the coarse mesh's vertices.

All faces of an edge are split at its midpoint, so that the surface stays connected and where it is; so are those of an
edge that more than two faces share. ``trimesh.remesh.subdivide_to_size`` splits faces one by one, which tears the
surface along edges between a face that is split and one that is not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array, vstack
from scipy.sparse.linalg import splu

from v2m4.mesh import Mesh, MeshSequence

log = logging.getLogger(__name__)

# A mesh of fewer faces than COARSE_FACES is tracked by a copy of COPY_FACES.
COARSE_FACES, COPY_FACES = 500, 2000
LENGTH_RATIO = 0.72  # of the longest edge: edges longer than this are split in one round (a square's side is 0.707)
CORNERS = ((0, 1), (1, 2), (2, 0))  # the edges of a face


@dataclass(frozen=True)
class SubdividedMesh:
    """A mesh with further vertices on its edges and faces.

    Attributes:
        coarse: the mesh that was subdivided.
        mesh: W vertices, of which the first V are those of the coarse mesh, with its texture or vertex colours.
        weights: (W, V) sparse; vertices as weighted means of the coarse mesh's. Rows sum to 1.
    """

    coarse: Mesh
    mesh: Mesh
    weights: csr_array

    def coarse_sequence(self, sequence: MeshSequence) -> MeshSequence:
        """The coarse mesh's poses whose surface is nearest to that of the mesh's own poses, by linear least squares.

        Args:
            sequence: T poses of ``mesh``; it is returned itself where nothing was subdivided.
        """
        count = self.weights.shape[1]
        if len(self.mesh.vertices) == count:
            return sequence
        weights = self.weights.tocsc()
        solver = splu((weights.T @ weights).tocsc())
        poses = [solver.solve(weights.T @ pose.cpu().double().numpy()) for pose in sequence.vertices]
        mesh = self.coarse.with_vertices(sequence.mesh.vertices[:count])
        return replace(sequence, vertices=torch.from_numpy(np.stack(poses)).to(sequence.vertices), mesh=mesh)


def working_copy(mesh: Mesh, max_faces: int) -> SubdividedMesh:
    """The mesh that is tracked: subdivided to COPY_FACES where it has fewer than COARSE_FACES, else the mesh itself.

    Of faces that have the same three vertices one is left.

    Args:
        mesh: welded.
        max_faces: faces of the copy, at most.
    """
    corners = np.sort(mesh.faces.cpu().numpy(), 1)
    first = np.sort(np.unique(corners, axis=0, return_index=True)[1])
    if len(first) < len(corners):  # the normals of a face and its copy of opposite orientation would cancel
        kept = torch.from_numpy(first)
        mesh = replace(mesh, faces=mesh.faces[kept], uv_faces=None if mesh.uv_faces is None else mesh.uv_faces[kept])
    copy = subdivided(mesh, min(COPY_FACES, max_faces) if len(mesh.faces) < COARSE_FACES else 0)
    if copy.mesh is not mesh:
        log.info("user mesh: %d faces; tracked by a copy subdivided to %d", len(mesh.faces), len(copy.mesh.faces))
    return copy


def subdivided(mesh: Mesh, faces: int) -> SubdividedMesh:
    """Split a mesh's longest edges until it has about ``faces`` faces of even size; never more.

    Texture coordinates and vertex colours are interpolated linearly, as a renderer does within a face.

    Args:
        mesh: welded; edges may have any number of faces, faces may have no area.
        faces: number of faces; a mesh that has as many is returned as it is.
    """
    count = len(mesh.vertices)
    points = mesh.vertices.detach().cpu().numpy().astype(np.float64)
    triangles = mesh.faces.cpu().numpy().astype(np.int64)
    weights = csr_array(eye_array(count))
    corners, uvs = None, None
    if mesh.uvs is not None:
        uvs = mesh.uvs.cpu().numpy().astype(np.float64)
        corners = triangles if mesh.uv_faces is None else mesh.uv_faces.cpu().numpy().astype(np.int64)
    while len(triangles) < faces:
        edges, edge_of_face = _edges(triangles)
        split = _chosen_edges(points, edges, edge_of_face, faces - len(triangles))
        if len(split) == 0:
            break
        midpoint = np.full(len(edges), -1)
        midpoint[split] = len(points) + np.arange(len(split))
        children, parents, patterns = _split_faces(points, triangles, midpoint[edge_of_face])
        if corners is not None and uvs is not None:
            uvs, uv_midpoint = _uv_midpoints(uvs, corners, midpoint[edge_of_face] >= 0)
            corners = _split_like(corners, uv_midpoint, parents, patterns)
        triangles = children
        ends = edges[split]
        points = np.concatenate([points, points[ends].mean(1)])
        weights = csr_array(vstack([weights, (weights[ends[:, 0]] + weights[ends[:, 1]]) / 2]))
    if len(points) == count:
        return SubdividedMesh(mesh, mesh, weights)
    colors = None if mesh.colors is None else torch.from_numpy(weights @ mesh.colors.cpu().numpy()).to(mesh.colors)
    new = replace(
        mesh,
        vertices=torch.from_numpy(points).to(mesh.vertices),
        faces=torch.from_numpy(triangles).to(mesh.faces),
        uvs=None if uvs is None or mesh.uvs is None else torch.from_numpy(uvs).to(mesh.uvs),
        uv_faces=None if corners is None else torch.from_numpy(corners).to(mesh.faces),
        colors=colors,
    )
    return SubdividedMesh(mesh, new, weights)


def _edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique edges (E, 2), ascending, and the indices (F, 3) of each face's edges, in the order of CORNERS."""
    pairs = np.sort(triangles[:, CORNERS].reshape(-1, 2), 1)
    edges, index = np.unique(pairs, axis=0, return_inverse=True)
    return edges, index.reshape(-1, 3)


def _chosen_edges(points: np.ndarray, edges: np.ndarray, edge_of_face: np.ndarray, room: int) -> np.ndarray:
    """Indices of the edges to be split, longest first, such that at most ``room`` faces are added."""
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    order = np.argsort(-lengths, kind="stable")
    added = np.cumsum(np.bincount(edge_of_face.reshape(-1), minlength=len(edges))[order])
    long_enough = lengths[order] > max(LENGTH_RATIO * float(lengths.max()), np.finfo(np.float32).tiny)
    return order[long_enough & (added <= room)]


def _split_faces(
    points: np.ndarray, triangles: np.ndarray, midpoint: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split faces at the midpoints of their edges.

    Args:
        points: (V, 3); of a midpoint's edge the ends are used.
        triangles: (F, 3).
        midpoint: (F, 3) vertex at the middle of each edge, -1 where it is not split.

    Returns:
        The faces (G, 3), the face that each is a part of (G,), and its corners (G, 3) among the three corners and three
        midpoints of that face: what ``_split_like`` repeats for other corners.
    """
    a, b, c, ab, bc, ca = range(6)
    whole, four = ((a, b, c),), ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    parents, patterns = [], []
    number = (midpoint >= 0) @ np.array([1, 2, 4])
    lengths = np.linalg.norm(points[triangles] - points[np.roll(triangles, -1, 1)], axis=2)
    for kind in np.unique(number).tolist():
        rows = np.flatnonzero(number == kind)
        if kind in (0, 7):
            pieces: list[tuple[np.ndarray, tuple[tuple[int, ...], ...]]] = [(rows, whole if kind == 0 else four)]
        elif kind in (1, 2, 4):  # one edge: two faces
            first = {1: 0, 2: 1, 4: 2}[kind]
            i, j, k = first, (first + 1) % 3, (first + 2) % 3
            pieces = [(rows, ((i, 3 + i, k), (3 + i, j, k)))]
        else:  # two edges: the triangle at their common corner, and a quadrilateral that the shorter diagonal divides
            common = {3: 1, 6: 2, 5: 0}[kind]
            i, j, k = common, (common + 1) % 3, (common + 2) % 3
            after, before = 3 + i, 3 + k  # midpoints of the edges i-j and k-i
            # A diagonal from a midpoint to the far corner of the other edge is shorter where its own edge is longer.
            longer = lengths[rows, i] > lengths[rows, k]
            pieces = [
                (rows[longer], ((i, after, before), (after, j, k), (after, k, before))),
                (rows[~longer], ((i, after, before), (after, j, before), (before, j, k))),
            ]
        for chosen, pattern in pieces:
            parents.append(np.repeat(chosen, len(pattern)))
            patterns.append(np.tile(np.array(pattern), (len(chosen), 1)))
    parent, chosen_corners = np.concatenate(parents), np.concatenate(patterns)
    return _split_like(triangles, midpoint, parent, chosen_corners), parent, chosen_corners


def _split_like(corners: np.ndarray, midpoint: np.ndarray, parents: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Corners (G, 3) of split faces, from those (F, 3) and the midpoints (F, 3) of the faces that they are parts of."""
    return np.take_along_axis(np.concatenate([corners, midpoint], 1)[parents], patterns, 1)


def _uv_midpoints(uvs: np.ndarray, corners: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates with those of the midpoints appended, and the midpoints' indices (F, 3), -1 for none.

    Args:
        uvs: (U, 2).
        corners: (F, 3) indices into these.
        split: (F, 3) bool, which edges of each face are split.
    """
    edges, edge_of_face = _edges(corners)
    chosen = np.unique(edge_of_face[split])
    midpoint = np.full(len(edges), -1)
    midpoint[chosen] = len(uvs) + np.arange(len(chosen))
    return np.concatenate([uvs, uvs[edges[chosen]].mean(1)]), np.where(split, midpoint[edge_of_face], -1)
