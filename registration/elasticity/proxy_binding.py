"""A large mesh that is carried by a reduced copy of it.

Each vertex of the large mesh hangs on a triangle of the reduced one, and moves as the corners say: every corner
carries the surface about it by its own deformation gradient, and the vertex has the mean of what they say (blended
local frames, as in Sumner et al. 2007, "Embedded deformation for shape manipulation", with gradients in place of
rotations). The weights are barycentric, spread along the large mesh's own edges until they are as smooth as a reduced
triangle is wide: so the surface neither cracks nor shows the triangles that carry it.
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

CANDIDATES = 12  # samples of triangles that are looked at for each vertex
FINEST = 12  # samples along the side of a triangle, at most
# Edges of the reduced mesh: how much farther a triangle counts that faces the other way; up to a right angle (sharp
# ridges) it does not. And what a unit of normal counts where candidates are looked for.
FACING, LEAN = 2.0, 0.5
BLOCK = 65536  # vertices bound at once
# Steps along edges that spread the weights, for each full face that a reduced one stands for, and at most. On a tube of
# 300,000 vertices carried by 8,000 faces the stretch of 98 % of the edges, bent by one radian, is then right to 2 %
# (7 % without); more steps cost more than they mend.
SPREAD, MOST_STEPS = 0.125, 10
LEAST_WEIGHT = 2e-3


@dataclass(frozen=True)
class ProxyBinding:
    """How a full mesh follows a reduced one.

    Attributes:
        rest: (Vf, 3) float64, the full mesh.
        reduced: (Vr, 3) float64, the reduced mesh at rest.
        gradients: of the reduced mesh.
        influence: (Vf, 4 Vr), what the vertices take from the moves (column 4 k) and gradients (the three columns
            after it) of the reduced vertices k.
        distance: (Vf,) from the reduced surface at rest.
    """

    rest: np.ndarray
    reduced: np.ndarray
    gradients: SurfaceGradients
    influence: csr_array
    distance: np.ndarray

    @classmethod
    def of(cls, full: Mesh, reduced: Mesh) -> ProxyBinding:
        """Bind a mesh to a reduced copy of it in the same pose.

        A vertex hangs on the nearest triangle that faces as it does and belongs to the same part: parts that do not
        hang together in the full mesh do not stick to each other where they touch. A part that is lost in the reduced
        mesh hangs on the nearest one.

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
        parts, owners = _matched_parts(points, full.faces.cpu().numpy(), vertices, triangles)
        chosen, weights, distance = _nearest_triangles(points, normals, parts, vertices[triangles], owners)
        rows = np.repeat(np.arange(len(points)), 3)
        shares = csr_array(
            (weights.reshape(-1), (rows, triangles[chosen].reshape(-1))), shape=(len(points), len(vertices))
        )
        steps = round(SPREAD * len(full.faces) / len(triangles))
        shares = _spread(shares, full.faces.cpu().numpy(), min(steps, MOST_STEPS))
        rows = np.repeat(np.arange(len(points)), np.diff(shares.indptr))
        arms = np.column_stack([np.ones(len(rows)), points[rows] - vertices[shares.indices]])
        columns = 4 * shares.indices[:, None] + np.arange(4)
        influence = csr_array(
            ((shares.data[:, None] * arms).reshape(-1), columns.reshape(-1), 4 * shares.indptr),
            shape=(len(points), 4 * len(vertices)),
        )
        return cls(points, vertices, gradients, influence, distance)

    def pose(self, pose: np.ndarray | Tensor) -> np.ndarray:
        """The full mesh (Vf, 3), float32, where the reduced one is at ``pose`` (Vr, 3)."""
        moved = (pose.detach().cpu().numpy() if isinstance(pose, Tensor) else np.asarray(pose)).astype(np.float64)
        if moved.shape != self.reduced.shape:
            raise ValueError(f"binding: a pose of shape {moved.shape}, expected {self.reduced.shape}")
        changes = self.gradients.changes(moved)
        says = np.concatenate([(moved - self.reduced)[:, None], changes.swapaxes(1, 2)], 1)
        return (self.rest + self.influence @ says.reshape(-1, 3)).astype(np.float32)

    def poses(self, poses: Iterable[np.ndarray | Tensor]) -> Iterator[np.ndarray]:
        """One pose after the other, so that memory does not grow with their number."""
        return (self.pose(pose) for pose in poses)

    def apply(self, poses: np.ndarray | Tensor) -> np.ndarray:
        """All poses of the full mesh (T, Vf, 3), float32, from those of the reduced one (T, Vr, 3)."""
        moved = np.empty((len(poses), *self.rest.shape), np.float32)
        for index in range(len(poses)):
            moved[index] = self.pose(poses[index])
        return moved


