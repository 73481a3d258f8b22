"""Normal equations of a texture: a nine-point stencil over the atlas, and constraints between the sides of the seams.

A bilinear lookup couples the four texels of a square, so the normal matrix of any number of lookups has at most nine
entries a row, laid out as the grid is. It is symmetric and stored as five planes (the centre and one of each pair
of opposite neighbours), so memory does not depend on the number of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from texture.texels import Lookups
from v2m4.kernels import kernel
from v2m4.threads import share

CENTRE, EAST, SOUTH, SOUTH_EAST, SOUTH_WEST = range(5)
PARTS = 2  # buffers for the sums over lookups; fixed, so that rounding does not depend on the number of threads
RUNS = 16  # pieces of a colour channel, shared by the threads
CHUNKS = 64  # of the dot products, fixed for the same reason


@dataclass(frozen=True)
class Seams:
    """Pairs of lookups of the same surface points on the two sides of the seams; both should read the same colour."""

    one: Lookups
    other: Lookups


class System:
    """Normal equations of weighted lookups, smoothness within the charts and equality across the seams.

    Args:
        chart: (H, W) int32, the chart of each texel, -1 outside.
        seams: lookups on both sides of every seam.
        smoothness: weight of the squared difference of two neighbouring texels of one chart.
        seam_weight: weight of the squared difference of the two sides of a seam.
    """

    def __init__(self, chart: np.ndarray, seams: Seams, smoothness: float, seam_weight: float) -> None:
        self.size = chart.shape[0]
        self.seams, self.seam_weight = seams, np.float32(seam_weight)
        self._margin = self.size + 1  # padding for the neighbours of the first and last texels, of weight 0
        texels = self.size**2
        self.planes = np.zeros((5, texels + 2 * self._margin), dtype=np.float32)
        self.target = np.zeros((3, texels + 2 * self._margin), dtype=np.float32)
        inside = chart >= 0
        east = np.zeros_like(inside)
        south = np.zeros_like(inside)
        east[:, :-1] = inside[:, :-1] & (chart[:, :-1] == chart[:, 1:])
        south[:-1] = inside[:-1] & (chart[:-1] == chart[1:])
        neighbours = east.astype(np.float32) + south
        neighbours[:, 1:] += east[:, :-1]
        neighbours[1:] += south[:-1]
        self._smooth = {CENTRE: smoothness * neighbours, EAST: -smoothness * east, SOUTH: -smoothness * south}
        self._seam_diagonal = np.zeros(texels, dtype=np.float32)
        for rows in (seams.one, seams.other):
            _add_diagonal(rows.base, rows.right, rows.lower, self.size, self.seam_weight, self._seam_diagonal)
        self._reset()

    def _inner(self, planes: np.ndarray) -> np.ndarray:
        return planes[..., self._margin : -self._margin]

    def _reset(self) -> None:
        self.planes[:] = 0
        self.target[:] = 0
        for name, values in self._smooth.items():
            self._inner(self.planes)[name] = values.ravel()

    def observe(self, rows: Lookups, colors: np.ndarray, weights: np.ndarray) -> None:
        """Set the data term to these lookups, in place of an earlier data term.

        Args:
            rows: N lookups.
            colors: (N, 3) float32, the observed values.
            weights: (N,) float32, at least 0.
        """
        buffers = np.zeros((PARTS, self.size**2, 8), dtype=np.float32)
        share(_accumulate, PARTS, rows.base, rows.right, rows.lower, colors, weights, self.size, buffers)
        self._reset()
        share(_unpack, self.size**2, buffers, self._inner(self.planes), self._inner(self.target))

    def constrain_texels(self, fixed: np.ndarray, texture: np.ndarray, weight: float) -> None:
        """Set the data term to texels: those where ``fixed`` (H, W) take the colours of ``texture`` (H, W, 3)."""
        self._reset()
        texel_weights = np.where(fixed, np.float32(weight), np.float32(0)).ravel()
        self._inner(self.planes)[CENTRE] += texel_weights
        self._inner(self.target)[:] = texel_weights * texture.reshape(-1, 3).T

    def apply(self, texture: np.ndarray) -> np.ndarray:
        """Product of the normal matrix and a texture (H, W, 3), of the same shape."""
        result = np.empty_like(self.target)
        self._apply(self._padded(texture), result)
        return self._unpadded(result)

    def solve(self, start: np.ndarray, iterations: int, tolerance: float = 1e-4) -> np.ndarray:
        """Texture by conjugate gradients with a diagonal (Jacobi) preconditioner.

        Args:
            start: (H, W, 3) initial texture; texels without any weight keep its colour.
            iterations: at most.
            tolerance: norm of the preconditioned residual to stop at, relative to that of a black texture.

        Returns:
            (H, W, 3) float32.
        """
        diagonal = self.planes[CENTRE].copy()
        self._inner(diagonal)[:] += self._seam_diagonal
        inverse = np.where(diagonal > 0, 1 / np.maximum(diagonal, 1e-12), 0).astype(np.float32)
        x = self._padded(start)
        product = np.zeros_like(x)
        self._apply(x, product)
        residual = self.target - product
        scale = float(np.vdot(self.target, self.target * inverse))
        direction = residual * inverse
        energy = float(np.vdot(residual, direction))
        partial = np.zeros(CHUNKS)
        for _ in range(iterations):
            if energy <= tolerance**2 * scale or energy == 0.0:
                break
            self._apply(direction, product)
            share(_dot, CHUNKS, direction.reshape(-1), product.reshape(-1), partial)
            step = energy / partial.sum()
            share(_advance, CHUNKS, x, residual, direction, product, inverse, np.float32(step), partial)
            previous, energy = energy, float(partial.sum())
            share(_update_direction, 3 * RUNS, direction, residual, inverse, np.float32(energy / previous))
        return self._unpadded(x)

    def _padded(self, texture: np.ndarray) -> np.ndarray:
        planes = np.zeros_like(self.target)
        self._inner(planes)[:] = texture.reshape(-1, 3).T
        return planes

    def _unpadded(self, planes: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self._inner(planes).T).reshape(self.size, self.size, 3)

    def _apply(self, x: np.ndarray, result: np.ndarray) -> None:
        result[:] = 0
        share(_stencil, self.size, self.planes, x, self.size, self._margin, result)
        one, other = self.seams.one, self.seams.other
        share(
            _add_seam_product, 3, one.base, one.right, one.lower, other.base, other.right, other.lower,
            self.size, self._margin, self.seam_weight, x, result,
        )  # fmt: skip


@kernel("i4[::1], f8[::1], f8[::1], i8, f4, f4[::1]")
def _add_diagonal(base, right, lower, width, weight, diagonal):
    for i in range(len(base)):
        b, s, t = base[i], right[i], lower[i]
        diagonal[b] += weight * ((1 - s) * (1 - t)) ** 2
        diagonal[b + 1] += weight * (s * (1 - t)) ** 2
        diagonal[b + width] += weight * ((1 - s) * t) ** 2
        diagonal[b + width + 1] += weight * (s * t) ** 2


@kernel("i8, i8, i4[::1], f8[::1], f8[::1], f4[:,::1], f4[::1], i8, f4[:,:,::1]")
def _accumulate(first, last, base, right, lower, colors, weights, width, buffers):
    """Sum normal equations of lookups in buffers (PARTS, H W, 8): centre, east, south, south-east, south-west, RGB."""
    parts, count = buffers.shape[0], len(base)
    for part in range(first, last):
        out = buffers[part]
        for i in range(part * count // parts, (part + 1) * count // parts):
            w = weights[i]
            if w <= 0.0:
                continue
            b, s, t = base[i], right[i], lower[i]
            w00, w01, w10, w11 = (1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t
            out[b, 0] += w * w00 * w00
            out[b, 1] += w * w00 * w01
            out[b, 2] += w * w00 * w10
            out[b, 3] += w * w00 * w11
            out[b + 1, 0] += w * w01 * w01
            out[b + 1, 2] += w * w01 * w11
            out[b + 1, 4] += w * w01 * w10
            out[b + width, 0] += w * w10 * w10
            out[b + width, 1] += w * w10 * w11
            out[b + width + 1, 0] += w * w11 * w11
            for c in range(3):
                new_residual = w * colors[i, c]
                out[b, 5 + c] += w00 * new_residual
                out[b + 1, 5 + c] += w01 * new_residual
                out[b + width, 5 + c] += w10 * new_residual
                out[b + width + 1, 5 + c] += w11 * new_residual


@kernel("i8, i8, f4[:,:,::1], f4[:,:], f4[:,:]")
def _unpack(first, last, buffers, planes, target):
    """Add the sum of the buffers to the planes (5, H W), and write the target (3, H W)."""
    for i in range(first, last):
        for k in range(8):
            total = np.float32(0.0)
            for part in range(buffers.shape[0]):
                total += buffers[part, i, k]
            if k < 5:
                planes[k, i] += total
            else:
                target[k - 5, i] = total


@kernel("i8, i8, f4[:,::1], f4[:,::1], i8, i8, f4[:,::1]")
def _stencil(first, last, planes, x, size, margin, result):
    for row in range(first, last):
        start = margin + row * size
        for channel in range(3):
            for i in range(start, start + size):
                result[channel, i] = (
                    planes[0, i] * x[channel, i]
                    + planes[1, i] * x[channel, i + 1]
                    + planes[1, i - 1] * x[channel, i - 1]
                    + planes[2, i] * x[channel, i + size]
                    + planes[2, i - size] * x[channel, i - size]
                    + planes[3, i] * x[channel, i + size + 1]
                    + planes[3, i - size - 1] * x[channel, i - size - 1]
                    + planes[4, i] * x[channel, i + size - 1]
                    + planes[4, i - size + 1] * x[channel, i - size + 1]
                )


@kernel("i8, i8, i4[::1], f8[::1], f8[::1], i4[::1], f8[::1], f8[::1], i8, i8, f4, f4[:,::1], f4[:,::1]")
def _add_seam_product(
    first, last, base_a, right_a, lower_a, base_b, right_b, lower_b, width, margin, weight, x, result
):
    """Add the product of the seams' part of the normal matrix and x to ``result``."""
    for c in range(first, last):
        for i in range(len(base_a)):
            a, s, t = base_a[i] + margin, right_a[i], lower_a[i]
            b, p, q = base_b[i] + margin, right_b[i], lower_b[i]
            a00, a01, a10, a11 = (1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t
            b00, b01, b10, b11 = (1 - p) * (1 - q), p * (1 - q), (1 - p) * q, p * q
            one = a00 * x[c, a] + a01 * x[c, a + 1] + a10 * x[c, a + width] + a11 * x[c, a + width + 1]
            other = b00 * x[c, b] + b01 * x[c, b + 1] + b10 * x[c, b + width] + b11 * x[c, b + width + 1]
            gap = weight * (one - other)
            result[c, a] += a00 * gap
            result[c, a + 1] += a01 * gap
            result[c, a + width] += a10 * gap
            result[c, a + width + 1] += a11 * gap
            result[c, b] -= b00 * gap
            result[c, b + 1] -= b01 * gap
            result[c, b + width] -= b10 * gap
            result[c, b + width + 1] -= b11 * gap


@kernel("i8, i8, f4[::1], f4[::1], f8[::1]")
def _dot(first, last, one, other, partial):
    chunks, count = len(partial), len(one)
    for chunk in range(first, last):
        total = 0.0
        for i in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            total += one[i] * other[i]
        partial[chunk] = total


@kernel("i8, i8, f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4, f8[::1]")
def _advance(first, last, x, residual, direction, product, inverse, step, partial):
    """Step of conjugate gradients; writes partial sums of the new preconditioned squared residual to ``partial``."""
    chunks, count = len(partial), x.shape[1]
    for chunk in range(first, last):
        total = 0.0
        for c in range(x.shape[0]):
            for i in range(chunk * count // chunks, (chunk + 1) * count // chunks):
                x[c, i] += step * direction[c, i]
                new_residual = residual[c, i] - step * product[c, i]
                residual[c, i] = new_residual
                total += new_residual * new_residual * inverse[i]
        partial[chunk] = total


@kernel("i8, i8, f4[:,::1], f4[:,::1], f4[::1], f4")
def _update_direction(first, last, direction, residual, inverse, factor):
    count = direction.shape[1]
    for task in range(first, last):
        c, part = task // RUNS, task % RUNS
        for i in range(part * count // RUNS, (part + 1) * count // RUNS):
            direction[c, i] = residual[c, i] * inverse[i] + factor * direction[c, i]
