"""Rotation algebra: quaternions, matrices, 6D, exponential map and logarithm, and closed-form alignment.

Layout. A rotation matrix is (..., 3, 3) and acts on column vectors. A quaternion is (..., 4) in the order x, y, z, w,
as in glTF. A rotation vector is (..., 3), axis times angle in radians. Functions of ``Array`` accept numpy arrays and
tensors, batched, and are differentiable for tensors.

``best_rotations`` aligns two sets of vectors in closed form. For a 3 x 3 correlation S = sum of r e^T the rotation that
maximises tr(R S) is found as a unit quaternion: the eigenvector of the largest eigenvalue of Horn's symmetric 4 x 4
matrix (Horn 1987). Every unit quaternion is a proper rotation, so the determinant is +1 by construction; an SVD would
need its smallest singular vector flipped where the data ask for a reflection. In the kernel the eigenvalue comes from
Newton's iteration on the characteristic polynomial and the vector from the adjugate (Theobald 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from v2m4.kernels import kernel

_NEWTON_STEPS = 40
_CLEAR = 1e-7  # diagonal cofactor below which the eigenvector is taken from a general solver
_SQUARINGS = 36  # after which the ratio of the smaller eigenvalues to the largest has vanished
_SMALL = 1e-3  # radians, below which sin(x) / x is evaluated as a Taylor series

Array = TypeVar("Array", np.ndarray, Tensor)


def _library(value: Any) -> Any:
    """Return the module for operations on ``value``: torch or numpy."""
    return torch if isinstance(value, Tensor) else np


def _matrix(rows: Sequence[Sequence[Array]]) -> Array:
    """Stack entries (...) into matrices (..., 3, 3)."""
    stack = _library(rows[0][0]).stack
    return stack([stack(list(row), -1) for row in rows], -2)


def matrix_from_quaternion(quaternion: Array) -> Array:
    """The matrices (..., 3, 3) of unit quaternions (..., 4)."""
    x, y, z, w = (quaternion[..., index] for index in range(4))
    return _matrix(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4), w >= 0, of the rotations nearest to matrices (..., 3, 3).

    Source: Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix": the eigenvector of the
    largest eigenvalue.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = (rotation[..., i, j] for i in range(3) for j in range(3))
    rows = [
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]
    symmetric = np.stack([np.stack(row, -1) for row in rows], -2).astype(np.float64)
    vector = np.linalg.eigh(symmetric)[1][..., -1]
    return np.where(vector[..., 3:] >= 0, vector, -vector)


def quaternion_product(second: Array, first: Array) -> Array:
    """Hamilton product (..., 4): the rotation by ``first``, then by ``second``."""
    a, b, c, d = (second[..., index] for index in range(4))
    x, y, z, w = (first[..., index] for index in range(4))
    return _library(first).stack(
        [
            d * x + a * w + b * z - c * y,
            d * y - a * z + b * w + c * x,
            d * z + a * y - b * x + c * w,
            d * w - a * x - b * y - c * z,
        ],
        -1,
    )


def quaternion_inverse(quaternion: Array) -> Array:
    """The conjugates (..., 4) of unit quaternions."""
    return _library(quaternion).concatenate([-quaternion[..., :3], quaternion[..., 3:]], -1)


def unit_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) divided by their length."""
    return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True).clip(1e-300)


