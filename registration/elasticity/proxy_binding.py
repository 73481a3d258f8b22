"""Deformation of a full mesh by that of a decimated copy of it (a proxy).

Each vertex of the full mesh is bound to the nearest triangle of the reduced one. Each reduced vertex maps the surface
around it by its own deformation gradient, and a full vertex is the weighted mean of these maps (blended local frames,
as in Sumner et al. 2007, "Embedded deformation for shape manipulation", with deformation gradients in place of
rotations). The weights are barycentric, then smoothed along the full mesh's edges over about the width of a reduced
triangle, so that the surface is continuous and does not show the reduced triangles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, eye_array
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.decimate import simplified
from v2m4.deformation import SurfaceGradients
from v2m4.geometry import connected_components
from v2m4.mesh import Mesh

CANDIDATES = 12  # nearest triangle samples that are compared for each vertex
MAX_SAMPLES_PER_SIDE = 12  # of a triangle, at most
# In mean edge lengths of the reduced mesh: the cost of a triangle of opposite normal, times the negative cosine (0 up
# to a right angle, for sharp ridges); and the scale of unit normals in the search for candidates.
OPPOSITE_COST, NORMAL_SCALE = 2.0, 0.5
BLOCK = 65536  # vertices that are bound in one batch
# Smoothing steps of the weights for each full face a reduced face, and at most. With these the stretch of 98 % of the
# edges of a tube of 300,000 vertices, bent by one radian by 8,000 faces, is right to 2 % (7 % without smoothing).
SMOOTHING_PER_FACE, MAX_SMOOTHING_STEPS = 0.125, 10
MIN_WEIGHT = 2e-3  # smaller weights are dropped after a smoothing step


@dataclass(frozen=True)
class ProxyBinding:
    """The linear map from a reduced mesh's pose to that of a full mesh.

    Attributes:
        rest: (Vf, 3) float64, the full mesh.
        reduced: (Vr, 3) float64, the reduced mesh at rest.
        gradients: computes the deformation gradients of the reduced mesh.
        influence: (Vf, 4 Vr), coefficients of the displacement (column 4 k) and of the gradient (the three columns
            after it) of reduced vertex k.
        distance: (Vf,) from the full mesh's vertices to the reduced surface, both at rest.
    """

    rest: np.ndarray
    reduced: np.ndarray
    gradients: SurfaceGradients
    influence: csr_array
    distance: np.ndarray

    @classmethod
    def of(cls, full: Mesh, reduced: Mesh) -> ProxyBinding:
        """Binds a mesh to a reduced copy of it in the same pose.

        A vertex is bound to the nearest triangle of similar normal in the same connected component: components of the
        full mesh that touch stay independent. A component that the reduced mesh lacks is bound to the nearest one.

        Args:
            full: Vf vertices.
            reduced: Vr vertices; ``decimated_copy`` makes one.

        Raises:
            ValueError: the reduced mesh has no triangle with an area.
        """
        points = full.vertices.detach().cpu().numpy().astype(np.float64)
        normals = full.normals().detach().cpu().numpy().astype(np.float64)
        vertices = reduced.vertices.detach().cpu().numpy().astype(np.float64)
        gradients = SurfaceGradients(vertices, reduced.faces.cpu().numpy())
        triangles = gradients.faces
        if len(triangles) == 0:
            raise ValueError("binding: the reduced mesh has no triangle with an area")
        components, owners = _matched_components(points, full.faces.cpu().numpy(), vertices, triangles)
        chosen, weights, distance = _nearest_triangles(points, normals, components, vertices[triangles], owners)
        rows = np.repeat(np.arange(len(points)), 3)
        vertex_weights = csr_array(
            (weights.reshape(-1), (rows, triangles[chosen].reshape(-1))), shape=(len(points), len(vertices))
        )
        steps = round(SMOOTHING_PER_FACE * len(full.faces) / len(triangles))
        vertex_weights = _smoothed_weights(vertex_weights, full.faces.cpu().numpy(), min(steps, MAX_SMOOTHING_STEPS))
        rows = np.repeat(np.arange(len(points)), np.diff(vertex_weights.indptr))
        offsets = np.column_stack([np.ones(len(rows)), points[rows] - vertices[vertex_weights.indices]])
        columns = 4 * vertex_weights.indices[:, None] + np.arange(4)
        influence = csr_array(
            ((vertex_weights.data[:, None] * offsets).reshape(-1), columns.reshape(-1), 4 * vertex_weights.indptr),
            shape=(len(points), 4 * len(vertices)),
        )
        return cls(points, vertices, gradients, influence, distance)

    def pose(self, pose: np.ndarray | Tensor) -> np.ndarray:
        """The full mesh's vertices (Vf, 3), float32, at the reduced mesh's ``pose`` (Vr, 3).

        Raises:
            ValueError: the pose has another shape.
        """
        posed = (pose.detach().cpu().numpy() if isinstance(pose, Tensor) else np.asarray(pose)).astype(np.float64)
        if posed.shape != self.reduced.shape:
            raise ValueError(f"binding: a pose of shape {posed.shape}, expected {self.reduced.shape}")
        changes = self.gradients.changes(posed)
        coefficients = np.concatenate([(posed - self.reduced)[:, None], changes.swapaxes(1, 2)], 1)
        return (self.rest + self.influence @ coefficients.reshape(-1, 3)).astype(np.float32)

    def poses(self, poses: Iterable[np.ndarray | Tensor]) -> Iterator[np.ndarray]:
        """Yields the full mesh's vertices (Vf, 3) of each pose (Vr, 3), one at a time to bound memory."""
        return (self.pose(pose) for pose in poses)

    def apply(self, poses: np.ndarray | Tensor) -> np.ndarray:
        """The full mesh's vertices (T, Vf, 3), float32, at poses (T, Vr, 3) of the reduced mesh."""
        posed = np.empty((len(poses), *self.rest.shape), np.float32)
        for index in range(len(poses)):
            posed[index] = self.pose(poses[index])
        return posed


