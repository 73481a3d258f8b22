"""Sparse Cholesky factors of many frames' equations that share one pattern of 6 x 6 blocks.

The pattern follows from the deformation graph alone, so the order of elimination and what it fills in are found once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2m4.kernels import kernel
from v2m4.threads import share


@dataclass(frozen=True)
class BlockPattern:
    """Blocks of the lower triangle, column by column in the order of elimination, the diagonal one first.

    Attributes:
        place: (K,) each node's place in the order.
        start: (K + 1,) where each column's blocks begin.
        row: (B,) ascending in each column.
        slot: (K, K) int32, the block of a row and a column (both places); -1: none.
    """

    place: np.ndarray
    start: np.ndarray
    row: np.ndarray
    slot: np.ndarray

    @classmethod
    def of(cls, coupled: np.ndarray) -> BlockPattern:
        """From which nodes are coupled, (K, K) bool, symmetric; least degree first."""
        count = len(coupled)
        around = [set(np.flatnonzero(line).tolist()) - {node} for node, line in enumerate(coupled)]
        left = set(range(count))
        order, columns = [], []
        while left:
            node = min(left, key=lambda n: (len(around[n]), n))
            left.discard(node)
            near = around[node]
            order.append(node)
            columns.append(near)
            for other in near:
                around[other] |= near
                around[other] -= {other, node}
        place = np.empty(count, np.int64)
        place[order] = np.arange(count)
        rows = [np.concatenate([[k], np.sort(place[list(near)])]) for k, near in enumerate(columns)]
        start = np.concatenate([[0], np.cumsum([len(line) for line in rows])]).astype(np.int64)
        row = np.concatenate(rows).astype(np.int64)
        slot = np.full((count, count), -1, np.int32)
        slot[row, np.repeat(np.arange(count), np.diff(start))] = np.arange(len(row))
        return cls(place, start, row, slot)


def factorize(blocks: np.ndarray, pattern: BlockPattern, free: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky factors of the frames (T,) bool that are free, and whether all were positive definite.

    Args:
        blocks: (T, B, 6, 6).
        pattern: of the blocks.
        free: (T,) bool.
    """
    factor = blocks.copy()
    good = np.ones(len(blocks), bool)
    share(_factor_all, len(blocks), factor, pattern.start, pattern.row, pattern.slot, free, good)
    return factor, bool(good.all())


def solve_factored(factor: np.ndarray, pattern: BlockPattern, free: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(T, 6K) solutions, 0 for frames that are not free."""
    out = np.where(free[:, None], vector, 0.0)
    share(_solve_all, len(factor), factor, pattern.start, pattern.row, free, out)
    return out


def multiply(
    blocks: np.ndarray,
    pattern: BlockPattern,
    free: np.ndarray,
    pairs: np.ndarray,
    across: np.ndarray,
    vector: np.ndarray,
) -> np.ndarray:
    """The equations of all frames times (T, 6K); ``across`` (P, K, 6, 6) couples the frames of ``pairs`` (P, 2)."""
    out = np.zeros_like(vector)
    share(_multiply_all, len(blocks), blocks, pattern.start, pattern.row, free, pairs, across, vector, out)
    return out


@kernel
def _factor(blocks, start, row, slot):
    """One frame's factor in place; False where it is not positive definite."""
    for k in range(len(start) - 1):
        if not _factor_diagonal(blocks[start[k]]):
            return False
        for h in range(start[k] + 1, start[k + 1]):
            _divide(blocks[h], blocks[start[k]])
        for h in range(start[k] + 1, start[k + 1]):
            for g in range(start[k] + 1, h + 1):
                _subtract_product(blocks[slot[row[h], row[g]]], blocks[h], blocks[g])
    return True


@kernel
def _factor_diagonal(block):
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
    """By the diagonal's factor, transposed, from the right."""
    for b in range(6):
        for c in range(b):
            for a in range(6):
                block[a, b] -= block[a, c] * diagonal[b, c]
        for a in range(6):
            block[a, b] /= diagonal[b, b]


@kernel
def _subtract_product(into, left, right):
    for a in range(6):
        for b in range(6):
            total = 0.0
            for c in range(6):
                total += left[a, c] * right[b, c]
            into[a, b] -= total


@kernel
def _solve(blocks, start, row, x):
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
def _factor_all(first, last, blocks, start, row, slot, free, good):
    for time in range(first, last):
        if free[time]:
            good[time] = _factor(blocks[time], start, row, slot)


@kernel("i8, i8, f8[:,:,:,::1], i8[::1], i8[::1], b1[::1], f8[:,::1]")
def _solve_all(first, last, blocks, start, row, free, x):
    for time in range(first, last):
        if free[time]:
            _solve(blocks[time], start, row, x[time])


@kernel("i8, i8, f8[:,:,:,::1], i8[::1], i8[::1], b1[::1], i8[:,::1], f8[:,:,:,::1], f8[:,::1], f8[:,::1]")
def _multiply_all(first, last, blocks, start, row, free, pairs, across, x, out):
    for time in range(first, last):
        if free[time]:
            _multiply(blocks[time], start, row, x[time], out[time])
            for p in range(len(pairs)):
                if pairs[p, 0] == time or pairs[p, 1] == time:
                    later = pairs[p, 1] == time  # its equations have the block transposed
                    _multiply_across(across[p], later, x[pairs[p, 0 if later else 1]], out[time])


@kernel
def _multiply_across(blocks, transposed, x, out):
    for k in range(len(blocks)):
        for a in range(6):
            for b in range(6):
                value = blocks[k, b, a] if transposed else blocks[k, a, b]
                out[6 * k + a] += value * x[6 * k + b]


@kernel
def _multiply(blocks, start, row, x, out):
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
