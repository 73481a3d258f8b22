"""Numba kernels of temporal smoothness; their parameters are those of ``kernels``."""

from __future__ import annotations

import numpy as np

from registration.deformation_graph.kernels import add_block, rotation_coupling
from v2m4.kernels import kernel


@kernel(
    "f8[:,:,:,::1], i4[:,::1], f8[:,::1], f8[:,:,:,::1], i8[::1], f8[:,:,:,::1], f8[:,:,::1], i8[::1], f8[::1], "
    "i8[:,::1], Tuple((f8[:,::1], f8[:,:,::1])), f8[::1], f8, f8, f8"
)
def add_temporal_smoothness(
    blocks,
    block_index,
    gradient,
    coupling,
    order,
    rotations,
    positions,
    frames,
    coefficients,
    pair_index,
    expected,
    weights,
    rotation_radius,
    depth,
    depth_smoothness,
):
    """Add a difference over time of all nodes' poses: weights / 2 |sum over frames of coefficient x pose - expected|^2.

    Positions count as ``depth`` times (x / z, y / z, w log z), w^2 being ``depth_smoothness``: where the image
    determines x / z and y / z, their differences say nothing of the depth. In differences of (x, y, z) motion across
    the image is the smaller the nearer the object is, and the smoothness would draw whatever moves towards the camera.
    The pose's rotation counts as a matrix: a rotation by an angle as a displacement of angle times rotation_radius.

    Args:
        blocks: (T, B, 6, 6).
        block_index: (K, K).
        gradient: (T, 6K).
        coupling: (P, K, 6, 6), added to: the blocks of each node in two frames; rows are the earlier one's.
        order: (K,).
        rotations: (T, K, 3, 3).
        positions: (T, K, 3), in camera space.
        frames: (D,) ascending.
        coefficients: (D,) of the frames.
        pair_index: (D, D) index into ``coupling`` of two frames; -1 where one of them is fixed.
        expected: (K, 3) and (K, 3, 3), difference of positions, as they count here, and of rotations that costs
            nothing.
        weights: (K,).
        rotation_radius: units of space.
        depth: units of space, of the object.
        depth_smoothness: weight of the differences in depth, where those across the image have 1.
    """
    energy = 0.0
    depth_scale = depth * np.sqrt(depth_smoothness)
    difference, rotation_difference, block = np.empty(3), np.empty((3, 3)), np.zeros((6, 6))
    jacobians = np.zeros((len(frames), 3, 3))
    for k in range(positions.shape[1]):
        difference[:], rotation_difference[:] = -expected[0][k], -expected[1][k]
        for d in range(len(frames)):
            _add_view_coordinates(
                positions[frames[d], k], depth, depth_scale, coefficients[d], difference, jacobians[d]
            )
            rotation_difference += coefficients[d] * rotations[frames[d], k]
        rotation_weight = 0.5 * weights[k] * rotation_radius * rotation_radius
        energy += (
            0.5 * weights[k] * (difference * difference).sum()
            + 0.5 * rotation_weight * (rotation_difference * rotation_difference).sum()
        )
        for d in range(len(frames)):
            time, i = frames[d], order[k]
            if pair_index[d, d] < 0:
                continue
            _add_difference_gradient(
                gradient[time, 6 * i : 6 * i + 6],
                rotations[time, k],
                jacobians[d],
                difference,
                rotation_difference,
                coefficients[d] * weights[k],
                rotation_radius,
            )
            for e in range(d, len(frames)):
                if pair_index[d, e] < 0:
                    continue
                factor = coefficients[d] * coefficients[e]
                rotation_coupling(rotations[time, k], rotations[frames[e], k], block)
                block[:3, :3] *= rotation_weight * factor
                for a in range(3):
                    for b in range(3):
                        total = 0.0
                        for c in range(3):
                            total += jacobians[d, c, a] * jacobians[e, c, b]
                        block[3 + a, 3 + b] = weights[k] * factor * total
                if d == e:
                    add_block(blocks[time], block_index, i, i, block)
                else:
                    coupling[pair_index[d, e], i] += block
    return energy


@kernel("f8[:,::1], f8, f8")
def view_coordinates(positions, depth, depth_smoothness):
    """Positions (K, 3) as they count in ``add_temporal_smoothness``; its parameters."""
    coordinates, jacobian = np.zeros(positions.shape), np.zeros((3, 3))
    for k in range(len(positions)):
        _add_view_coordinates(positions[k], depth, depth * np.sqrt(depth_smoothness), 1.0, coordinates[k], jacobian)
    return coordinates


@kernel
def _add_view_coordinates(position, depth, depth_scale, coefficient, difference, jacobian):
    """Add a coefficient times (depth x / z, depth y / z, depth_scale log z) to a difference (3,); set the Jacobian."""
    inverse = 1.0 / max(position[2], 1e-6 * depth)
    for a in range(2):
        difference[a] += coefficient * depth * position[a] * inverse
        jacobian[a, a] = depth * inverse
        jacobian[a, 2] = -depth * position[a] * inverse * inverse
    difference[2] -= coefficient * depth_scale * np.log(inverse)
    jacobian[2, 2] = depth_scale * inverse


@kernel
def _add_difference_gradient(gradient, rotation, jacobian, difference, rotation_difference, weight, rotation_radius):
    """Add a node's part (6,) of the gradient of half the squared difference over time."""
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        for m in range(3):
            gradient[3 + a] += weight * jacobian[m, a] * difference[m]
            twist = rotation[b, m] * rotation_difference[c, m] - rotation[c, m] * rotation_difference[b, m]
            gradient[a] += 0.5 * weight * rotation_radius * rotation_radius * twist
