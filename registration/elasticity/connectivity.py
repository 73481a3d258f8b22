"""Vertex pairs that no mesh edge connects: opposite vertices through the body, and between connected components."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.geometry import connected_components, unique_edges, vertex_normals

CONNECTIONS_PER_COMPONENT = 12

# Greatest length of a connection to a component other than the nearest: a multiple of the component's shortest
# connection, plus a share of the longest side of the mesh's bounding box.
CONTACT_FACTOR = 2.0
CONTACT_SLACK = 0.01
_BALL_STEPS = 12  # iterations of the shrinking ball
_BALL_SLACK = 0.03  # share of the radius that a vertex may lie inside the ball: vertex normals are not exact


def thickness_connections(vertices: Tensor, faces: Tensor, every: int = 1) -> np.ndarray:
    """Pairs of opposite vertices (N, 2), by the medial axis: a vertex and the other one that its inner ball touches.

    Source: the shrinking ball of Ma, Bae and Choi 2012, "3D medial axis point approximation using nearest neighbors".

    Args:
        vertices: (V, 3).
        faces: (F, 3), counter-clockwise from outside.
        every: stride over the vertices; 1 takes each of them.
    """
    points = vertices.detach().cpu().double().numpy()
    normals = vertex_normals(vertices, faces).detach().cpu().double().numpy()
    seeds = np.arange(0, len(points), every)
    start, inward = points[seeds], -normals[seeds]
    tree = cKDTree(points, balanced_tree=False)
    radius = np.full(len(seeds), 0.5 * np.linalg.norm(np.ptp(points, axis=0)))
    touched = np.full(len(seeds), -1)
    active = np.arange(len(seeds))
    for _ in range(_BALL_STEPS):
        centre = start[active] + radius[active, None] * inward[active]
        distance, nearest = tree.query(centre)
        inside = (distance < radius[active] * (1 - _BALL_SLACK)) & (nearest != seeds[active])
        active, nearest = active[inside], nearest[inside]
        if len(active) == 0:
            break
        across = points[nearest] - start[active]
        depth = (across * inward[active]).sum(1)
        ahead = depth > 1e-9
        active, nearest, across, depth = active[ahead], nearest[ahead], across[ahead], depth[ahead]
        radius[active] = np.square(across).sum(1) / (2 * depth)
        touched[active] = nearest
    span = points[np.maximum(touched, 0)] - start
    # A ball that touches a vertex of similar normal measures the surface's curvature, not the body's thickness.
    opposite = (touched >= 0) & ((normals[seeds] * normals[np.maximum(touched, 0)]).sum(1) < -0.2)
    opposite &= (span * inward).sum(1) > 0.6 * np.linalg.norm(span, axis=1)
    return np.stack([seeds[opposite], touched[opposite]], 1)


def component_connections(
    vertices: Tensor, faces: Tensor, max_connections: int = CONNECTIONS_PER_COMPONENT
) -> np.ndarray:
    """Pairs of vertices (N, 2) that connect the connected components of a mesh to one.

    Each component is connected by its vertices that are nearest to another one: a small component (a rivet) at so many
    that it cannot rotate freely, a long one (an arm) at its end only. It is connected to the nearest component and to
    those that are about as near; a hand beside a thigh is not connected to it. This is repeated with the merged
    components until one is left.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        max_connections: connections that a component starts, at most.
    """
    points, edges = vertices.detach().cpu().double().numpy(), unique_edges(faces).cpu().numpy()
    used = np.unique(edges)
    labels = connected_components(edges, len(points))
    connections = np.zeros((0, 2), np.int64)
    merged = labels
    slack = CONTACT_SLACK * float(np.ptp(points[used], axis=0).max()) if len(used) else 0.0
    while len(np.unique(merged[used])) > 1:
        names, sizes = np.unique(merged[used], return_counts=True)
        # The largest starts no connections: the others connect to it.
        for name in names[np.argsort(sizes, kind="stable")][:-1]:
            inside, outside = used[merged[used] == name], used[merged[used] != name]
            distance, nearest = cKDTree(points[outside], balanced_tree=False).query(points[inside])
            chosen = np.argsort(distance, kind="stable")[:max_connections]
            near = distance[chosen] <= CONTACT_FACTOR * distance[chosen[0]] + slack
            neighbour = merged[outside[nearest[chosen]]]
            chosen = chosen[near | (neighbour == neighbour[0])]
            connections = np.concatenate([connections, np.stack([inside[chosen], outside[nearest[chosen]]], 1)])
        merged = connected_components(np.concatenate([edges, connections]), len(points))
    return np.unique(np.sort(connections, 1), axis=0)
