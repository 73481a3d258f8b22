"""The numba kernel that adds what shade tells of normals to a deformation graph's equations."""

import numpy as np

from registration.deformation_graph.kernels import add_block, rotated
from v2m4.kernels import kernel


@kernel(
    "f8[:,:,::1], i4[:,::1], f8[::1], i8[::1], f8[:,:,::1], Tuple((i8[::1], i8[::1], f8[::1])), f8[:,::1], "
    "f8[:,::1], f8[::1], f8[::1], f8"
)
def add_normal_constraints(blocks, slot, gradient, place, rotations, points, normals, axes, values, root, reach):
    """Points whose normal has a given cosine with an axis.

    A normal is the mean over the point's nodes of R n, by their weights.

    Args:
        blocks: (B, 6, 6), added to, as in ``_graph_kernels``.
        slot: (K, K).
        gradient: (6K,), added to.
        place: (K,).
        rotations: (K, 3, 3).
        points: start, node and weight of the points, in compressed rows.
        normals: (M, 3) at rest.
        axes: (M, 3) unit.
        values: (M,) cosines.
        root: (M,) of what residuals are multiplied with.
        reach: residual from which on a point counts less (Cauchy's loss).

    Returns:
        the energy.
    """
    start, node, weight = points
    energy, most = 0.0, 0
    for n in range(len(values)):
        most = max(most, start[n + 1] - start[n])
    jacobian, block = np.empty((most, 3)), np.zeros((6, 6))
    size = reach * reach
    for n in range(len(values)):
        cosine = 0.0
        for h in range(start[n], start[n + 1]):
            normal, k = rotated(rotations[node[h]], normals[n]), h - start[n]
            share = root[n] * weight[h]
            for a in range(3):
                b, c = (a + 1) % 3, (a + 2) % 3
                cosine += weight[h] * normal[a] * axes[n, a]
                jacobian[k, a] = share * (normal[b] * axes[n, c] - normal[c] * axes[n, b])
        residual = root[n] * (cosine - values[n])
        energy += 0.5 * size * np.log(1.0 + residual * residual / size)
        trust = 1.0 / (1.0 + residual * residual / size)
        for h in range(start[n], start[n + 1]):
            k, i = h - start[n], place[node[h]]
            for a in range(3):
                gradient[6 * i + a] += trust * jacobian[k, a] * residual
            for g in range(start[n], h + 1):
                for a in range(3):
                    for b in range(3):
                        block[a, b] = trust * jacobian[k, a] * jacobian[g - start[n], b]
                add_block(blocks, slot, i, place[node[g]], block)
    return energy
