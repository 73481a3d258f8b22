"""Connections that a mesh's edges do not make: through the body, and between its components."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4.geometry import connected_components, unique_edges, vertex_normals

CONNECTIONS_PER_COMPONENT = 12


# A part's links to others than its nearest neighbour: as many times as long as its shortest, and part of the size more.
TOUCHING = 2.0


TOUCHING_SLACK = 0.01


_BALL_STEPS = 12


_BALL_SLACK = 0.03  # how far (of its radius) a vertex may reach into a ball: normals of a mesh are not exact


def thickness_links(vertices: Tensor, faces: Tensor, every: int = 1) -> np.ndarray:
    """Pairs of opposite vertices (N, 2): each vertex and the one that its largest inner ball touches.

    Source: the shrinking ball of Ma, Bae and Choi 2012, "3D medial axis point approximation using nearest neighbors".

    Args:
        vertices: (V, 3).
        faces: (F, 3), counter-clockwise from outside.
        every: take one vertex in so many.
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
        distance, found = tree.query(centre)
        inside = (distance < radius[active] * (1 - _BALL_SLACK)) & (found != seeds[active])
        active, found = active[inside], found[inside]
        if len(active) == 0:
            break
        across = points[found] - start[active]
        depth = (across * inward[active]).sum(1)
        ahead = depth > 1e-9
        active, found, across, depth = active[ahead], found[ahead], across[ahead], depth[ahead]
        radius[active] = np.square(across).sum(1) / (2 * depth)
        touched[active] = found
    span = points[np.maximum(touched, 0)] - start
    # A ball that touches beside the seed tells the surface's own curvature, nothing of the body's thickness.
    opposite = (touched >= 0) & ((normals[seeds] * normals[np.maximum(touched, 0)]).sum(1) < -0.2)
    opposite &= (span * inward).sum(1) > 0.6 * np.linalg.norm(span, axis=1)
    return np.stack([seeds[opposite], touched[opposite]], 1)


def component_connections(vertices: Tensor, faces: Tensor, most: int = CONNECTIONS_PER_COMPONENT) -> np.ndarray:
    """Pairs of vertices (N, 2) that join the parts of a mesh which its edges leave apart.

    Each part is tied by its vertices next to another part: a small part (a rivet) by so many that it cannot turn, a
    long one (an arm) at its joint only. Only its nearest neighbour, and parts that are about as near, are tied: a hand
    beside a thigh is not. Groups of parts that still hang together with no other are then tied to the nearest, so that
    the whole is one.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        most: links that one part starts.
    """
    points, edges = vertices.detach().cpu().double().numpy(), unique_edges(faces).cpu().numpy()
    used = np.unique(edges)
    labels = connected_components(edges, len(points))
    links = np.zeros((0, 2), np.int64)
    groups = labels
    slack = TOUCHING_SLACK * float(np.ptp(points[used], axis=0).max()) if len(used) else 0.0
    while len(np.unique(groups[used])) > 1:
        names, sizes = np.unique(groups[used], return_counts=True)
        # The largest group waits for the others to join it.
        for name in names[np.argsort(sizes, kind="stable")][:-1]:
            inside, outside = used[groups[used] == name], used[groups[used] != name]
            distance, found = cKDTree(points[outside], balanced_tree=False).query(points[inside])
            chosen = np.argsort(distance, kind="stable")[:most]
            near = distance[chosen] <= TOUCHING * distance[chosen[0]] + slack
            neighbour = groups[outside[found[chosen]]]
            chosen = chosen[near | (neighbour == neighbour[0])]
            links = np.concatenate([links, np.stack([inside[chosen], outside[found[chosen]]], 1)])
        groups = connected_components(np.concatenate([edges, links]), len(points))
    return np.unique(np.sort(links, 1), axis=0)
