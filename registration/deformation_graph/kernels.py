"""Numba kernels of the deformation graph's normal equations: one kernel for each term of the energy.

The unknown of a node is an increment of 6 numbers: a rotation vector (radians), applied from the left, and a
translation. The Gauss-Newton matrix is stored as the (6, 6) blocks of its lower triangle in elimination order, fill-in
included (``block_cholesky.BlockPattern``). Parameters that many kernels share:

- blocks: (B, 6, 6), and gradient: (6K,), both added to; the unknowns are in elimination order;
- block_index: (K, K), the block of a row and a column, both positions in elimination order;
- order: (K,), the position of each node in elimination order;
- rotations: (K, 3, 3), and positions: (K, 3), the nodes' pose.

Kernels that add a term of the energy return its value.
"""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel
from v2m4.rotation import rotation_exp_into


@kernel
def add_block(blocks, block_index, i, j, block):
    """Add the (6, 6) block of row i and column j, or its transpose above the diagonal, to the lower triangle."""
    if i >= j:
        target = blocks[block_index[i, j]]
        for a in range(6):
            for b in range(6):
                target[a, b] += block[a, b]
    else:
        target = blocks[block_index[j, i]]
        for a in range(6):
            for b in range(6):
                target[b, a] += block[a, b]


@kernel
def rotated(rotation, vector):
    """A rotation (3, 3) times a vector (3,)."""
    out = np.empty(3)
    for a in range(3):
        out[a] = rotation[a, 0] * vector[0] + rotation[a, 1] * vector[1] + rotation[a, 2] * vector[2]
    return out


@kernel(
    "f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], f8[:,::1], Tuple((i8[::1], i8[::1], f8[::1], "
    "f8[:,::1])), Tuple((f8[:,::1], f8[:,:,::1])), f8[::1], f8"
)
def add_point_constraints(
    blocks, block_index, gradient, order, rotations, positions, points, observed, intrinsics, kernel_scale
):
    """Add the residuals of projected points, with a Cauchy kernel c^2 / 2 log(1 + r^2 / c^2).

    The kernel's second derivative is dropped, so the matrix is that of iteratively reweighted least squares. Points
    behind the camera are skipped.

    Args:
        blocks: as in the module's docstring, like those up to ``positions``.
        block_index: (K, K).
        gradient: (6K,).
        order: (K,).
        rotations: (K, 3, 3).
        positions: (K, 3).
        points: start, node, weight and local of ``graph.BoundPoints``.
        observed: targets (N, 2), fractions of the image, and square roots of the information (N, 2, 2), which multiply
            residuals in heights of the image.
        intrinsics: focal length x and y, fractions of the image's width and height, and its aspect.
        kernel_scale: c, at which a residual has half of its weight.
    """
    start, node, weight, local = points
    energy, max_nodes = 0.0, 0
    for n in range(len(start) - 1):
        max_nodes = max(max_nodes, start[n + 1] - start[n])
    jacobian, block = np.empty((max_nodes, 2, 6)), np.empty((6, 6))
    point, residual, point_jacobian = np.empty(3), np.empty(2), np.empty((2, 3))
    squared_scale = kernel_scale * kernel_scale
    for n in range(len(start) - 1):
        point[:] = 0.0
        for h in range(start[n], start[n + 1]):
            offset = rotated(rotations[node[h]], local[h])
            for a in range(3):
                point[a] += offset[a] + weight[h] * positions[node[h], a]
        if point[2] <= 1e-6:
            continue
        _projection_residual(point, observed[0][n], observed[1][n], intrinsics, residual, point_jacobian)
        square = residual[0] * residual[0] + residual[1] * residual[1]
        energy += 0.5 * squared_scale * np.log(1.0 + square / squared_scale)
        robust_weight = 1.0 / (1.0 + square / squared_scale)
        for h in range(start[n], start[n + 1]):
            _node_jacobian(jacobian[h - start[n]], point_jacobian, rotated(rotations[node[h]], local[h]), weight[h])
        for h in range(start[n], start[n + 1]):
            left, i = jacobian[h - start[n]], order[node[h]]
            for a in range(6):
                gradient[6 * i + a] += robust_weight * (left[0, a] * residual[0] + left[1, a] * residual[1])
            for g in range(start[n], h + 1):
                right = jacobian[g - start[n]]
                for a in range(6):
                    for b in range(6):
                        block[a, b] = robust_weight * (left[0, a] * right[0, b] + left[1, a] * right[1, b])
                add_block(blocks, block_index, i, order[node[g]], block)
    return energy


@kernel
def _projection_residual(point, target, root, intrinsics, residual, point_jacobian):
    """Write the weighted residual (2,) of a point's projection, and its derivative (2, 3) by the point."""
    x = (intrinsics[0] * point[0] / point[2] + 0.5 - target[0]) * intrinsics[2]
    y = intrinsics[1] * point[1] / point[2] + 0.5 - target[1]
    scale_x, scale_y = intrinsics[0] * intrinsics[2] / point[2], intrinsics[1] / point[2]
    for a in range(2):
        residual[a] = root[a, 0] * x + root[a, 1] * y
        point_jacobian[a, 0], point_jacobian[a, 1] = root[a, 0] * scale_x, root[a, 1] * scale_y
        point_jacobian[a, 2] = -(point_jacobian[a, 0] * point[0] + point_jacobian[a, 1] * point[1]) / point[2]


