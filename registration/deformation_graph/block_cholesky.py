"""Sparse block Cholesky factorisation of many frames' normal equations that share one pattern of 6 x 6 blocks.

The pattern depends on the deformation graph alone, so elimination order and fill-in are computed once (symbolic
factorisation by minimum degree).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2m4.kernels import kernel
from v2m4.threads import share


@dataclass(frozen=True)
class BlockPattern:
    """Block sparsity of a Cholesky factor: the lower triangle, column by column in elimination order.

    Attributes:
        order: (K,) int64, position of each node in elimination order.
        start: (K + 1,) int64, where each column's blocks begin; the first is the diagonal one.
        row: (B,) int64, row of each block in elimination order; ascending in each column.
        block_index: (K, K) int32, block of a row and a column, both in elimination order; -1 for none.
    """

    order: np.ndarray
    start: np.ndarray
    row: np.ndarray
    block_index: np.ndarray

    @classmethod
    def of(cls, coupled: np.ndarray) -> BlockPattern:
        """Minimum degree order and fill-in of a symmetric matrix whose blocks are non-zero at (K, K) bool."""
        count = len(coupled)
        neighbours = [set(np.flatnonzero(line).tolist()) - {node} for node, line in enumerate(coupled)]
        remaining = set(range(count))
        sequence, columns = [], []
        while remaining:
            node = min(remaining, key=lambda n: (len(neighbours[n]), n))
            remaining.discard(node)
            clique = neighbours[node]
            sequence.append(node)
            columns.append(clique)
            for other in clique:
                neighbours[other] |= clique
                neighbours[other] -= {other, node}
        order = np.empty(count, np.int64)
        order[sequence] = np.arange(count)
        rows = [np.concatenate([[k], np.sort(order[list(below)])]) for k, below in enumerate(columns)]
        start = np.concatenate([[0], np.cumsum([len(line) for line in rows])]).astype(np.int64)
        row = np.concatenate(rows).astype(np.int64)
        block_index = np.full((count, count), -1, np.int32)
        block_index[row, np.repeat(np.arange(count), np.diff(start))] = np.arange(len(row))
        return cls(order, start, row, block_index)


def factorize(blocks: np.ndarray, pattern: BlockPattern, free: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky factors of the matrices of the free frames.

    Args:
        blocks: (T, B, 6, 6), lower triangles.
        pattern: of the blocks.
        free: (T,) bool, frames to factorise; the others are passed over.

    Returns:
        (T, B, 6, 6) factors, and whether all matrices were positive definite; if not, the factors are of no use.
    """
    factor = blocks.copy()
    positive_definite = np.ones(len(blocks), bool)
    share(_factor_all, len(blocks), factor, pattern.start, pattern.row, pattern.block_index, free, positive_definite)
    return factor, bool(positive_definite.all())


