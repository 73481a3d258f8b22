"""Embedded deformation graph: a few hundred nodes with rigid motions, blended to deform a mesh.

Nodes are vertices, spread by farthest point sampling in geodesic distance along the mesh's edges, so parts that touch
without being connected deform independently. Every vertex is influenced by a few near nodes. Neighbouring nodes are
joined at an anchor on the medial axis rather than on the surface: a limb that bends about its bone then changes only
the difference of the nodes' rotations, and lengths along the bone are kept.

Source: Sumner, Schmid and Pauly 2007, "Embedded deformation for shape manipulation"; the coupling of nodes is that of
Botsch, Pauly, Gross and Kobbelt 2006, "PriMo: coupled prisms for intuitive surface modeling", with a point for a face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from registration.deformation_graph.block_cholesky import BlockPattern
from registration.deformation_graph.geodesic_kernels import farthest_points, nearest_nodes
from registration.deformation_graph.tuning import TUNING
from registration.elasticity.connectivity import component_connections, thickness_connections
from v2m4.geometry import connected_components, unique_edges
from v2m4.rotation import best_rotations
from v2m4.surface_points import SurfacePoints


@dataclass(frozen=True)
class Poses:
    """Rigid motions of K nodes at T times.

    Attributes:
        rotations: (T, K, 3, 3) float64, from the rest pose.
        positions: (T, K, 3) float64, units of space.
    """

    rotations: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: slice | np.ndarray | list[int]) -> Poses:
        return Poses(self.rotations[index], self.positions[index])

    @classmethod
    def joined(cls, parts: list[Poses]) -> Poses:
        """Several sequences of poses, concatenated in time."""
        return cls(
            np.concatenate([part.rotations for part in parts]), np.concatenate([part.positions for part in parts])
        )


@dataclass(frozen=True)
class BoundPoints:
    """N surface points as linear functions of the nodes' poses, in compressed rows.

    Point n is the sum over h in [start[n], start[n + 1]) of R[node[h]] local[h] + weight[h] p[node[h]], where R and p
    are the nodes' rotations and positions.

    Attributes:
        start: (N + 1,) int64.
        node: (H,) int64.
        weight: (H,) float64, sums to 1 for each point.
        local: (H, 3) float64, weighted offset from the node, at rest.
    """

    start: np.ndarray
    node: np.ndarray
    weight: np.ndarray
    local: np.ndarray


@dataclass(frozen=True)
class DeformationGraph:
    """Deformation graph of a mesh, with K nodes.

    Attributes:
        rest: (V, 3) float64, vertices in the rest pose.
        faces: (F, 3) int64.
        nodes: (K,) int64, vertices that are nodes.
        influences: (V, n) int64, nodes that influence each vertex; -1 where there are fewer than n.
        weights: (V, n) float64, influence weights; rows sum to 1.
        edges: (E, 2) int64, pairs of nodes.
        anchors: (E, 3) where a pair is joined, in the rest pose.
        lengths: (E,) distance between the pair's nodes in the rest pose.
        pattern: block sparsity of the normal equations of one frame.
        unit: longest side of the mesh's bounding box; the object's size.
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
        """Build a graph of at most ``count`` nodes.

        Args:
            vertices: (V, 3) rest pose.
            faces: (F, 3).
            count: of nodes.

        Raises:
            ValueError: the mesh has no faces.
        """
        if len(faces) == 0:
            raise ValueError("deformation graph: the mesh has no faces")
        points, triangles = vertices.detach().cpu().double().numpy(), faces.detach().cpu().long().numpy()
        connections = component_connections(vertices, faces)
        components_limit = max(1, int(TUNING.component_share * count))
        distances, components, separate = _edge_lengths(points, triangles, connections, components_limit)
        used = np.unique(triangles)
        unit = float(np.ptp(points[used], axis=0).max())
        seeds = _seed_nodes(points, components, used)
        rows = (distances.indptr.astype(np.int64), distances.indices.astype(np.int64), distances.data)
        nodes = farthest_points(*rows, seeds, min(count, len(used)), TUNING.min_node_distance * unit)
        influences, weights = _influence_weights(*nearest_nodes(*rows, nodes, TUNING.influences + 1))
        isolated = influences[:, 0] < 0  # vertices of no face: influenced by the nearest node in space
        if isolated.any():
            gap = np.linalg.norm(points[isolated, None] - points[nodes][None], axis=2)
            influences[isolated, 0], weights[isolated, 0] = gap.argmin(1), 1.0
        medial = _medial_points(vertices, faces, nodes, influences, components)
        edges, anchors = _node_edges(points, triangles, connections[separate], medial, influences, components)
        lengths = np.linalg.norm(points[nodes[edges[:, 0]]] - points[nodes[edges[:, 1]]], axis=1)
        lengths = np.maximum(lengths, TUNING.min_edge_length * unit)
        pattern = BlockPattern.of(_coupled_nodes(edges, influences, triangles, len(nodes)))
        return cls(points, triangles, nodes, influences, weights, edges, anchors, lengths, pattern, unit)

    @property
    def centres(self) -> np.ndarray:
        """Positions of the nodes in the rest pose, (K, 3)."""
        return self.rest[self.nodes]

    @property
    def offsets(self) -> np.ndarray:
        """Offsets from either node of an edge to its anchor in the rest pose, (E, 2, 3)."""
        return self.anchors[:, None, :] - self.centres[self.edges]

    def with_rest(self, vertices: np.ndarray) -> DeformationGraph:
        """The same nodes, edges and weights with another rest pose (V, 3)."""
        poses, (first, second) = self.fit_vertices(vertices[None]), self.edges.T
        offsets, (rotations, positions) = self.offsets, (poses.rotations[0], poses.positions[0])
        anchors = np.einsum("eab,eb->ea", rotations[first], offsets[:, 0]) + positions[first]
        anchors += np.einsum("eab,eb->ea", rotations[second], offsets[:, 1]) + positions[second]
        ends = vertices[self.nodes[self.edges]]
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        lengths = np.maximum(lengths, TUNING.min_edge_length * self.unit)
        return replace(self, rest=vertices, anchors=anchors / 2, lengths=lengths)

    def rest_poses(self, count: int = 1) -> Poses:
        """The rest pose, ``count`` times."""
        shape = (count, len(self), 3)
        return Poses(np.tile(np.eye(3), (count, len(self), 1, 1)), np.broadcast_to(self.centres, shape).copy())

    def deform(self, poses: Poses) -> np.ndarray:
        """Vertices (T, V, 3) of T poses: the weighted sum of the nodes' rigid motions (linear blend skinning)."""
        out = np.zeros((len(poses), *self.rest.shape))
        for slot in range(self.influences.shape[1]):
            node = np.maximum(self.influences[:, slot], 0)
            local = self.rest - self.centres[node]
            transformed = np.einsum("tvab,vb->tva", poses.rotations[:, node], local) + poses.positions[:, node]
            out += self.weights[:, slot, None] * transformed
        return out

    def bind(self, points: SurfacePoints) -> BoundPoints:
        """Surface points as linear functions of the nodes' poses, consistent with ``deform``."""
        corners = self.faces[points.faces.cpu().numpy()]
        barycentric = points.weights.cpu().double().numpy()
        node = self.influences[corners].reshape(len(corners), -1)
        weight = (barycentric[..., None] * self.weights[corners]).reshape(len(corners), -1)
        offset = (self.rest[corners][:, :, None] - self.centres[self.influences[corners]]).reshape(*node.shape, 3)
        row, slot = np.nonzero(weight > 0)
        key = row * len(self) + node[row, slot]
        unique, inverse = np.unique(key, return_inverse=True)
        start = np.searchsorted(unique // len(self), np.arange(len(corners) + 1)).astype(np.int64)
        values = weight[row, slot]
        local = [np.bincount(inverse, values * offset[row, slot, axis], len(unique)) for axis in range(3)]
        return BoundPoints(start, unique % len(self), np.bincount(inverse, values, len(unique)), np.stack(local, 1))

    def fit_vertices(self, vertices: np.ndarray) -> Poses:
        """Poses that fit vertices (T, V, 3): for each node, the rigid motion of the vertices that it influences.

        Weighted orthogonal Procrustes, each node by itself.
        """
        count, times = len(self), len(vertices)
        rotations, positions = np.zeros((times, count, 3, 3)), np.zeros((times, count, 3))
        row, slot = np.nonzero(self.weights > 0)
        node, weight = self.influences[row, slot], self.weights[row, slot]
        by_node = sparse.csr_matrix((weight, (node, row)), shape=(count, len(self.rest)))
        mass = np.asarray(by_node.sum(1))
        rest_mean = by_node @ self.rest / mass
        offsets = self.rest[row] - rest_mean[node]
        for time in range(times):
            mean = by_node @ vertices[time] / mass
            outer = weight[:, None, None] * offsets[:, :, None] * (vertices[time][row] - mean[node])[:, None, :]
            total = np.stack([np.bincount(node, outer[:, a, b], count) for a in range(3) for b in range(3)], 1)
            rotations[time] = best_rotations(torch.from_numpy(total.reshape(count, 3, 3))).numpy()
            positions[time] = mean + np.einsum("kab,kb->ka", rotations[time], self.centres - rest_mean)
        return Poses(rotations, positions)


def _edge_lengths(
    points: np.ndarray, triangles: np.ndarray, connections: np.ndarray, limit: int
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Graph of the mesh's edges, for geodesic distances, and its connected components.

    Components beyond the ``limit`` largest are merged with those that they are connected to: their connections count
    as edges.

    Args:
        points: (V, 3).
        triangles: (F, 3).
        connections: (C, 2) vertices, from ``component_connections``.
        limit: components that stay separate, at most.

    Returns:
        Edge lengths, sparse (V, V) and symmetric; the component of each vertex, (V,); and which connections still join
        two components, (C,) bool.
    """
    edges = unique_edges(torch.from_numpy(triangles)).numpy()
    used = np.unique(triangles)
    labels = connected_components(edges, len(points))
    names, sizes = np.unique(labels[used], return_counts=True)
    if len(connections) and len(names) > limit:
        large = np.zeros(labels.max() + 1, bool)
        large[names[np.argsort(-sizes, kind="stable")[:limit]]] = True
        edges = np.concatenate([edges, connections[~(large[labels[connections]]).all(1)]])
        labels = connected_components(edges, len(points))
    length = np.maximum(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1), 1e-12)
    lengths = sparse.coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(len(points), len(points))).tocsr()
    lengths = lengths.maximum(lengths.T).tocsr()
    if len(connections) == 0:
        return lengths, labels, np.zeros(0, bool)
    return lengths, labels, labels[connections[:, 0]] != labels[connections[:, 1]]


def _seed_nodes(points: np.ndarray, components: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The vertex nearest to the centroid of each component that has faces; ``used`` are the vertices of faces."""
    label = components[used]
    counts = np.bincount(label)
    sums = np.stack([np.bincount(label, points[used, axis]) for axis in range(3)], 1)
    centroids = sums / np.maximum(counts, 1)[:, None]
    distance = np.linalg.norm(points[used] - centroids[label], axis=1)
    order = np.lexsort((distance, label))
    first = order[np.unique(label[order], return_index=True)[1]]
    return used[first].astype(np.int64)


def _influence_weights(nearest: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influences of each vertex and their weights (1 - d / d_max)^2, where d_max is the distance of the next node.

    Args:
        nearest: (V, n + 1) nodes, nearest first; -1 for none.
        distances: (V, n + 1) geodesic distances of these; inf for none.

    Returns:
        (V, n) nodes, -1 for none, and (V, n) weights whose rows sum to 1.
    """
    influences = nearest[:, :-1].copy()
    exists = influences >= 0
    farthest = np.where(np.isfinite(distances), distances, 0.0).max(1)
    few = ~np.isfinite(distances[:, -1])  # a component with few nodes: all of them influence the vertex
    limit = np.where(few, 2 * farthest, distances[:, -1])
    ratio = np.where(exists, distances[:, :-1], np.inf) / np.maximum(limit, 1e-12)[:, None]
    weights = np.where(exists, np.square(np.maximum(1 - ratio, 0)), 0.0)
    weights[:, 0] = np.where(influences[:, 0] >= 0, np.maximum(weights[:, 0], 1e-6), 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    weights = np.where(weights > TUNING.min_influence, weights, 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return np.where(weights > 0, influences, -1), weights


def _medial_points(
    vertices: Tensor, faces: Tensor, nodes: np.ndarray, influences: np.ndarray, components: np.ndarray
) -> np.ndarray:
    """Point of the medial axis below each node, (K, 3); the node's own position where there is none.

    The median, over the vertices whose first influence is the node, of the midpoints of their thickness connections.
    """
    points = vertices.detach().cpu().double().numpy()
    links = thickness_connections(vertices, faces)
    links = links[components[links[:, 0]] == components[links[:, 1]]]
    node = influences[links[:, 0], 0]
    midpoints = points[links].mean(1)
    medial = points[nodes].copy()
    for k in np.unique(node):
        medial[k] = np.median(midpoints[node == k], axis=0)
    return medial


def _node_edges(
    points: np.ndarray,
    triangles: np.ndarray,
    connections: np.ndarray,
    medial: np.ndarray,
    influences: np.ndarray,
    components: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Edges between neighbouring nodes (E, 2), and their anchors (E, 3).

    Nodes are neighbours where a mesh edge joins vertices that they influence first; their anchor is the mean of their
    medial points. Components are joined along their connections, at the mean midpoint of the connections between the
    same two.
    """
    nearest = influences[:, 0]
    mesh_edges = unique_edges(torch.from_numpy(triangles)).numpy()
    pairs = np.sort(nearest[mesh_edges], 1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    anchors = medial[pairs].mean(1)
    if len(connections):
        labels = np.sort(components[connections], 1)
        _, group = np.unique(labels, axis=0, return_inverse=True)
        group = group.ravel()
        midpoints = points[connections].mean(1)
        counts = np.bincount(group)
        centroids = np.stack([np.bincount(group, midpoints[:, axis]) for axis in range(3)], 1) / counts[:, None]
        connected = np.unique(np.concatenate([np.sort(nearest[connections], 1), group[:, None]], 1), axis=0)
        pairs = np.concatenate([pairs, connected[:, :2]])
        anchors = np.concatenate([anchors, centroids[connected[:, 2]]])
    return pairs, anchors


def _coupled_nodes(edges: np.ndarray, influences: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """Pairs of nodes, (K, K) bool, that influence points of one triangle or share an edge of the graph."""
    corners = np.unique(np.sort(influences[triangles].reshape(len(triangles), -1), 1), axis=0)
    row, column = np.nonzero(corners >= 0)
    member = sparse.csr_matrix((np.ones(len(row)), (row, corners[row, column])), shape=(len(corners), count))
    coupled = (member.T @ member).toarray() > 0
    coupled[edges[:, 0], edges[:, 1]] = coupled[edges[:, 1], edges[:, 0]] = True
    return coupled
