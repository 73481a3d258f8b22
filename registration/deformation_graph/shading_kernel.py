"""Numba kernel that adds normal constraints to the normal equations of a deformation graph."""

import numpy as np

from registration.deformation_graph.kernels import add_block, rotated
from v2m4.kernels import kernel


@kernel(
    "f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], Tuple((i8[::1], i8[::1], f8[::1])), f8[:,::1], "
    "f8[:,::1], f8[::1], f8[::1], f8"
)
def add_normal_constraints(
    blocks, block_index, gradient, order, rotations, points, rest_normals, axes, cosines, root, kernel_scale
):
    """Add the residuals root (normal . axis - cosine) of surface normals, with a Cauchy kernel.

    A point's normal is the mean of its rest normal under its nodes' rotations, by their weights; it is not normalised.

    Args:
        blocks: (B, 6, 6), added to; this and the next four as in ``kernels``.
        block_index: (K, K).
        gradient: (6K,), added to.
        order: (K,).
        rotations: (K, 3, 3).
        points: start, node and weight of ``graph.BoundPoints``.
        rest_normals: (M, 3) unit vectors.
        axes: (M, 3) unit vectors.
        cosines: (M,) asked for, between normal and axis.
        root: (M,) square root of each residual's weight.
        kernel_scale: residual at which a point has half of its weight.

    Returns:
        The energy of these residuals.
    """
    start, node, weight = points
    energy, max_nodes = 0.0, 0
    for n in range(len(cosines)):
        max_nodes = max(max_nodes, start[n + 1] - start[n])
    jacobian, block = np.empty((max_nodes, 3)), np.zeros((6, 6))
    squared_scale = kernel_scale * kernel_scale
    for n in range(len(cosines)):
        cosine = 0.0
        for h in range(start[n], start[n + 1]):
            normal, k = rotated(rotations[node[h]], rest_normals[n]), h - start[n]
            scale = root[n] * weight[h]
            for a in range(3):
                b, c = (a + 1) % 3, (a + 2) % 3
                cosine += weight[h] * normal[a] * axes[n, a]
                jacobian[k, a] = scale * (normal[b] * axes[n, c] - normal[c] * axes[n, b])
        residual = root[n] * (cosine - cosines[n])
        energy += 0.5 * squared_scale * np.log(1.0 + residual * residual / squared_scale)
        robust_weight = 1.0 / (1.0 + residual * residual / squared_scale)
        for h in range(start[n], start[n + 1]):
            k, i = h - start[n], order[node[h]]
            for a in range(3):
                gradient[6 * i + a] += robust_weight * jacobian[k, a] * residual
            for g in range(start[n], h + 1):
                for a in range(3):
                    for b in range(3):
                        block[a, b] = robust_weight * jacobian[k, a] * jacobian[g - start[n], b]
                add_block(blocks, block_index, i, order[node[g]], block)
    return energy