def decimated_copy(mesh: Mesh, faces: int) -> Mesh:
    """A copy of at most about ``faces`` faces whose parts stay apart where they touch; the mesh itself if it has fewer.

    Args:
        mesh: welded, with vertex colours or a texture.
        faces: to keep.
    """
    return mesh if len(mesh.faces) <= faces else simplified(mesh, faces, weld=False)


def _spread(shares: csr_array, faces: np.ndarray, steps: int) -> csr_array:
    """Weights (Vf, Vr), rows that sum to 1, averaged with their neighbours' along edges, ``steps`` times."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]])
    ends = np.concatenate([edges, edges[:, ::-1]])
    count = shares.shape[0]
    near = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    degree = near.sum(1)
    half = diags_array(0.5 / np.maximum(degree, 1))
    mean = csr_array(half @ near + diags_array(np.where(degree > 0, 0.5, 1.0)) @ eye_array(count))
    for _ in range(steps):
        shares = csr_array(mean @ shares)
        shares.data[shares.data < LEAST_WEIGHT] = 0
        shares.eliminate_zeros()
        shares = csr_array(diags_array(1 / shares.sum(1)) @ shares)
    return shares


def _matched_parts(
    points: np.ndarray, faces: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The part of each full vertex (Vf,) and of each reduced triangle (F,), numbered alike.

    A reduced part belongs to that full part whose triangles are nearest to most of its own, in place and direction.
    Full parts that none belongs to take the number of the nearest one.
    """
    full, reduced = connected_components(faces, len(points)), connected_components(triangles, len(vertices))
    used = np.unique(triangles)
    reach = LEAN * float(np.linalg.norm(vertices[triangles[:, 1]] - vertices[triangles[:, 0]], axis=1).mean())
    near = cKDTree(_placed(points, faces, reach)).query(_placed(vertices, triangles, reach))[1]
    votes = coo_array(
        (np.ones(len(triangles)), (reduced[triangles[:, 0]], full[faces[near, 0]])),
        shape=(reduced.max() + 1, full.max() + 1),
    ).tocsr()
    owner = np.asarray(votes.argmax(axis=1)).reshape(-1)
    owners = owner[reduced[triangles[:, 0]]]
    lost = ~np.isin(full, owners)
    if lost.any():
        nearest = cKDTree(vertices[used]).query(points[lost])[1]
        of_vertex = owner[reduced[used[nearest]]]
        ends = np.unique(full[lost], return_index=True, return_inverse=True)
        full = full.copy()
        full[lost] = of_vertex[ends[1]][ends[2].reshape(-1)]
    return full, owners


def _placed(vertices: np.ndarray, triangles: np.ndarray, reach: float) -> np.ndarray:
    """The middles of triangles, and their unit normals times ``reach``: (F, 6)."""
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.column_stack([corners.mean(1), reach * normals / np.maximum(length, 1e-300)])


