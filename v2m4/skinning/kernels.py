"""The numba kernel of the skin weights: a small quadratic programme for each vertex."""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel

MAX_ACTIVE = 12  # bones of a vertex before all but the best few are removed
RIDGE = 1e-12  # added to the diagonal: two bones with the same motion


@kernel
def _solve_active(gram, linear, active, count, factor, weights):
    """Minimise w'Gw / 2 - l'w over the active bones under sum w = 1; sets weights[0:count].

    The Cholesky factor of the active block and two triangular solves give G^-1 l and G^-1 1.
    """
    for i in range(count):
        for j in range(i + 1):
            value = gram[active[i], active[j]]
            if i == j:
                value += RIDGE
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            factor[i, j] = np.sqrt(max(value, RIDGE)) if i == j else value / factor[j, j]
    first, second = np.empty(count), np.empty(count)
    for i in range(count):
        a, b = linear[active[i]], 1.0
        for k in range(i):
            a -= factor[i, k] * first[k]
            b -= factor[i, k] * second[k]
        first[i], second[i] = a / factor[i, i], b / factor[i, i]
    sum_first, sum_second = 0.0, 0.0
    for i in range(count - 1, -1, -1):
        a, b = first[i], second[i]
        for k in range(i + 1, count):
            a -= factor[k, i] * first[k]
            b -= factor[k, i] * second[k]
        first[i], second[i] = a / factor[i, i], b / factor[i, i]
        sum_first += first[i]
        sum_second += second[i]
    multiplier = (1.0 - sum_first) / sum_second
    for i in range(count):
        weights[i] = first[i] + multiplier * second[i]


@kernel
def _restrict(gram, linear, active, count, factor, weights, solved):
    """Move from feasible weights towards the active set's optimum, dropping bones that reach 0; returns the count."""
    while True:
        _solve_active(gram, linear, active, count, factor, solved)
        step, worst = 1.0, -1
        for i in range(count):
            if solved[i] <= 0.0:
                share = weights[i] / max(weights[i] - solved[i], 1e-300)
                if share < step or worst < 0:
                    step, worst = min(share, step), i
        if worst < 0:
            for i in range(count):
                weights[i] = solved[i]
            return count
        for i in range(count):
            weights[i] += step * (solved[i] - weights[i])
        count -= 1
        for i in range(worst, count):
            active[i], weights[i] = active[i + 1], weights[i + 1]


@kernel
def _cost_without(gram, linear, active, count, factor, dropped, trial, solved):
    """The objective of the equality-constrained optimum without one of the active bones."""
    kept = 0
    for i in range(count):
        if i != dropped:
            trial[kept] = active[i]
            kept += 1
    _solve_active(gram, linear, trial, kept, factor, solved)
    cost = 0.0
    for i in range(kept):
        cost -= linear[trial[i]] * solved[i]
        for j in range(kept):
            cost += 0.5 * gram[trial[i], trial[j]] * solved[i] * solved[j]
    return cost


@kernel("i8, i8, f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8, i8, f8[:,::1]")
def solve_skin_weights(  # noqa: PLR0912
    first, last, rest, linear, gram_blocks, mean, smoothness, influences, result
):
    """Solve for the skin weights of vertices ``first`` to ``last`` - 1: active sets, then the least useful removed.

    Minimises |sum_b w_b m_b - y|^2 + smoothness |w - mean|^2 under w >= 0, sum w = 1 and at most ``influences``
    weights that are not 0, where m_b is the vertex moved by bone b. The number of weights is limited by backward
    elimination: the bone whose removal costs least goes.

    Source: Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23, with a sum constraint.

    Args:
        first: vertex.
        last: vertex.
        rest: (V, 4) homogeneous rest positions.
        linear: (V, B) scalar products of a vertex's poses and its motion by each bone.
        gram_blocks: (4 B, 4 B) products of the bones' matrices.
        mean: (V, B) mean weights of the neighbours.
        smoothness: weight.
        influences: largest number of weights that are not 0.
        result: (V, B) weights, zeros before; written.
    """
    bones = linear.shape[1]
    gram, target = np.empty((bones, bones)), np.empty(bones)
    active, trial = np.empty(MAX_ACTIVE + 1, np.int64), np.empty(MAX_ACTIVE + 1, np.int64)
    factor = np.empty((MAX_ACTIVE + 1, MAX_ACTIVE + 1))
    weights, solved = np.empty(MAX_ACTIVE + 1), np.empty(MAX_ACTIVE + 1)
    for v in range(first, last):
        x = rest[v]
        for b in range(bones):
            for c in range(b + 1):
                value = 0.0
                for i in range(4):
                    row = 0.0
                    for j in range(4):
                        row += gram_blocks[4 * b + i, 4 * c + j] * x[j]
                    value += row * x[i]
                gram[b, c] = value
                gram[c, b] = value
            gram[b, b] += smoothness
            target[b] = linear[v, b] + smoothness * mean[v, b]
        best = 0
        for b in range(bones):
            if gram[b, b] - 2 * target[b] < gram[best, best] - 2 * target[best]:
                best = b
        active[0], weights[0], count = best, 1.0, 1
        for _ in range(3 * MAX_ACTIVE):
            lagrange = 0.0
            for i in range(count):
                slope = -target[active[i]]
                for j in range(count):
                    slope += gram[active[i], active[j]] * weights[j]
                lagrange += slope * weights[i]
            entering, steepest = -1, -1e-9
            for b in range(bones):
                slope, used = -target[b] - lagrange, False
                for j in range(count):
                    slope += gram[b, active[j]] * weights[j]
                    used = used or active[j] == b
                if not used and slope < steepest:
                    entering, steepest = b, slope
            if entering < 0 or count >= MAX_ACTIVE:
                break
            active[count], weights[count] = entering, 0.0
            count = _restrict(gram, target, active, count + 1, factor, weights, solved)
        while count > influences:
            least, dropped = np.inf, 0
            for i in range(count):
                cost = _cost_without(gram, target, active, count, factor, i, trial, solved)
                if cost < least:
                    least, dropped = cost, i
            count -= 1
            removed = weights[dropped]
            for i in range(dropped, count):
                active[i], weights[i] = active[i + 1], weights[i + 1]
            for i in range(count):
                weights[i] /= max(1.0 - removed, 1e-12)
            count = _restrict(gram, target, active, count, factor, weights, solved)
        for i in range(count):
            result[v, active[i]] = weights[i]
