"""Kernels behind the deformation graph: geodesic nodes and neighbours, and the normal equations of one frame.

Unknown of a node is a small turn and a small shift (6 numbers). The equations are blocks (B, 6, 6) of the lower
triangle in the graph's order of elimination, with those that elimination fills in (``block_cholesky.BlockPattern``):
``slot`` says which block is whose, ``place`` (K,) is each node's place in that order. Rotations are (K, 3, 3),
positions (K, 3). Every function that adds to the equations (blocks, and the gradient (6K,)) returns its energy.
"""

from __future__ import annotations

import heapq

import numpy as np

from v2m4.kernels import kernel


@kernel("i8[::1], i8[::1], f8[::1], i8[::1], i8, f8")
def farthest_points(start, neighbour, length, first, count, least):
    """Nodes spread over a graph: ``first`` ones, then always the farthest from all, by way along edges.

    Edges come in compressed rows (start, neighbour, length). No more than ``count`` nodes unless there are more first
    ones, and none within ``least`` of another. Returns indices of vertices.
    """
    vertices = len(start) - 1
    distance = np.full(vertices, np.inf)
    chosen = np.empty(max(count, len(first)), np.int64)
    taken = 0
    while taken < len(chosen):
        if taken < len(first):
            seed = first[taken]
        else:
            seed = 0
            for v in range(vertices):
                if distance[v] > distance[seed] and distance[v] < np.inf:
                    seed = v
            if distance[seed] <= least:
                break
        chosen[taken] = seed
        taken += 1
        distance[seed] = 0.0
        queue = [(0.0, 0, seed)]  # of the kind that ``nearest_nodes`` has, so that heaps are compiled once
        while len(queue) > 0:
            way, _, v = heapq.heappop(queue)
            if way > distance[v]:
                continue
            for h in range(start[v], start[v + 1]):
                u = neighbour[h]
                if way + length[h] < distance[u]:
                    distance[u] = way + length[h]
                    heapq.heappush(queue, (distance[u], 0, u))
    return chosen[:taken]


@kernel("i8[::1], i8[::1], f8[::1], i8[::1], i8")
def nearest_nodes(start, neighbour, length, nodes, count):
    """The ``count`` nodes nearest to each vertex along edges, nearest first: positions in ``nodes`` (-1) and ways."""
    vertices = len(start) - 1
    found = np.full((vertices, count), -1, np.int64)
    ways = np.full((vertices, count), np.inf)
    filled = np.zeros(vertices, np.int64)
    queue = [(0.0, 0, 0) for _ in range(0)]
    for k in range(len(nodes)):
        queue.append((0.0, k, nodes[k]))
    heapq.heapify(queue)
    while len(queue) > 0:
        way, k, v = heapq.heappop(queue)
        known = filled[v] >= count
        for slot in range(filled[v]):
            known = known or found[v, slot] == k
        if known:
            continue
        found[v, filled[v]] = k
        ways[v, filled[v]] = way
        filled[v] += 1
        for h in range(start[v], start[v + 1]):
            u = neighbour[h]
            if filled[u] < count:
                heapq.heappush(queue, (way + length[h], k, u))
    return found, ways


@kernel
def add_block(blocks, slot, i, j, block):
    """Add the (6, 6) block of node i (rows) and node j (columns), or its transpose, to the lower triangle."""
    if i >= j:
        into = blocks[slot[i, j]]
        for a in range(6):
            for b in range(6):
                into[a, b] += block[a, b]
    else:
        into = blocks[slot[j, i]]
        for a in range(6):
            for b in range(6):
                into[b, a] += block[a, b]


@kernel
def rotated(rotation, vector):
    """A vector (3,) under a rotation (3, 3)."""
    out = np.empty(3)
    for a in range(3):
        out[a] = rotation[a, 0] * vector[0] + rotation[a, 1] * vector[1] + rotation[a, 2] * vector[2]
    return out


