"""The rotation that best aligns two sets of vectors: closed form, always a rotation and never a reflection.

For a 3 x 3 correlation S = sum of r e^T the rotation that maximises tr(R S) is found as a unit quaternion: the
eigenvector of the largest eigenvalue of Horn's symmetric 4 x 4 matrix (Horn 1987). Every unit quaternion is a proper
rotation, so the determinant is +1 by construction; an SVD would need its smallest singular vector flipped where the
data ask for a reflection. The eigenvalue comes from Newton's iteration on the characteristic polynomial and the vector
from the adjugate (Theobald 2005).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from v2m4.kernels import kernel

_NEWTON_STEPS = 40
_CLEAR = 1e-7  # least cofactor that an eigenvector is read from


def best_rotations(correlation: Tensor) -> Tensor:
    """R (..., 3, 3) with det +1 that maximises tr(R S), i.e. that minimises the sum of |e - R r|^2 for S = sum r e^T.

    Args:
        correlation: S, (..., 3, 3). Where it says nothing (S = 0) the identity is returned.
    """
    s = correlation.double()
    xx, xy, xz, yx, yy, yz, zx, zy, zz = s.flatten(-2).unbind(-1)
    rows = [
        torch.stack([xx + yy + zz, yz - zy, zx - xz, xy - yx], -1),
        torch.stack([yz - zy, xx - yy - zz, xy + yx, zx + xz], -1),
        torch.stack([zx - xz, xy + yx, yy - xx - zz, yz + zy], -1),
        torch.stack([xy - yx, zx + xz, yz + zy, zz - xx - yy], -1),
    ]
    quaternion = torch.linalg.eigh(torch.stack(rows, -2)).eigenvectors[..., -1]
    rotation = _rotation_of(quaternion).to(correlation)
    silent = correlation.abs().amax((-1, -2), keepdim=True) == 0
    return torch.where(silent, torch.eye(3).to(correlation), rotation)


def _rotation_of(quaternion: Tensor) -> Tensor:
    """(..., 4) unit quaternions, scalar first, as matrices (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def rotation_from_6d(parameters: Tensor) -> Tensor:
    """The rotation whose first two rows are the two given vectors made orthonormal (Zhou et al. 2019).

    Args:
        parameters: (..., 6).
    """
    first = torch.nn.functional.normalize(parameters[..., :3], dim=-1)
    second = parameters[..., 3:] - (first * parameters[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.cross(first, second, dim=-1)], -2)


@kernel
def _cofactor(m, row, column):
    """An entry of the adjugate of a symmetric 4 x 4 matrix."""
    i, j, k = (row + 1) % 4, (row + 2) % 4, (row + 3) % 4
    p, q, r = (column + 1) % 4, (column + 2) % 4, (column + 3) % 4
    value = m[i, p] * (m[j, q] * m[k, r] - m[j, r] * m[k, q])
    value -= m[i, q] * (m[j, p] * m[k, r] - m[j, r] * m[k, p])
    value += m[i, r] * (m[j, p] * m[k, q] - m[j, q] * m[k, p])
    # Rows and columns in cyclic instead of ascending order: that changes no sign, as both are permuted alike.
    return value if (row + column) % 2 == 0 else -value


@kernel("f8[:,::1], f8[:,::1]", ahead=False)
def best_rotation_into(s, rotation):  # noqa: PLR0912
    """The kernel behind ``best_rotations`` for one float64 matrix: s (3, 3) -> rotation (3, 3)."""
    # Loops, not array expressions: those take seconds to compile.
    square = 0.0
    for i in range(3):
        for j in range(3):
            square += s[i, j] * s[i, j]
    norm = np.sqrt(square)
    if norm < 1e-150:
        for i in range(3):
            for j in range(3):
                rotation[i, j] = 1.0 if i == j else 0.0
        return
    xx, xy, xz = s[0, 0] / norm, s[0, 1] / norm, s[0, 2] / norm
    yx, yy, yz = s[1, 0] / norm, s[1, 1] / norm, s[1, 2] / norm
    zx, zy, zz = s[2, 0] / norm, s[2, 1] / norm, s[2, 2] / norm
    matrix = np.empty((4, 4))
    matrix[0, 0], matrix[1, 1] = xx + yy + zz, xx - yy - zz
    matrix[2, 2], matrix[3, 3] = yy - xx - zz, zz - xx - yy
    matrix[0, 1] = matrix[1, 0] = yz - zy
    matrix[0, 2] = matrix[2, 0] = zx - xz
    matrix[0, 3] = matrix[3, 0] = xy - yx
    matrix[1, 2] = matrix[2, 1] = xy + yx
    matrix[1, 3] = matrix[3, 1] = zx + xz
    matrix[2, 3] = matrix[3, 2] = yz + zy
    # x^4 - 2 |S|^2 x^2 - 8 det(S) x + det(K) = 0 with |S| = 1: the largest root is at most sqrt(3).
    linear = -8.0 * (xx * (yy * zz - yz * zy) - xy * (yx * zz - yz * zx) + xz * (yx * zy - yy * zx))
    constant, top = 0.0, np.int64(0)  # typed as a variable is: a literal would be compiled for apart
    for column in range(4):
        constant += matrix[0, column] * _cofactor(matrix, top, column)
    root = np.sqrt(3.0)
    for _ in range(_NEWTON_STEPS):
        slope = (4.0 * root * root - 4.0) * root + linear
        if abs(slope) < 1e-12:
            break
        step = (((root * root - 2.0) * root + linear) * root + constant) / slope
        root -= step
        if abs(step) < 1e-13:
            break
    for i in range(4):
        matrix[i, i] -= root
    row, largest = 0, 0.0
    for i in range(4):
        diagonal = abs(_cofactor(matrix, i, i))
        if diagonal > largest:
            row, largest = i, diagonal
    quaternion = np.empty(4)
    if largest > _CLEAR:
        square = 0.0
        for i in range(4):
            quaternion[i] = _cofactor(matrix, row, i)
            square += quaternion[i] * quaternion[i]
        length = np.sqrt(square)
        for i in range(4):
            quaternion[i] /= length
    else:  # two (nearly) equal largest eigenvalues: the adjugate says little
        vectors = np.linalg.eigh(matrix)[1]
        for i in range(4):
            quaternion[i] = vectors[i, 3]
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