def slerp(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical linear interpolation of unit quaternions (T, 4) along the shorter arc.

    Source: Shoemake 1985, "Animating rotation with quaternion curves".

    Args:
        first: (T, 4) unit quaternions.
        second: (T, 4) unit quaternions.
        share: (T, 1) interpolation parameter, 0 for ``first``, 1 for ``second``.
    """
    second = np.where((first * second).sum(-1, keepdims=True) < 0, -second, second)
    chord, sum_ = (np.linalg.norm(value, axis=-1, keepdims=True) for value in (first - second, first + second))
    angle = 2 * np.arctan2(chord, sum_)
    sine = np.sin(angle)
    close = sine < 1e-9  # nearly equal: linear interpolation is exact to rounding
    divisor = np.where(close, 1.0, sine)
    weights = (
        np.where(close, 1 - share, np.sin((1 - share) * angle) / divisor),
        np.where(close, share, np.sin(share * angle) / divisor),
    )
    return unit_quaternion(weights[0] * first + weights[1] * second)


def rotation_exp(vector: Array) -> Array:
    """The exponential map: matrices (..., 3, 3) of rotation vectors (..., 3)."""
    library = _library(vector)
    square = (vector * vector).sum(-1)
    small = square < _SMALL**2
    angle = library.sqrt(library.where(small, library.ones_like(square), square))  # sqrt has no gradient at 0
    sine = library.where(small, 0.5 - square / 48 + square * square / 3840, library.sin(angle / 2) / angle)
    cosine = library.where(small, 1 - square / 8 + square * square / 384, library.cos(angle / 2))
    return matrix_from_quaternion(library.concatenate([sine[..., None] * vector, cosine[..., None]], -1))


def rotation_log(rotation: np.ndarray) -> np.ndarray:
    """The logarithm: rotation vectors (..., 3), at most pi long, of matrices (..., 3, 3)."""
    quaternion = quaternion_from_matrix(rotation)
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return np.where(sine > 1e-12, 2 * np.arctan2(sine, w) / sine.clip(1e-12), 2.0) * axis


def rotation_vector_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotation vectors (N, 3) of least angle that take one unit vector (3,) to others (N, 3).

    For opposite vectors the axis is not unique; the result is then a rotation by pi about one perpendicular axis.
    """
    axis = np.cross(first, second)
    sine = np.linalg.norm(axis, axis=1)
    cosine = second @ first
    found = axis * (np.arctan2(sine, cosine) / np.maximum(sine, 1e-9))[:, None]
    aside = np.cross(first, np.eye(3)[np.abs(first).argmin()])
    opposite = (sine < 1e-9) & (cosine < 0)
    return np.where(opposite[:, None], math.pi * aside / np.linalg.norm(aside), found)


def angles_between(first: Array, second: Array) -> Array:
    """Geodesic angles (...) in radians between rotations (..., 3, 3), broadcast."""
    library, difference = _library(first), first - second
    # From the Frobenius norm: the arc cosine of the trace loses all precision at small angles.
    chord = library.linalg.norm(difference.reshape(*difference.shape[:-2], 9), axis=-1)
    return 2 * library.arcsin((chord / (2 * math.sqrt(2))).clip(max=1.0))


def axis_rotation(axis: int, angle: Array) -> Array:
    """Rotations (..., 3, 3) about a coordinate axis (0, 1, 2: x, y, z) by angles (...) in radians."""
    library = _library(angle)
    sine, cosine = library.sin(angle), library.cos(angle)
    zero, one = library.zeros_like(sine), library.ones_like(sine)
    rows = [[one if row == column else zero for column in range(3)] for row in range(3)]
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rows[first][first] = rows[second][second] = cosine
    rows[second][first], rows[first][second] = sine, -sine
    return _matrix(rows)


def half_turn(axis: Array) -> Array:
    """The rotations (..., 3, 3) by 180 degrees about unit axes (..., 3)."""
    identity: Any = torch.eye(3).to(axis) if isinstance(axis, Tensor) else np.eye(3)
    return 2 * axis[..., :, None] * axis[..., None, :] - identity


def cube_rotations() -> np.ndarray:
    """The rotation group of the cube, (24, 3, 3); the identity comes first."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            rotation = np.zeros((3, 3))
            rotation[range(3), order] = signs
            if np.linalg.det(rotation) > 0:
                found.append(rotation)
    return np.stack(found)


def best_rotations(correlation: Tensor, by_squaring: bool | None = None) -> Tensor:
    """R (..., 3, 3) with det +1 that maximises tr(R S), i.e. that minimises the sum of |e - R r|^2 for S = sum r e^T.

    Args:
        correlation: S, (..., 3, 3). For S = 0 the identity is returned.
        by_squaring: use ``largest_eigenvectors`` in place of PyTorch's eigensolver, which is slow on CUDA for batches
            of thousands of small matrices; None does so on CUDA only.
    """
    s = correlation.double()
    xx, xy, xz, yx, yy, yz, zx, zy, zz = s.flatten(-2).unbind(-1)
    rows = [
        torch.stack([xx + yy + zz, yz - zy, zx - xz, xy - yx], -1),
        torch.stack([yz - zy, xx - yy - zz, xy + yx, zx + xz], -1),
        torch.stack([zx - xz, xy + yx, yy - xx - zz, yz + zy], -1),
        torch.stack([xy - yx, zx + xz, yz + zy, zz - xx - yy], -1),
    ]
    horn = torch.stack(rows, -2)
    by_squaring = correlation.device.type == "cuda" if by_squaring is None else by_squaring
    quaternion = largest_eigenvectors(horn) if by_squaring else torch.linalg.eigh(horn).eigenvectors[..., -1]
    rotation = matrix_from_quaternion(quaternion.roll(-1, -1)).to(correlation)  # Horn's has its scalar first
    silent = correlation.abs().amax((-1, -2), keepdim=True) == 0
    return torch.where(silent, torch.eye(3).to(correlation), rotation)


def largest_eigenvectors(matrices: Tensor) -> Tensor:
    """Unit eigenvectors (..., N) of the largest eigenvalue of symmetric matrices (..., N, N), by repeated squaring.

    Every matrix is shifted by a multiple of the identity to be positive semidefinite, then squared until it is the
    projector onto the eigenvector; for a repeated eigenvalue the result is any vector of its eigenspace. The number of
    operations does not depend on the input, so that a GPU is never synchronised with.

    Args:
        matrices: float64; a matrix of zeros gives a vector of zeros.
    """
    size = matrices.shape[-1]
    identity = torch.eye(size).to(matrices)
    power = matrices + matrices.flatten(-2).norm(dim=-1)[..., None, None] * identity
    for step in range(_SQUARINGS):
        if step % 3 == 0:  # the largest eigenvalue is at least 1/4 of the trace: three squarings cannot underflow
            power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)[..., None, None]
        power = power @ power
    column = power.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*power.shape[:-1], 1)
    return torch.nn.functional.normalize(power.gather(-1, column)[..., 0], dim=-1, eps=1e-300)


def rotation_from_6d(parameters: Tensor) -> Tensor:
    """Rotations (..., 3, 3) whose first two rows are two vectors, orthonormalised by Gram-Schmidt (Zhou et al. 2019).

    Args:
        parameters: (..., 6), the two vectors.
    """
    first = torch.nn.functional.normalize(parameters[..., :3], dim=-1)
    second = parameters[..., 3:] - (first * parameters[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.cross(first, second, dim=-1)], -2)


def rotation_to_6d(rotation: Array) -> Array:
    """First two rows (..., 6) of matrices (..., 3, 3); the inverse of ``rotation_from_6d``."""
    return rotation[..., :2, :].reshape(*rotation.shape[:-2], 6)


@kernel("f8, f8, f8, f8[:,::1]", ahead=False)
def rotation_exp_into(x, y, z, rotation):
    """The kernel behind ``rotation_exp`` (Rodrigues' formula): a rotation vector -> rotation (3, 3)."""
    angle = np.sqrt(x * x + y * y + z * z)
    sine = np.sin(angle) / angle if angle > 1e-9 else 1.0
    rest = (1.0 - np.cos(angle)) / (angle * angle) if angle > 1e-4 else 0.5
    cosine = 1.0 - rest * angle * angle
    rotation[0, 0], rotation[1, 1] = cosine + rest * x * x, cosine + rest * y * y
    rotation[2, 2] = cosine + rest * z * z
    rotation[0, 1], rotation[1, 0] = rest * x * y - sine * z, rest * x * y + sine * z
    rotation[0, 2], rotation[2, 0] = rest * x * z + sine * y, rest * x * z - sine * y
    rotation[1, 2], rotation[2, 1] = rest * y * z - sine * x, rest * y * z + sine * x


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
    constant, top = (
        0.0,
        np.int64(0),
    )  # int64: a literal would compile _cofactor a second time
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
    else:  # two (nearly) equal largest eigenvalues: the adjugate is ill-conditioned
        vectors = np.linalg.eigh(matrix)[1]
        for i in range(4):
            quaternion[i] = vectors[i, 3]
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
