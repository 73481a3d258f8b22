"""Numba kernels of geodesic distances along a mesh's edges: farthest point sampling and nearest nodes."""

from __future__ import annotations

import heapq

import numpy as np

from v2m4.kernels import kernel


@kernel("i8[::1], i8[::1], f8[::1], i8[::1], i8, f8")
def farthest_points(start, neighbour, length, seeds, count, min_distance):
    """Farthest point sampling in geodesic distance along the edges of a graph (Dijkstra).

    The seeds come first; then, one by one, the vertex farthest from all chosen ones.

    Args:
        start: (V + 1,) where each vertex's edges begin, in compressed rows.
        neighbour: (H,) the other vertex of each edge.
        length: (H,) of each edge.
        seeds: (S,) vertices.
        count: of points; at least S are returned.
        min_distance: sampling ends when no vertex is farther than this.

    Returns:
        (K,) int64 vertices.
    """
    vertices = len(start) - 1
    distance = np.full(vertices, np.inf)
    chosen = np.empty(max(count, len(seeds)), np.int64)
    taken = 0
    while taken < len(chosen):
        if taken < len(seeds):
            seed = seeds[taken]
        else:
            seed = 0
            for v in range(vertices):
                if distance[v] > distance[seed] and distance[v] < np.inf:
                    seed = v
            if distance[seed] <= min_distance:
                break
        chosen[taken] = seed
        taken += 1
        distance[seed] = 0.0
        queue = [(0.0, 0, seed)]  # of the same type as in ``nearest_nodes``, so that heaps are compiled once
        while len(queue) > 0:
            path_length, _, v = heapq.heappop(queue)
            if path_length > distance[v]:
                continue
            for h in range(start[v], start[v + 1]):
                u = neighbour[h]
                if path_length + length[h] < distance[u]:
                    distance[u] = path_length + length[h]
                    heapq.heappush(queue, (distance[u], 0, u))
    return chosen[:taken]


@kernel("i8[::1], i8[::1], f8[::1], i8[::1], i8")
def nearest_nodes(start, neighbour, length, nodes, count):
    """Nearest nodes of each vertex in geodesic distance along the edges of a graph (multi-source Dijkstra).

    Args:
        start: (V + 1,) where each vertex's edges begin, in compressed rows.
        neighbour: (H,) the other vertex of each edge.
        length: (H,) of each edge.
        nodes: (K,) vertices.
        count: of nodes for each vertex.

    Returns:
        (V, count) indices into ``nodes``, nearest first, -1 for none; (V, count) distances, inf for none.
    """
    vertices = len(start) - 1
    nearest = np.full((vertices, count), -1, np.int64)
    distances = np.full((vertices, count), np.inf)
    filled = np.zeros(vertices, np.int64)
    queue = [(0.0, 0, 0) for _ in range(0)]
    for k in range(len(nodes)):
        queue.append((0.0, k, nodes[k]))
    heapq.heapify(queue)
    while len(queue) > 0:
        path_length, k, v = heapq.heappop(queue)
        skipped = filled[v] >= count
        for block_index in range(filled[v]):
            skipped = skipped or nearest[v, block_index] == k
        if skipped:
            continue
        nearest[v, filled[v]] = k
        distances[v, filled[v]] = path_length
        filled[v] += 1
        for h in range(start[v], start[v + 1]):
            u = neighbour[h]
            if filled[u] < count:
                heapq.heappush(queue, (path_length + length[h], k, u))
    return nearest, distances