def decimated_copy(mesh: Mesh, faces: int) -> Mesh:
    """A decimated copy of about ``faces`` faces, components unwelded; the mesh itself if it has no more.

    Args:
        mesh: welded, with vertex colours or a texture.
        faces: number of faces to keep.
    """
    return mesh if len(mesh.faces) <= faces else simplified(mesh, faces, weld=False)


def _smoothed_weights(vertex_weights: csr_array, faces: np.ndarray, steps: int) -> csr_array:
    """Smooths weights (Vf, Vr), whose rows sum to 1, by ``steps`` half steps towards the mean of the neighbours."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]])
    ends = np.concatenate([edges, edges[:, ::-1]])
    count = vertex_weights.shape[0]
    candidates = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    degree = candidates.sum(1)
    half = diags_array(0.5 / np.maximum(degree, 1))
    mean = csr_array(half @ candidates + diags_array(np.where(degree > 0, 0.5, 1.0)) @ eye_array(count))
    for _ in range(steps):
        vertex_weights = csr_array(mean @ vertex_weights)
        vertex_weights.data[vertex_weights.data < MIN_WEIGHT] = 0
        vertex_weights.eliminate_zeros()
        vertex_weights = csr_array(diags_array(1 / vertex_weights.sum(1)) @ vertex_weights)
    return vertex_weights


def _matched_components(
    points: np.ndarray, faces: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Component labels of the full vertices (Vf,) and of the reduced triangles (F,), matched to each other.

    A reduced component is matched to the full one whose triangles are nearest to most of its own, by position and
    normal. Full components without a match take the label of the nearest one.
    """
    full, reduced = connected_components(faces, len(points)), connected_components(triangles, len(vertices))
    used = np.unique(triangles)
    normal_scale = NORMAL_SCALE * float(
        np.linalg.norm(vertices[triangles[:, 1]] - vertices[triangles[:, 0]], axis=1).mean()
    )
    candidates = cKDTree(_face_features(points, faces, normal_scale)).query(
        _face_features(vertices, triangles, normal_scale)
    )[1]
    votes = coo_array(
        (np.ones(len(triangles)), (reduced[triangles[:, 0]], full[faces[candidates, 0]])),
        shape=(reduced.max() + 1, full.max() + 1),
    ).tocsr()
    component_of_reduced = np.asarray(votes.argmax(axis=1)).reshape(-1)
    owners = component_of_reduced[reduced[triangles[:, 0]]]
    unmatched = ~np.isin(full, owners)
    if unmatched.any():
        nearest = cKDTree(vertices[used]).query(points[unmatched])[1]
        of_vertex = component_of_reduced[reduced[used[nearest]]]
        ends = np.unique(full[unmatched], return_index=True, return_inverse=True)
        full = full.copy()
        full[unmatched] = of_vertex[ends[1]][ends[2].reshape(-1)]
    return full, owners


def _face_features(vertices: np.ndarray, triangles: np.ndarray, normal_scale: float) -> np.ndarray:
    """Search features (F, 6): the centroids of triangles, and their unit normals times ``normal_scale``."""
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.column_stack([corners.mean(1), normal_scale * normals / np.maximum(length, 1e-300)])