@kernel
def _node_jacobian(jacobian, point_jacobian, offset, weight):
    """Write the derivative (2, 6) of a residual by a node's increment, from its derivative (2, 3) by the point.

    ``offset`` (3,) is the node's rotated, weighted offset to the point, ``weight`` its weight.
    """
    for a in range(2):
        jacobian[a, 0] = point_jacobian[a, 2] * offset[1] - point_jacobian[a, 1] * offset[2]
        jacobian[a, 1] = point_jacobian[a, 0] * offset[2] - point_jacobian[a, 2] * offset[0]
        jacobian[a, 2] = point_jacobian[a, 1] * offset[0] - point_jacobian[a, 0] * offset[1]
        for b in range(3):
            jacobian[a, 3 + b] = point_jacobian[a, b] * weight


@kernel(
    "f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], f8[:,::1], i8[:,::1], f8[:,:,::1], f8[::1], f8[::1], f8"
)
def add_rigidity(blocks, block_index, gradient, order, rotations, positions, edges, offsets, stretch, bend, depth):
    """Add the rigidity of the graph's edges: both nodes put their anchor at one position, and rotate alike.

    The distance between the two positions counts as it is seen from the camera: times ``depth`` over the edge's own
    depth. The noise of the constraints has one size in the image. As a distance in space it would be the less the
    nearer the object is, and rigidity would draw the object towards the camera and shrink it.

    Args:
        blocks: as in the module's docstring, like those up to ``positions``.
        block_index: (K, K).
        gradient: (6K,).
        order: (K,).
        rotations: (K, 3, 3).
        positions: (K, 3).
        edges: (E, 2) nodes.
        offsets: (E, 2, 3) from either node to the anchor, at rest.
        stretch: (E,) weight of half the squared distance between the anchor's two positions.
        bend: (E,) weight of |R_i - R_j|^2 / 4, which is half the squared angle where that is small.
        depth: units of space, of the object.
    """
    energy = 0.0
    jacobian, block = np.zeros((2, 3, 6)), np.empty((6, 6))
    gap = np.empty(3)
    for e in range(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        first, second = rotated(rotations[i], offsets[e, 0]), rotated(rotations[j], offsets[e, 1])
        inverse = 1.0 / max(positions[i, 2] + positions[j, 2], 1e-6 * depth)
        scale = 2.0 * depth * inverse
        for a in range(3):
            gap[a] = scale * (first[a] + positions[i, a] - second[a] - positions[j, a])
        energy += 0.5 * stretch[e] * (gap[0] * gap[0] + gap[1] * gap[1] + gap[2] * gap[2])
        for side in range(2):
            offset = first if side == 0 else second
            sign = scale if side == 0 else -scale
            jacobian[side, 0, 1], jacobian[side, 0, 2] = sign * offset[2], -sign * offset[1]
            jacobian[side, 1, 0], jacobian[side, 1, 2] = -sign * offset[2], sign * offset[0]
            jacobian[side, 2, 0], jacobian[side, 2, 1] = sign * offset[1], -sign * offset[0]
            for a in range(3):
                for b in range(3):
                    jacobian[side, a, 3 + b] = sign if a == b else 0.0
                jacobian[side, a, 5] -= gap[a] * inverse
        for side in range(2):
            k = order[edges[e, side]]
            for a in range(6):
                for c in range(3):
                    gradient[6 * k + a] += stretch[e] * jacobian[side, c, a] * gap[c]
            for other in range(side + 1):
                for a in range(6):
                    for b in range(6):
                        total = 0.0
                        for c in range(3):
                            total += jacobian[side, c, a] * jacobian[other, c, b]
                        block[a, b] = stretch[e] * total
                add_block(blocks, block_index, k, order[edges[e, other]], block)
        energy += _add_rotation_difference(
            blocks, block_index, gradient, order[i], order[j], rotations[i], rotations[j], 0.5 * bend[e]
        )
    return energy


@kernel
def _add_rotation_difference(blocks, block_index, gradient, i, j, first, second, weight):
    """Add weight / 2 |R_i - R_j|^2 for two rotations, and return it; i and j are in elimination order."""
    energy = 0.0
    block = np.zeros((6, 6))
    for a in range(3):
        block[a, a] = 2.0 * weight
        for b in range(3):
            energy += 0.5 * weight * (first[a, b] - second[a, b]) ** 2
    add_block(blocks, block_index, i, i, block)
    add_block(blocks, block_index, j, j, block)
    cross = np.zeros((3, 3))
    rotation_coupling(first, second, cross)
    for a in range(3):
        for b in range(3):
            block[a, b] = -weight * cross[a, b]
    add_block(blocks, block_index, i, j, block)
    for k in range(3):
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            twist = weight * (first[b, k] * second[c, k] - first[c, k] * second[b, k])
            gradient[6 * i + a] -= twist
            gradient[6 * j + a] += twist
    return energy


@kernel
def rotation_coupling(first, second, cross):
    """Write the sum over columns of [a_k]_x^T [b_k]_x = (a_k . b_k) I - b_k a_k^T into ``cross`` (3, 3).

    Here a_k and b_k are the columns of the two rotations; [a_k]_x is minus the derivative of a_k by the increment.
    """
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


@kernel("f8[:,:,::1], f8[:,::1], f8[::1], i8[::1]")
def apply_increment(rotations, positions, step, order):
    """Apply increments (6K,) to the nodes' pose, in place; rotation vectors by Rodrigues' formula.

    Args:
        rotations: (K, 3, 3), changed.
        positions: (K, 3), changed.
        step: (6K,) in elimination order.
        order: (K,).
    """
    increment, updated = np.empty((3, 3)), np.empty((3, 3))
    for k in range(len(positions)):
        x, y, z = step[6 * order[k]], step[6 * order[k] + 1], step[6 * order[k] + 2]
        rotation_exp_into(x, y, z, increment)
        for a in range(3):
            for b in range(3):
                updated[a, b] = 0.0
                for c in range(3):
                    updated[a, b] += increment[a, c] * rotations[k, c, b]
            positions[k, a] += step[6 * order[k] + 3 + a]
        rotations[k] = updated
