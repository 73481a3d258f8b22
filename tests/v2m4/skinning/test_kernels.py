"""The skin weights of one vertex solve their quadratic programme."""

from itertools import combinations

import numpy as np
from scipy.optimize import minimize

from v2m4.skinning.kernels import solve_skin_weights


def _problem(bones: int, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rest = np.append(rng.normal(size=3), 1.0)[None]
    matrices = rng.normal(size=(bones, 3 * frames, 4))
    moved = matrices @ rest[0]
    target = rng.normal(size=3 * frames)
    stacked = matrices.transpose(0, 2, 1).reshape(4 * bones, -1)
    return rest, moved, target, (moved @ target)[None], stacked @ stacked.T


def _solved(rest: np.ndarray, linear: np.ndarray, blocks: np.ndarray, influences: int) -> np.ndarray:
    result = np.zeros_like(linear)
    solve_skin_weights(0, 1, rest, linear, blocks, np.zeros_like(linear), 0.0, influences, result)
    return result[0]


def _best_on(moved: np.ndarray, target: np.ndarray, chosen: tuple[int, ...]) -> float:
    part = moved[list(chosen)]
    found = minimize(
        lambda w: ((w @ part - target) ** 2).sum(),
        np.full(len(chosen), 1 / len(chosen)),
        jac=lambda w: 2 * part @ (w @ part - target),
        bounds=[(0, None)] * len(chosen),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return float(found.fun)


def test_weights_are_a_partition_of_unity() -> None:
    for seed in range(20):
        rest, _, _, linear, blocks = _problem(9, 5, seed)
        weights = _solved(rest, linear, blocks, 4)
        assert weights.min() >= 0
        assert abs(weights.sum() - 1) < 1e-9
        assert (weights > 0).sum() <= 4


def test_without_a_limit_they_are_the_constrained_optimum() -> None:
    for seed in range(10):
        rest, moved, target, linear, blocks = _problem(6, 4, seed)
        cost = ((_solved(rest, linear, blocks, 6) @ moved - target) ** 2).sum()
        assert cost <= _best_on(moved, target, tuple(range(6))) + 1e-6


def test_the_limited_ones_are_near_the_best_of_all_subsets() -> None:
    ratios = []
    for seed in range(8):
        rest, moved, target, linear, blocks = _problem(7, 4, seed)
        cost = ((_solved(rest, linear, blocks, 2) @ moved - target) ** 2).sum()
        best = min(_best_on(moved, target, pair) for pair in combinations(range(7), 2))
        assert cost >= best - 1e-6
        ratios.append(cost / best)
    assert np.median(ratios) < 1.05


def test_an_exact_blend_is_found() -> None:
    rest, moved, _, _, blocks = _problem(8, 6, 3)
    truth = np.array([0, 0.5, 0, 0.2, 0, 0.3, 0, 0])
    target = truth @ moved
    np.testing.assert_allclose(_solved(rest, (moved @ target)[None], blocks, 4), truth, atol=1e-6)
