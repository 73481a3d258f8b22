"""The as-rigid-as-possible (ARAP) energy of a deformed shape, its gradient, and the local and global steps on it.

The energy is summed over a graph of weighted edges: the mesh's edges with cotangent weights, connections between its
components, and connections through the body between opposite sides, which preserve its thickness (a surface alone can
flatten without any stretch).

Source: Sorkine and Alexa 2007, "As-Rigid-As-Possible Surface Modeling"; rotations have determinant +1 (rotations.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from registration.elasticity.connectivity import thickness_connections
from v2m4.geometry import unique_edges
from v2m4.kernels import kernel
from v2m4.rotation import best_rotation_into, best_rotations
from v2m4.threads import share

COTANGENT_RANGE = (0.05, 3.0)  # limits of a weight: negative at obtuse angles, very large in thin triangles
POSES_AT_ONCE = 16  # whose rotations are held, 7 MB for 6,000 vertices
CONNECTION_WEIGHT = 1.0  # of a connection between components; a regular mesh's edges have 0.58


@dataclass(frozen=True)
class Graph:
    """Weighted edges in compressed rows, each edge in both directions.

    Attributes:
        start: (V + 1,) int64, where each vertex's neighbours begin.
        neighbour: (H,) int32.
        weight: (H,) float64.
        rest: (H, 3) float64, rest vector from the neighbour to the vertex: r_i - r_j.
    """

    start: np.ndarray
    neighbour: np.ndarray
    weight: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, vertices: Tensor, edges: np.ndarray, weights: np.ndarray) -> Graph:
        """The graph of undirected edges (E, 2) with weights (E,) and rest vertices (V, 3); duplicates add up."""
        points = vertices.detach().cpu().double().numpy()
        count = len(points)
        both = np.concatenate([edges, edges[:, ::-1]])
        matrix = sparse.csr_matrix((np.tile(weights, 2), (both[:, 0], both[:, 1])), shape=(count, count))
        matrix.sum_duplicates()
        row = np.repeat(np.arange(count), np.diff(matrix.indptr))
        rest = points[row] - points[matrix.indices]
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data, rest)

    @property
    def rows(self) -> np.ndarray:
        """The vertex that each directed edge starts from, (H,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def laplacian(self) -> sparse.csr_matrix:
        """Degree minus weights, (V, V)."""
        count = len(self.start) - 1
        adjacency = sparse.csr_matrix((self.weight, self.neighbour, self.start), shape=(count, count))
        return sparse.csr_matrix(sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)

    def measure(self) -> float:
        """Sum of weight times squared rest length: the energy of a shape shrunk to a point."""
        return float((self.weight * np.square(self.rest).sum(1)).sum())


def cotangent_weights(vertices: Tensor, faces: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges (E, 2) and their cotangent weights (E,), clamped to ``COTANGENT_RANGE``."""
    points, triangles = vertices.detach().cpu().double(), faces.detach().cpu().long()
    corners = points[triangles]
    keys, values = [], []
    for corner in range(3):
        first = corners[:, (corner + 1) % 3] - corners[:, corner]
        second = corners[:, (corner + 2) % 3] - corners[:, corner]
        area = torch.cross(first, second, dim=1).norm(dim=1).clamp_min(1e-20)
        values.append(0.5 * (first * second).sum(1) / area)
        keys.append(triangles[:, [(corner + 1) % 3, (corner + 2) % 3]])
    edges = unique_edges(triangles)
    directed = torch.cat(keys).sort(1).values
    place = directed[:, 0] * len(points) + directed[:, 1]
    index = torch.searchsorted(edges[:, 0] * len(points) + edges[:, 1], place)
    weights = torch.zeros(len(edges), dtype=torch.float64).index_add(0, index, torch.cat(values))
    return edges.numpy(), weights.clamp(*COTANGENT_RANGE).numpy()


def shape_graph(
    vertices: Tensor, faces: Tensor, thickness: float = 0.0, connections: np.ndarray | None = None
) -> Graph:
    """Returns the ARAP graph of a rest shape: mesh edges, component connections and thickness connections.

    Args:
        vertices: (V, 3) rest positions.
        faces: (F, 3).
        thickness: ``measure`` of the connections through the body, relative to that of the surface's edges.
        connections: (N, 2) vertices, connections between components.
    """
    edges, weights = cotangent_weights(vertices, faces)
    if connections is not None and len(connections):
        edges = np.concatenate([edges, connections])
        weights = np.concatenate([weights, np.full(len(connections), CONNECTION_WEIGHT)])
    if thickness <= 0:
        return Graph.of(vertices, edges, weights)
    opposite = thickness_connections(vertices, faces)
    points = vertices.detach().cpu().double().numpy()
    surface_measure = float((weights * np.square(points[edges[:, 0]] - points[edges[:, 1]]).sum(1)).sum())
    opposite_measure = float(np.square(points[opposite[:, 0]] - points[opposite[:, 1]]).sum()) if len(opposite) else 0.0
    if opposite_measure <= 0:
        return Graph.of(vertices, edges, weights)
    opposite_weights = np.full(len(opposite), thickness * surface_measure / opposite_measure)
    return Graph.of(vertices, np.concatenate([edges, opposite]), np.concatenate([weights, opposite_weights]))


class Arap:
    """The ARAP energy of poses of one rest shape.

    The energy is the sum over i, j of w_ij |(v_i - v_j) - R_i (r_i - r_j)|^2, with the best R_i, over the graph's
    ``measure``: a mean squared relative stretch, dimensionless.

    Args:
        graph: rest shape.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._scale = 1.0 / max(graph.measure(), 1e-300)
        self._tensors: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __call__(self, vertices: Tensor) -> Tensor:
        """Energies (...) of poses (..., V, 3), differentiable: exactly, as the rotations are stationary."""
        return _Energy.apply(vertices, self)

    def evaluate(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """The energies (...) of poses (..., V, 3), each pose's own, and their gradients (..., V, 3)."""
        if vertices.device.type != "cpu":
            found = [self.reference(pose) for pose in vertices.reshape(-1, *vertices.shape[-2:])]
            energy, gradient = (torch.stack(part) for part in zip(*found, strict=True))
            return energy.reshape(vertices.shape[:-2]), gradient.reshape(vertices.shape)
        poses = vertices.detach().reshape(-1, *vertices.shape[-2:])
        energies, gradients = np.empty(len(poses)), torch.empty_like(poses)
        for first in range(0, len(poses), POSES_AT_ONCE):
            points = poses[first : first + POSES_AT_ONCE].double().contiguous().numpy()
            rotations, cells = self._fit(points)
            slopes = np.empty(points.shape)
            share(_gradient, cells.size, points, *self._edges(), rotations, slopes)
            energies[first : first + len(points)] = cells.sum(1) * self._scale
            gradients[first : first + len(points)] = torch.from_numpy(slopes * self._scale)
        return torch.from_numpy(energies).to(vertices).reshape(vertices.shape[:-2]), gradients.reshape(vertices.shape)

    def reference(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """``evaluate`` for one pose in torch, on its device and in its precision: for GPUs and as a reference."""
        row, column, weight, rest = self._on(vertices)
        points = vertices.detach()
        edge = points.index_select(0, row) - points.index_select(0, column)
        outer = ((weight * rest)[:, :, None] * edge[:, None, :]).flatten(1)
        correlation = points.new_zeros(len(points), 9).index_add(0, row, outer).unflatten(1, (3, 3))
        rotation = best_rotations(correlation).index_select(0, row)
        residual = edge - (rotation @ rest[..., None])[..., 0]
        energy = (weight * residual.square()).sum() * self._scale
        edge_gradient = 2 * self._scale * weight * residual  # the best rotations are stationary
        gradient = torch.zeros_like(points).index_add(0, row, edge_gradient).index_add(0, column, -edge_gradient)
        return energy, gradient

    def _on(self, vertices: Tensor) -> tuple[Tensor, ...]:
        """Rows, columns, weights (H, 1) and rest vectors (H, 3) on the vertices' device, in their precision; cached."""
        key = (vertices.device, vertices.dtype)
        if key not in self._tensors:
            graph = self.graph
            indices = (torch.from_numpy(part.astype(np.int64)) for part in (graph.rows, graph.neighbour))
            values = (torch.from_numpy(part) for part in (graph.weight[:, None], graph.rest))
            tensors = [part.to(vertices.device) for part in indices], [part.to(vertices) for part in values]
            self._tensors[key] = (*tensors[0], *tensors[1])
        return self._tensors[key]

    def fit(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The local step: each cell's best rotation (V, 3, 3) and residual energy (V,), not divided by the measure.

        Args:
            vertices: a pose (V, 3), float64.
        """
        rotations, cells = self._fit(np.ascontiguousarray(vertices[None]))
        return rotations[0], cells[0]

    def _fit(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``fit`` of several poses (K, V, 3)."""
        rotations, cells = np.empty((*points.shape, 3)), np.empty(points.shape[:2])
        share(_fit_rotations, cells.size, points, *self._edges(), rotations, cells)
        return rotations, cells

    def _edges(self) -> tuple[np.ndarray, ...]:
        """The graph as the kernels take it."""
        return (self.graph.start, self.graph.neighbour, self.graph.weight, self.graph.rest)

    def right_side(self, rotations: np.ndarray) -> np.ndarray:
        """Returns the right-hand side b (V, 3) of the global step L v = b: Sorkine and Alexa 2007, equation 8."""
        right = np.empty((len(rotations), 3))
        share(_right_side, len(right), *self._edges(), rotations, right)
        return right


class _Energy(torch.autograd.Function):
    """The ARAP energy as an autograd function: ``forward`` already computes the gradient."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, arap: Arap) -> Tensor:
        energy, gradient = arap.evaluate(vertices)
        ctx.save_for_backward(gradient)
        return energy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0][..., None, None] * gradient, None


@kernel("i8, i8, f8[:,:,::1], i8[::1], i4[::1], f8[::1], f8[:,::1], f8[:,:,:,::1], f8[:,::1]")
def _fit_rotations(first, last, poses, start, neighbour, weight, rest, rotations, cells):
    """Fits each cell's rotation and energy; a vertex writes its own row, so threads do not change the result."""
    for task in range(first, last):
        pose, i = task // poses.shape[1], task % poses.shape[1]
        points, rotation = poses[pose], rotations[pose, i]
        s = np.zeros((3, 3))
        for h in range(start[i], start[i + 1]):
            j = neighbour[h]
            for b in range(3):
                edge = weight[h] * (points[i, b] - points[j, b])
                for a in range(3):
                    s[a, b] += rest[h, a] * edge
        best_rotation_into(s, rotation)
        total = 0.0
        for h in range(start[i], start[i + 1]):
            j = neighbour[h]
            for a in range(3):
                residual = points[i, a] - points[j, a]
                for b in range(3):
                    residual -= rotation[a, b] * rest[h, b]
                total += weight[h] * residual * residual
        cells[pose, i] = total


@kernel("i8, i8, f8[:,:,::1], i8[::1], i4[::1], f8[::1], f8[:,::1], f8[:,:,:,::1], f8[:,:,::1]")
def _gradient(first, last, poses, start, neighbour, weight, rest, rotations, gradient):
    """Gradient of the energy with respect to the points: an edge belongs to the cells of both of its ends."""
    for task in range(first, last):
        pose, i = task // poses.shape[1], task % poses.shape[1]
        points, of_cells = poses[pose], rotations[pose]
        for a in range(3):
            total = 0.0
            for h in range(start[i], start[i + 1]):
                j = neighbour[h]
                residual = 2.0 * (points[i, a] - points[j, a])
                for b in range(3):
                    residual -= (of_cells[i, a, b] + of_cells[j, a, b]) * rest[h, b]
                total += 2.0 * weight[h] * residual
            gradient[pose, i, a] = total


@kernel("i8, i8, i8[::1], i4[::1], f8[::1], f8[:,::1], f8[:,:,::1], f8[:,::1]")
def _right_side(first, last, start, neighbour, weight, rest, rotations, right):
    for i in range(first, last):
        for a in range(3):
            total = 0.0
            for h in range(start[i], start[i + 1]):
                j = neighbour[h]
                for b in range(3):
                    total += 0.5 * weight[h] * (rotations[i, a, b] + rotations[j, a, b]) * rest[h, b]
            right[i, a] = total
