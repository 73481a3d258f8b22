"""An embedded deformation graph: a few hundred rigidly moving nodes that carry a mesh.

Nodes lie on the surface, evenly by way along its edges, so that parts that touch but are not connected stay free of
each other. Every vertex follows a few near nodes. Neighbouring nodes are tied at an anchor in the middle of the body
(the medial axis) rather than on its skin: there a limb bends about its bone, and only the difference of the nodes'
turns costs anything; lengths along the bone stay.

Source: Sumner, Schmid and Pauly 2007, "Embedded deformation for shape manipulation"; the ties between nodes are those
of Botsch, Pauly, Gross and Kobbelt 2006, "PriMo: coupled prisms for intuitive surface modeling", reduced to a point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from registration.deformation_graph.block_cholesky import BlockPattern
from registration.deformation_graph.kernels import farthest_points, nearest_nodes
from registration.elasticity.connectivity import component_connections, thickness_links
from v2m4.geometry import connected_components, unique_edges
from v2m4.rotation import best_rotations
from v2m4.surface_points import SurfacePoints

NEIGHBOURS = 4  # nodes that carry a vertex
LEAST = 0.03  # weight of a node that carries a vertex
PART_SHARE = 0.5  # of the nodes may go to parts of their own; smaller parts hang on their neighbours'


@dataclass(frozen=True)
class Poses:
    """Where the nodes are at T times.

    Attributes:
        rotations: (T, K, 3, 3) float64, from rest.
        positions: (T, K, 3) float64.
    """

    rotations: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: slice | np.ndarray | list[int]) -> Poses:
        return Poses(self.rotations[index], self.positions[index])

    @classmethod
    def joined(cls, parts: list[Poses]) -> Poses:
        """One after the other."""
        return cls(
            np.concatenate([part.rotations for part in parts]), np.concatenate([part.positions for part in parts])
        )


@dataclass(frozen=True)
class BoundPoints:
    """Points that nodes carry, in compressed rows: a point is the sum over its nodes of R local + weight p.

    Attributes:
        start: (N + 1,) int64.
        node: (H,) int64.
        weight: (H,) float64, sums to 1 for each point.
        local: (H, 3) float64.
    """

    start: np.ndarray
    node: np.ndarray
    weight: np.ndarray
    local: np.ndarray


@dataclass(frozen=True)
class DeformationGraph:
    """K nodes of a mesh at rest.

    Attributes:
        rest: (V, 3) float64, vertices.
        faces: (F, 3) int64.
        nodes: (K,) vertices that are nodes.
        influences: (V, n) int64 nodes of each vertex; -1 where it has fewer.
        weights: (V, n) float64, sum to 1.
        edges: (E, 2) int64 pairs of nodes.
        anchors: (E, 3) where a pair is tied, at rest.
        lengths: (E,) between the nodes at rest.
        pattern: of the equations whose unknowns are the nodes.
        unit: longest side of the mesh's box.
    """

    rest: np.ndarray
    faces: np.ndarray
    nodes: np.ndarray
    influences: np.ndarray
    weights: np.ndarray
    edges: np.ndarray
    anchors: np.ndarray
    lengths: np.ndarray
    pattern: BlockPattern
    unit: float

    def __len__(self) -> int:
        return len(self.nodes)

    @classmethod
    def of(cls, vertices: Tensor, faces: Tensor, count: int) -> DeformationGraph:
        """A graph of at most ``count`` nodes.

        Args:
            vertices: (V, 3) at rest.
            faces: (F, 3).
            count: of nodes.

        Raises:
            ValueError: the mesh has no faces.
        """
        if len(faces) == 0:
            raise ValueError("deformation graph: the mesh has no faces")
        points, triangles = vertices.detach().cpu().double().numpy(), faces.detach().cpu().long().numpy()
        links = component_connections(vertices, faces)
        way, parts, loose = _ways(points, triangles, links, max(1, int(PART_SHARE * count)))
        used = np.unique(triangles)
        unit = float(np.ptp(points[used], axis=0).max())
        first = _first_nodes(points, parts, used)
        rows = (way.indptr.astype(np.int64), way.indices.astype(np.int64), way.data)
        nodes = farthest_points(*rows, first, min(count, len(used)), 1e-6 * unit)
        found, ways = nearest_nodes(*rows, nodes, NEIGHBOURS + 1)
        influences, weights = _weights(found, ways)
        stray = influences[:, 0] < 0  # vertices on no face follow whatever is near
        if stray.any():
            gap = np.linalg.norm(points[stray, None] - points[nodes][None], axis=2)
            influences[stray, 0], weights[stray, 0] = gap.argmin(1), 1.0
        middle = _middle(vertices, faces, nodes, influences, parts)
        edges, anchors = _edges(points, triangles, links[loose], middle, influences, parts)
        lengths = np.linalg.norm(points[nodes[edges[:, 0]]] - points[nodes[edges[:, 1]]], axis=1)
        lengths = np.maximum(lengths, 1e-3 * unit)
        pattern = BlockPattern.of(_coupled(edges, influences, triangles, len(nodes)))
        return cls(points, triangles, nodes, influences, weights, edges, anchors, lengths, pattern, unit)

    @property
    def centres(self) -> np.ndarray:
        """Nodes at rest, (K, 3)."""
        return self.rest[self.nodes]

    @property
    def offsets(self) -> np.ndarray:
        """From either node of an edge to its anchor, at rest, (E, 2, 3)."""
        return self.anchors[:, None, :] - self.centres[self.edges]

    def with_rest(self, vertices: np.ndarray) -> DeformationGraph:
        """The same nodes with another rest pose, (V, 3)."""
        poses, (first, second) = self.fit_vertices(vertices[None]), self.edges.T
        offsets, (rotations, positions) = self.offsets, (poses.rotations[0], poses.positions[0])
        anchors = np.einsum("eab,eb->ea", rotations[first], offsets[:, 0]) + positions[first]
        anchors += np.einsum("eab,eb->ea", rotations[second], offsets[:, 1]) + positions[second]
        ends = vertices[self.nodes[self.edges]]
        lengths = np.maximum(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), 1e-3 * self.unit)
        return replace(self, rest=vertices, anchors=anchors / 2, lengths=lengths)

    def rest_poses(self, count: int = 1) -> Poses:
        """The rest pose, so many times."""
        shape = (count, len(self), 3)
        return Poses(np.tile(np.eye(3), (count, len(self), 1, 1)), np.broadcast_to(self.centres, shape).copy())

    def deform(self, poses: Poses) -> np.ndarray:
        """Vertices (T, V, 3) in poses."""
        out = np.zeros((len(poses), *self.rest.shape))
        for slot in range(self.influences.shape[1]):
            node = np.maximum(self.influences[:, slot], 0)
            arm = self.rest - self.centres[node]
            moved_to_mask = np.einsum("tvab,vb->tva", poses.rotations[:, node], arm) + poses.positions[:, node]
            out += self.weights[:, slot, None] * moved_to_mask
        return out

    def bind(self, points: SurfacePoints) -> BoundPoints:
        """Points of the surface, as nodes carry them."""
        corners = self.faces[points.faces.cpu().numpy()]
        share = points.weights.cpu().double().numpy()
        node = self.influences[corners].reshape(len(corners), -1)
        weight = (share[..., None] * self.weights[corners]).reshape(len(corners), -1)
        arm = (self.rest[corners][:, :, None] - self.centres[self.influences[corners]]).reshape(*node.shape, 3)
        row, slot = np.nonzero(weight > 0)
        key = row * len(self) + node[row, slot]
        unique, inverse = np.unique(key, return_inverse=True)
        start = np.searchsorted(unique // len(self), np.arange(len(corners) + 1)).astype(np.int64)
        values = weight[row, slot]
        local = [np.bincount(inverse, values * arm[row, slot, axis], len(unique)) for axis in range(3)]
        return BoundPoints(start, unique % len(self), np.bincount(inverse, values, len(unique)), np.stack(local, 1))

    def fit_vertices(self, vertices: np.ndarray) -> Poses:
        """The poses of the nodes that best give vertices (T, V, 3): each its own vertices' rigid motion."""
        count, times = len(self), len(vertices)
        rotations, positions = np.zeros((times, count, 3, 3)), np.zeros((times, count, 3))
        row, slot = np.nonzero(self.weights > 0)
        node, weight = self.influences[row, slot], self.weights[row, slot]
        spread = sparse.csr_matrix((weight, (node, row)), shape=(count, len(self.rest)))
        mass = np.asarray(spread.sum(1))
        middle = spread @ self.rest / mass
        offsets = self.rest[row] - middle[node]
        for time in range(times):
            centre = spread @ vertices[time] / mass
            outer = weight[:, None, None] * offsets[:, :, None] * (vertices[time][row] - centre[node])[:, None, :]
            total = np.stack([np.bincount(node, outer[:, a, b], count) for a in range(3) for b in range(3)], 1)
            rotations[time] = best_rotations(torch.from_numpy(total.reshape(count, 3, 3))).numpy()
            positions[time] = centre + np.einsum("kab,kb->ka", rotations[time], self.centres - middle)
        return Poses(rotations, positions)