def solve_factored(factor: np.ndarray, pattern: BlockPattern, free: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Solutions (T, 6K) of the free frames' equations by forward and back substitution; 0 for the other frames.

    Args:
        factor: (T, B, 6, 6) from ``factorize``.
        pattern: of the blocks.
        free: (T,) bool.
        vector: (T, 6K) right-hand sides.
    """
    out = np.where(free[:, None], vector, 0.0)
    share(_solve_all, len(factor), factor, pattern.start, pattern.row, free, out)
    return out


def multiply(
    blocks: np.ndarray,
    pattern: BlockPattern,
    free: np.ndarray,
    pairs: np.ndarray,
    coupling: np.ndarray,
    vector: np.ndarray,
) -> np.ndarray:
    """Product (T, 6K) of the matrix of all free frames, coupling included, with a vector.

    Args:
        blocks: (T, B, 6, 6), lower triangles of each frame's own matrix.
        pattern: of the blocks.
        free: (T,) bool.
        pairs: (P, 2) frames that are coupled.
        coupling: (P, K, 6, 6) blocks of each node in a pair; rows are the first frame's.
        vector: (T, 6K).
    """
    out = np.zeros_like(vector)
    share(_multiply_all, len(blocks), blocks, pattern.start, pattern.row, free, pairs, coupling, vector, out)
    return out


@kernel
def _factor(blocks, start, row, block_index):
    """Factorise one frame's matrix in place (right-looking block Cholesky); False where it is not positive definite."""
    transposed = np.empty((6, 6))
    for k in range(len(start) - 1):
        if not _factor_diagonal(blocks[start[k]]):
            return False
        for h in range(start[k] + 1, start[k + 1]):
            _divide(blocks[h], blocks[start[k]])
        for g in range(start[k] + 1, start[k + 1]):
            for a in range(6):
                for b in range(6):
                    transposed[b, a] = blocks[g, a, b]
            for h in range(g, start[k + 1]):
                _subtract_product(blocks[block_index[row[h], row[g]]], blocks[h], transposed)
    return True


@kernel
def _factor_diagonal(block):
    """Factorise a diagonal block (6, 6) in place; False where it is not positive definite."""
    for a in range(6):
        for b in range(a + 1):
            total = block[a, b]
            for c in range(b):
                total -= block[a, c] * block[b, c]
            if b < a:
                block[a, b] = total / block[b, b]
            elif total > 0.0:
                block[a, a] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def _divide(block, diagonal):
    """Multiply a block by the inverse transpose of the diagonal block's factor from the right, in place."""
    for b in range(6):
        for c in range(b):
            for a in range(6):
                block[a, b] -= block[a, c] * diagonal[b, c]
        for a in range(6):
            block[a, b] /= diagonal[b, b]


@kernel
def _subtract_product(target, left, right):
    """Subtract left times right from a block, in place; a row in six registers, so that it is vectorised."""
    for a in range(6):
        t0, t1, t2, t3, t4, t5 = target[a, 0], target[a, 1], target[a, 2], target[a, 3], target[a, 4], target[a, 5]
        for c in range(6):
            value = left[a, c]
            t0 -= value * right[c, 0]
            t1 -= value * right[c, 1]
            t2 -= value * right[c, 2]
            t3 -= value * right[c, 3]
            t4 -= value * right[c, 4]
            t5 -= value * right[c, 5]
        target[a, 0], target[a, 1], target[a, 2], target[a, 3], target[a, 4], target[a, 5] = t0, t1, t2, t3, t4, t5


@kernel
def _solve(blocks, start, row, x):
    """Solve L L^T x = b for one frame in place: ``x`` (6K,) holds b at first."""
    count = len(start) - 1
    for k in range(count):
        diagonal = blocks[start[k]]
        for a in range(6):
            total = x[6 * k + a]
            for b in range(a):
                total -= diagonal[a, b] * x[6 * k + b]
            x[6 * k + a] = total / diagonal[a, a]
        for h in range(start[k] + 1, start[k + 1]):
            block, i = blocks[h], row[h]
            for a in range(6):
                total = 0.0
                for b in range(6):
                    total += block[a, b] * x[6 * k + b]
                x[6 * i + a] -= total
    for k in range(count - 1, -1, -1):
        for h in range(start[k] + 1, start[k + 1]):
            block, i = blocks[h], row[h]
            for b in range(6):
                total = 0.0
                for a in range(6):
                    total += block[a, b] * x[6 * i + a]
                x[6 * k + b] -= total
        diagonal = blocks[start[k]]
        for a in range(5, -1, -1):
            total = x[6 * k + a]
            for b in range(a + 1, 6):
                total -= diagonal[b, a] * x[6 * k + b]
            x[6 * k + a] = total / diagonal[a, a]


@kernel("i8, i8, f8[:,:,:,::1], i8[::1], i8[::1], i4[:,::1], b1[::1], b1[::1]")
def _factor_all(first, last, blocks, start, row, block_index, free, positive_definite):
    for time in range(first, last):
        if free[time]:
            positive_definite[time] = _factor(blocks[time], start, row, block_index)


@kernel("i8, i8, f8[:,:,:,::1], i8[::1], i8[::1], b1[::1], f8[:,::1]")
def _solve_all(first, last, blocks, start, row, free, x):
    for time in range(first, last):
        if free[time]:
            _solve(blocks[time], start, row, x[time])


@kernel("i8, i8, f8[:,:,:,::1], i8[::1], i8[::1], b1[::1], i8[:,::1], f8[:,:,:,::1], f8[:,::1], f8[:,::1]")
def _multiply_all(first, last, blocks, start, row, free, pairs, coupling, x, out):
    for time in range(first, last):
        if free[time]:
            _multiply(blocks[time], start, row, x[time], out[time])
            for p in range(len(pairs)):
                if pairs[p, 0] == time:
                    _multiply_coupling(coupling[p], False, x[pairs[p, 1]], out[time])
                elif pairs[p, 1] == time:
                    _multiply_coupling(coupling[p], True, x[pairs[p, 0]], out[time])


@kernel
def _multiply_coupling(blocks, transposed, x, out):
    """Add the product of a pair's block diagonal coupling (K, 6, 6), or its transpose, with ``x`` (6K,) to ``out``."""
    for k in range(len(blocks)):
        for a in range(6):
            for b in range(6):
                value = blocks[k, b, a] if transposed else blocks[k, a, b]
                out[6 * k + a] += value * x[6 * k + b]


@kernel
def _multiply(blocks, start, row, x, out):
    """Add the product of one frame's symmetric matrix with ``x`` (6K,) to ``out``."""
    for k in range(len(start) - 1):
        diagonal = blocks[start[k]]
        for a in range(6):
            for b in range(6):
                out[6 * k + a] += diagonal[a, b] * x[6 * k + b]
        for h in range(start[k] + 1, start[k + 1]):
            block, i = blocks[h], row[h]
            for a in range(6):
                for b in range(6):
                    out[6 * i + a] += block[a, b] * x[6 * k + b]
                    out[6 * k + b] += block[a, b] * x[6 * i + a]