@kernel(
    "f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], f8[:,::1], Tuple((i8[::1], i8[::1], f8[::1], "
    "f8[:,::1])), Tuple((f8[:,::1], f8[:,:,::1])), f8[::1], f8"
)
def add_point_constraints(blocks, slot, gradient, place, rotations, positions, points, seen, intrinsics, reach):
    """Points seen at places of the picture, by Cauchy's loss: a residual of ``reach`` counts half.

    ``points``: (start (N + 1,), node, weight, local (., 3)), in compressed rows; a point is the sum over its nodes of
    R local + weight p. ``seen``: targets (N, 2) and (N, 2, 2), of what residuals in heights are multiplied with.
    ``intrinsics``: focal length x and y in fractions of the picture, and its aspect.
    """
    start, node, weight, local = points
    energy, most = 0.0, 0
    for n in range(len(start) - 1):
        most = max(most, start[n + 1] - start[n])
    jacobian, block = np.empty((most, 2, 6)), np.empty((6, 6))
    point, residual, slope = np.empty(3), np.empty(2), np.empty((2, 3))
    size = reach * reach
    for n in range(len(start) - 1):
        point[:] = 0.0
        for h in range(start[n], start[n + 1]):
            arm = rotated(rotations[node[h]], local[h])
            for a in range(3):
                point[a] += arm[a] + weight[h] * positions[node[h], a]
        if point[2] <= 1e-6:
            continue
        _look(point, seen[0][n], seen[1][n], intrinsics, residual, slope)
        square = residual[0] * residual[0] + residual[1] * residual[1]
        energy += 0.5 * size * np.log(1.0 + square / size)
        trust = 1.0 / (1.0 + square / size)
        for h in range(start[n], start[n + 1]):
            _rates(jacobian[h - start[n]], slope, rotated(rotations[node[h]], local[h]), weight[h])
        for h in range(start[n], start[n + 1]):
            left, i = jacobian[h - start[n]], place[node[h]]
            for a in range(6):
                gradient[6 * i + a] += trust * (left[0, a] * residual[0] + left[1, a] * residual[1])
            for g in range(start[n], h + 1):
                right = jacobian[g - start[n]]
                for a in range(6):
                    for b in range(6):
                        block[a, b] = trust * (left[0, a] * right[0, b] + left[1, a] * right[1, b])
                add_block(blocks, slot, i, place[node[g]], block)
    return energy


@kernel
def _look(point, target, root, intrinsics, residual, slope):
    """How far a point is seen from its target, into ``residual`` (2,), and the rates of that by the point (2, 3)."""
    x = (intrinsics[0] * point[0] / point[2] + 0.5 - target[0]) * intrinsics[2]
    y = intrinsics[1] * point[1] / point[2] + 0.5 - target[1]
    across, down = intrinsics[0] * intrinsics[2] / point[2], intrinsics[1] / point[2]
    for a in range(2):
        residual[a] = root[a, 0] * x + root[a, 1] * y
        slope[a, 0], slope[a, 1] = root[a, 0] * across, root[a, 1] * down
        slope[a, 2] = -(slope[a, 0] * point[0] + slope[a, 1] * point[1]) / point[2]


@kernel
def _rates(jacobian, slope, arm, weight):
    """Of a residual (2,) by a node's turn and shift, (2, 6), from its rates by the point."""
    for a in range(2):
        jacobian[a, 0] = slope[a, 2] * arm[1] - slope[a, 1] * arm[2]
        jacobian[a, 1] = slope[a, 0] * arm[2] - slope[a, 2] * arm[0]
        jacobian[a, 2] = slope[a, 1] * arm[0] - slope[a, 0] * arm[1]
        for b in range(3):
            jacobian[a, 3 + b] = slope[a, b] * weight