def _ways(
    points: np.ndarray, triangles: np.ndarray, links: np.ndarray, most: int
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Edges with lengths (V, V), the part of every vertex (V,), and which links are joints between parts.

    Parts beyond the ``most`` largest hang on their neighbours: their links count as edges.
    """
    edges = unique_edges(torch.from_numpy(triangles)).numpy()
    used = np.unique(triangles)
    labels = connected_components(edges, len(points))
    names, sizes = np.unique(labels[used], return_counts=True)
    if len(links) and len(names) > most:
        own = np.zeros(labels.max() + 1, bool)
        own[names[np.argsort(-sizes, kind="stable")[:most]]] = True
        edges = np.concatenate([edges, links[~(own[labels[links]]).all(1)]])
        labels = connected_components(edges, len(points))
    length = np.maximum(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1), 1e-12)
    way = sparse.coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(len(points), len(points))).tocsr()
    way = way.maximum(way.T).tocsr()
    joint = labels[links[:, 0]] != labels[links[:, 1]] if len(links) else np.zeros(0, bool)
    return way, labels, joint


def _first_nodes(points: np.ndarray, parts: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The vertex nearest to the middle of each part that has faces."""
    label = parts[used]
    counts = np.bincount(label)
    middle = np.stack([np.bincount(label, points[used, axis]) for axis in range(3)], 1) / np.maximum(counts, 1)[:, None]
    distance = np.linalg.norm(points[used] - middle[label], axis=1)
    order = np.lexsort((distance, label))
    first = order[np.unique(label[order], return_index=True)[1]]
    return used[first].astype(np.int64)


def _weights(found: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (V, n) of each vertex and their weights, which fall to 0 at the way to the next node."""
    influences = found[:, :-1].copy()
    there = influences >= 0
    last = np.where(np.isfinite(ways), ways, 0.0).max(1)
    few = ~np.isfinite(ways[:, -1])  # of a part with few nodes: all of them carry
    limit = np.where(few, 2 * last, ways[:, -1])
    ratio = np.where(there, ways[:, :-1], np.inf) / np.maximum(limit, 1e-12)[:, None]
    weights = np.where(there, np.square(np.maximum(1 - ratio, 0)), 0.0)
    weights[:, 0] = np.where(influences[:, 0] >= 0, np.maximum(weights[:, 0], 1e-6), 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    weights = np.where(weights > LEAST, weights, 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return np.where(weights > 0, influences, -1), weights


def _middle(
    vertices: Tensor, faces: Tensor, nodes: np.ndarray, influences: np.ndarray, parts: np.ndarray
) -> np.ndarray:
    """The middle of the body below each node, (K, 3): mean of its vertices' medial points; itself where it has none."""
    points = vertices.detach().cpu().double().numpy()
    through = thickness_links(vertices, faces)
    through = through[parts[through[:, 0]] == parts[through[:, 1]]]
    node = influences[through[:, 0], 0]
    centre = points[through].mean(1)
    middle = points[nodes].copy()
    for k in np.unique(node):
        middle[k] = np.median(centre[node == k], axis=0)
    return middle


def _edges(
    points: np.ndarray,
    triangles: np.ndarray,
    articulation: np.ndarray,
    middle: np.ndarray,
    influences: np.ndarray,
    parts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of nodes that move together (E, 2), and their anchors (E, 3).

    Neighbours are nodes whose vertices share an edge; parts are tied at the middle of the places where they touch.
    """
    nearest = influences[:, 0]
    sides = unique_edges(torch.from_numpy(triangles)).numpy()
    pairs = np.sort(nearest[sides], 1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    anchors = middle[pairs].mean(1)
    if len(articulation):
        labels = np.sort(parts[articulation], 1)
        _, group = np.unique(labels, axis=0, return_inverse=True)
        group = group.ravel()
        touch = points[articulation].mean(1)
        counts = np.bincount(group)
        centre = np.stack([np.bincount(group, touch[:, axis]) for axis in range(3)], 1) / counts[:, None]
        tied = np.unique(np.concatenate([np.sort(nearest[articulation], 1), group[:, None]], 1), axis=0)
        pairs, anchors = np.concatenate([pairs, tied[:, :2]]), np.concatenate([anchors, centre[tied[:, 2]]])
    return pairs, anchors


def _coupled(edges: np.ndarray, influences: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """Which nodes carry points of one triangle, or are tied, (K, K) bool."""
    corners = np.unique(np.sort(influences[triangles].reshape(len(triangles), -1), 1), axis=0)
    row, column = np.nonzero(corners >= 0)
    member = sparse.csr_matrix((np.ones(len(row)), (row, corners[row, column])), shape=(len(corners), count))
    coupled = (member.T @ member).toarray() > 0
    coupled[edges[:, 0], edges[:, 1]] = coupled[edges[:, 1], edges[:, 0]] = True
    return coupled