def _nearest_triangles(
    points: np.ndarray, normals: np.ndarray, components: np.ndarray, corners: np.ndarray, owners: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the triangle that each point is bound to, and the nearest point on it.

    Args:
        points: (N, 3).
        normals: (N, 3) unit, or 0.
        components: (N,) component labels.
        corners: (F, 3, 3) of the triangles.
        owners: (F,) component labels of the triangles.

    Returns:
        triangles (N,), barycentric weights of the nearest points (N, 3), distances (N,).
    """
    sides = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2)
    edge = float(sides.mean())
    facing = _face_features(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), 1.0)[:, 3:]
    samples, of_sample = _samples(corners, np.ceil(sides.max(1) / edge).clip(1, MAX_SAMPLES_PER_SIDE).astype(int))
    # Another component's label puts a triangle farther away than any triangle of the same one.
    component_offset = 4 * float(np.ptp(corners.reshape(-1, 3), axis=0).max() + np.ptp(points, axis=0).max() + edge)
    tree = cKDTree(
        np.column_stack([samples, NORMAL_SCALE * edge * facing[of_sample], component_offset * owners[of_sample]])
    )
    queries = np.column_stack([points, NORMAL_SCALE * edge * normals, component_offset * components])
    count = min(CANDIDATES, len(samples))
    chosen = np.empty(len(points), np.int64)
    weights, distance = np.empty((len(points), 3)), np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        rows = slice(start, min(start + BLOCK, len(points)))
        candidates = of_sample[tree.query(queries[rows], k=np.arange(1, count + 1))[1]]
        barycentrics = barycentric(points[rows, None], corners[candidates])
        gap = np.linalg.norm((barycentrics[..., None] * corners[candidates]).sum(2) - points[rows, None], axis=2)
        opposition = np.maximum(-(facing[candidates] * normals[rows, None]).sum(2), 0)
        cost = (
            gap + OPPOSITE_COST * edge * opposition + component_offset * (owners[candidates] != components[rows, None])
        )
        best = cost.argmin(1)[:, None]
        chosen[rows] = np.take_along_axis(candidates, best, 1)[:, 0]
        weights[rows] = np.take_along_axis(barycentrics, best[..., None], 1)[:, 0]
        distance[rows] = np.take_along_axis(gap, best, 1)[:, 0]
    return chosen, weights, distance


def _samples(corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points in triangles (S, 3), the centroids of n^2 equal parts of each, and their triangles' indices (S,).

    Args:
        corners: (F, 3, 3).
        counts: (F,) n of each triangle.
    """
    points, owners = [], []
    for count in np.unique(counts).tolist():
        chosen = np.flatnonzero(counts == count)
        first, second = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
        up = np.stack([first, second], -1)[first + second < count] + 1 / 3
        down = np.stack([first, second], -1)[first + second < count - 1] + 2 / 3
        coordinates = np.concatenate([up, down]) / count
        weights = np.column_stack([1 - coordinates.sum(1), coordinates])
        points.append((weights @ corners[chosen]).reshape(-1, 3))
        owners.append(np.repeat(chosen, len(weights)))
    return np.concatenate(points), np.concatenate(owners)


def barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights (..., 3), in [0, 1], of the point of each triangle that is nearest to a point.

    Source: Ericson 2005, "Real-Time Collision Detection", section 5.1.5: inside, or on the nearest of the three edges.

    Args:
        points: (..., 3), broadcast against the triangles.
        corners: (..., 3, 3) of triangles that have an area.
    """
    a, b, c = np.moveaxis(corners, -2, 0)
    first, second, relative = b - a, c - a, points - a
    aa, ab, bb = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    pa, pb = (relative * first).sum(-1), (relative * second).sum(-1)
    area = aa * bb - ab * ab
    v, w = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    inside = np.stack([1 - v - w, v, w], -1)
    best, least = inside, np.where((inside >= 0).all(-1), -1.0, np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        side = corners[..., end, :] - corners[..., start, :]
        offset = points - corners[..., start, :]
        share = np.clip((offset * side).sum(-1) / (side * side).sum(-1), 0, 1)
        gap = np.square(offset - share[..., None] * side).sum(-1)
        on_edge = np.zeros_like(inside)
        on_edge[..., start], on_edge[..., end] = 1 - share, share
        nearer = gap < least
        best, least = np.where(nearer[..., None], on_edge, best), np.where(nearer, gap, least)
    return best