@kernel("f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], f8[:,::1], i8[:,::1], f8[:,:,::1], f8[::1], f8[::1]")
def add_rigidity(blocks, slot, gradient, place, rotations, positions, edges, offsets, stretch, bend):
    """Neighbouring nodes move as one body: they agree where their anchor goes, and how far they are turned.

    Edges (E, 2); ``offsets`` (E, 2, 3) from either node to the anchor, at rest; ``stretch`` (E,) is the weight of the
    squared distance of the anchor's two places, ``bend`` (E,) that of |R_i - R_j|^2 / 2, the squared angle where small.
    """
    energy = 0.0
    jacobian, block = np.zeros((2, 3, 6)), np.empty((6, 6))
    off = np.empty(3)
    for e in range(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        first, second = rotated(rotations[i], offsets[e, 0]), rotated(rotations[j], offsets[e, 1])
        for a in range(3):
            off[a] = first[a] + positions[i, a] - second[a] - positions[j, a]
        energy += 0.5 * stretch[e] * (off[0] * off[0] + off[1] * off[1] + off[2] * off[2])
        for side in range(2):
            arm = first if side == 0 else second
            sign = 1.0 if side == 0 else -1.0
            jacobian[side, 0, 1], jacobian[side, 0, 2] = sign * arm[2], -sign * arm[1]
            jacobian[side, 1, 0], jacobian[side, 1, 2] = -sign * arm[2], sign * arm[0]
            jacobian[side, 2, 0], jacobian[side, 2, 1] = sign * arm[1], -sign * arm[0]
            for a in range(3):
                jacobian[side, a, 3 + a] = sign
        for side in range(2):
            k = place[edges[e, side]]
            for a in range(6):
                for c in range(3):
                    gradient[6 * k + a] += stretch[e] * jacobian[side, c, a] * off[c]
            for other in range(side + 1):
                for a in range(6):
                    for b in range(6):
                        total = 0.0
                        for c in range(3):
                            total += jacobian[side, c, a] * jacobian[other, c, b]
                        block[a, b] = stretch[e] * total
                add_block(blocks, slot, k, place[edges[e, other]], block)
        energy += _couple(blocks, slot, gradient, place[i], place[j], rotations[i], rotations[j], 0.5 * bend[e])
    return energy


@kernel
def _couple(blocks, slot, gradient, i, j, first, second, weight):
    """The energy weight / 2 |first - second|^2 of two rotations; returns it."""
    energy = 0.0
    block = np.zeros((6, 6))
    for a in range(3):
        block[a, a] = 2.0 * weight
        for b in range(3):
            energy += 0.5 * weight * (first[a, b] - second[a, b]) ** 2
    add_block(blocks, slot, i, i, block)
    add_block(blocks, slot, j, j, block)
    cross = np.zeros((3, 3))  # sum over columns of [a]^T [b] = (a . b) I - b a^T
    rotation_coupling(first, second, cross)
    for a in range(3):
        for b in range(3):
            block[a, b] = -weight * cross[a, b]
    add_block(blocks, slot, i, j, block)
    for k in range(3):
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            twist = weight * (first[b, k] * second[c, k] - first[c, k] * second[b, k])
            gradient[6 * i + a] -= twist
            gradient[6 * j + a] += twist
    return energy


@kernel
def rotation_coupling(first, second, cross):
    """The 3 x 3 product of how the columns of two rotations move under small turns, into ``cross``."""
    trace = 0.0
    for a in range(3):
        for b in range(3):
            trace += first[a, b] * second[a, b]
            total = 0.0
            for k in range(3):
                total += second[a, k] * first[b, k]
            cross[a, b] = -total
    for a in range(3):
        cross[a, a] += trace


@kernel(
    "f8[:,:,:,::1], i4[:,::1], f8[:,::1], f8[:,:,:,::1], i8[::1], f8[:,:,:,::1], f8[:,:,::1], i8[::1], f8[::1], "
    "i8[:,::1], f8[::1], f8"
)
def add_temporal_smoothness(  # noqa: PLR0912
    blocks, slot, gradient, across, place, rotations, positions, frames, shares, slots, slow, radius
):
    """A difference over time of every node's place and turn: energy ``slow`` / 2 |sum over frames of share x state|^2.

    Here blocks, gradient, rotations and positions have T in front. ``frames`` (D,) ascending with coefficients
    ``shares`` (D,); ``across`` (P, K, 6, 6) holds what couples two frames, rows are the earlier one's, and ``slots``
    (D, D) says where; -1: one of them is fixed. ``slow`` (K,); a turn by an angle counts as a way of angle x radius.
    """
    energy = 0.0
    way, turn, block = np.empty(3), np.empty((3, 3)), np.zeros((6, 6))
    for k in range(positions.shape[1]):
        # Loops, not array expressions: those take seconds to compile.
        moved, turned = 0.0, 0.0
        for a in range(3):
            way[a] = 0.0
            for d in range(len(frames)):
                way[a] += shares[d] * positions[frames[d], k, a]
            moved += way[a] * way[a]
            for b in range(3):
                turn[a, b] = 0.0
                for d in range(len(frames)):
                    turn[a, b] += shares[d] * rotations[frames[d], k, a, b]
                turned += turn[a, b] * turn[a, b]
        heavy = 0.5 * slow[k] * radius * radius
        energy += 0.5 * slow[k] * moved + 0.5 * heavy * turned
        for d in range(len(frames)):
            time, i = frames[d], place[k]
            if slots[d, d] < 0:
                continue
            _pull(gradient[time, 6 * i : 6 * i + 6], rotations[time, k], way, turn, shares[d] * slow[k], radius)
            for e in range(d, len(frames)):
                if slots[d, e] < 0:
                    continue
                factor = shares[d] * shares[e]
                rotation_coupling(rotations[time, k], rotations[frames[e], k], block)
                for a in range(3):
                    for b in range(3):
                        block[a, b] *= heavy * factor
                    block[3 + a, 3 + a] = slow[k] * factor
                if d == e:
                    add_block(blocks[time], slot, i, i, block)
                else:
                    for a in range(6):
                        for b in range(6):
                            across[slots[d, e], i, a, b] += block[a, b]
    return energy


@kernel
def _pull(gradient, rotation, way, turn, weight, radius):
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        gradient[3 + a] += weight * way[a]
        for m in range(3):
            twist = rotation[b, m] * turn[c, m] - rotation[c, m] * turn[b, m]
            gradient[a] += 0.5 * weight * radius * radius * twist


@kernel("f8[:,:,::1], f8[:,::1], f8[::1], i8[::1]")
def apply_increment(rotations, positions, step, place):
    """Each node turned and shifted by its part of a step (6K,), in place."""
    turn, moved = np.empty((3, 3)), np.empty((3, 3))
    for k in range(len(positions)):
        x, y, z = step[6 * place[k]], step[6 * place[k] + 1], step[6 * place[k] + 2]
        angle = np.sqrt(x * x + y * y + z * z)
        sine = np.sin(angle) / angle if angle > 1e-9 else 1.0
        rest = (1.0 - np.cos(angle)) / (angle * angle) if angle > 1e-4 else 0.5
        cosine = 1.0 - rest * angle * angle
        turn[0, 0], turn[0, 1], turn[0, 2] = cosine + rest * x * x, rest * x * y - sine * z, rest * x * z + sine * y
        turn[1, 0], turn[1, 1], turn[1, 2] = rest * x * y + sine * z, cosine + rest * y * y, rest * y * z - sine * x
        turn[2, 0], turn[2, 1], turn[2, 2] = rest * x * z - sine * y, rest * y * z + sine * x, cosine + rest * z * z
        for a in range(3):
            for b in range(3):
                moved[a, b] = 0.0
                for c in range(3):
                    moved[a, b] += turn[a, c] * rotations[k, c, b]
            positions[k, a] += step[6 * place[k] + 3 + a]
        for a in range(3):
            for b in range(3):
                rotations[k, a, b] = moved[a, b]