def _nearest_triangles(
    points: np.ndarray, normals: np.ndarray, parts: np.ndarray, corners: np.ndarray, owners: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each point the triangle that it hangs on.

    Args:
        points: (N, 3).
        normals: (N, 3) unit, or 0.
        parts: (N,).
        corners: (F, 3, 3) of the triangles.
        owners: (F,) their parts.

    Returns:
        triangles (N,), barycentric weights of the nearest point there (N, 3), distances (N,).
    """
    sides = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2)
    edge = float(sides.mean())
    facing = _placed(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), 1.0)[:, 3:]
    samples, of_sample = _samples(corners, np.ceil(sides.max(1) / edge).clip(1, FINEST).astype(int))
    # Triangles of other parts are farther away than anything.
    apart = 4 * float(np.ptp(corners.reshape(-1, 3), axis=0).max() + np.ptp(points, axis=0).max() + edge)
    tree = cKDTree(np.column_stack([samples, LEAN * edge * facing[of_sample], apart * owners[of_sample]]))
    asked = np.column_stack([points, LEAN * edge * normals, apart * parts])
    count = min(CANDIDATES, len(samples))
    chosen = np.empty(len(points), np.int64)
    weights, distance = np.empty((len(points), 3)), np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        rows = slice(start, min(start + BLOCK, len(points)))
        near = of_sample[tree.query(asked[rows], k=np.arange(1, count + 1))[1]]
        found = barycentric(points[rows, None], corners[near])
        gap = np.linalg.norm((found[..., None] * corners[near]).sum(2) - points[rows, None], axis=2)
        turned = np.maximum(-(facing[near] * normals[rows, None]).sum(2), 0)
        cost = gap + FACING * edge * turned + apart * (owners[near] != parts[rows, None])
        best = cost.argmin(1)[:, None]
        chosen[rows] = np.take_along_axis(near, best, 1)[:, 0]
        weights[rows] = np.take_along_axis(found, best[..., None], 1)[:, 0]
        distance[rows] = np.take_along_axis(gap, best, 1)[:, 0]
    return chosen, weights, distance


def _samples(corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points inside triangles (F, 3, 3): the middles of the n^2 triangles that each is cut into; and their triangles.

    Args:
        corners: (F, 3, 3).
        counts: (F,) n of each.
    """
    points, owners = [], []
    for count in np.unique(counts).tolist():
        chosen = np.flatnonzero(counts == count)
        first, second = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
        up = np.stack([first, second], -1)[first + second < count] + 1 / 3
        down = np.stack([first, second], -1)[first + second < count - 1] + 2 / 3
        shares = np.concatenate([up, down]) / count
        weights = np.column_stack([1 - shares.sum(1), shares])
        points.append((weights @ corners[chosen]).reshape(-1, 3))
        owners.append(np.repeat(chosen, len(weights)))
    return np.concatenate(points), np.concatenate(owners)


def barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Weights (..., 3), none below 0, of the point of each triangle that is nearest to a point.

    Source: Ericson 2005, "Real-Time Collision Detection", section 5.1.5: inside, or on the nearest of the three edges.

    Args:
        points: (..., 3), broadcast against the triangles.
        corners: (..., 3, 3) of triangles that have an area.
    """
    a, b, c = np.moveaxis(corners, -2, 0)
    first, second, way = b - a, c - a, points - a
    aa, ab, bb = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    pa, pb = (way * first).sum(-1), (way * second).sum(-1)
    area = aa * bb - ab * ab
    v, w = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    inside = np.stack([1 - v - w, v, w], -1)
    best, least = inside, np.where((inside >= 0).all(-1), -1.0, np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        side = corners[..., end, :] - corners[..., start, :]
        arm = points - corners[..., start, :]
        share = np.clip((arm * side).sum(-1) / (side * side).sum(-1), 0, 1)
        gap = np.square(arm - share[..., None] * side).sum(-1)
        on_edge = np.zeros_like(inside)
        on_edge[..., start], on_edge[..., end] = 1 - share, share
        nearer = gap < least
        best, least = np.where(nearer[..., None], on_edge, best), np.where(nearer, gap, least)
    return best
