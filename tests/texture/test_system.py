import numpy as np
import pytest

from texture.system import Seams, System
from texture.texels import Lookups, lookups, sample

SIZE = 12


def rows_of(count, seed):
    return lookups(np.random.default_rng(seed).random((count, 2)).astype(np.float32), SIZE)


def dense(rows: Lookups) -> np.ndarray:
    """The lookups as a matrix, by reading textures with one white texel."""
    return np.stack([sample(unit.reshape(SIZE, SIZE, 1), rows)[:, 0] for unit in np.eye(SIZE * SIZE)], 1)


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    chart = np.where(np.arange(SIZE)[None, :] < 6, 0, 1) * np.ones((SIZE, 1), dtype=np.int64)
    chart[:, 5] = -1
    seams = Seams(rows_of(7, 1), rows_of(7, 2))
    return chart.astype(np.int32), seams, rows_of(200, 3), rng.random((200, 3), np.float32), rng.random(200, np.float32)


def normal_matrix(chart, seams, rows, weights, smoothness, coupling):
    lookup, seam = dense(rows), dense(seams.one) - dense(seams.other)
    matrix = lookup.T @ (weights[:, None] * lookup) + coupling * seam.T @ seam
    for r in range(SIZE):
        for c in range(SIZE):
            for dr, dc in ((0, 1), (1, 0)):
                if r + dr < SIZE and c + dc < SIZE and chart[r, c] == chart[r + dr, c + dc] >= 0:
                    row = np.zeros(SIZE * SIZE)
                    row[r * SIZE + c], row[(r + dr) * SIZE + c + dc] = 1, -1
                    matrix += smoothness * np.outer(row, row)
    return matrix


def test_apply_is_the_normal_matrix(parts):
    chart, seams, rows, colors, weights = parts
    system = System(chart, seams, 0.3, 0.7)
    system.observe(rows, colors, weights)
    texture = np.random.default_rng(5).random((SIZE, SIZE, 3), np.float32)
    expected = normal_matrix(*parts[:3], weights, 0.3, 0.7) @ texture.reshape(-1, 3)
    assert np.abs(system.apply(texture).reshape(-1, 3) - expected).max() < 1e-4


def test_solve_is_the_least_squares_solution(parts):
    chart, seams, rows, colors, weights = parts
    system = System(chart, seams, 0.3, 0.7)
    system.observe(rows, colors, weights)
    matrix = normal_matrix(*parts[:3], weights, 0.3, 0.7)
    expected = np.linalg.lstsq(matrix, dense(rows).T @ (weights[:, None] * colors), rcond=None)[0]
    solved = system.solve(np.zeros((SIZE, SIZE, 3), np.float32), 500, 1e-7).reshape(-1, 3)
    constrained = np.diag(matrix) > 1e-3
    assert np.abs(solved - expected)[constrained].max() < 1e-3


def test_observations_replace_earlier_ones(parts):
    chart, seams, rows, colors, weights = parts
    once, twice = System(chart, seams, 0.1, 0.1), System(chart, seams, 0.1, 0.1)
    once.observe(rows, colors, weights)
    twice.observe(rows, 1 - colors, 5 * weights)
    twice.observe(rows, colors, weights)
    texture = np.random.default_rng(6).random((SIZE, SIZE, 3), np.float32)
    assert np.array_equal(once.apply(texture), twice.apply(texture))
    assert np.array_equal(once.target, twice.target)


def test_free_texels_interpolate_the_constrained_ones():
    chart = np.zeros((SIZE, SIZE), np.int32)
    none = Lookups(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    system = System(chart, Seams(none, none), 1.0, 1.0)
    ramp = np.broadcast_to(np.linspace(0, 1, SIZE, dtype=np.float32)[None, :, None], (SIZE, SIZE, 3)).copy()
    fixed = np.zeros((SIZE, SIZE), bool)
    fixed[:, [0, -1]] = True
    system.constrain_texels(fixed, ramp, 1e4)
    start = np.where(fixed[..., None], ramp, 0.5).astype(np.float32)
    assert np.abs(system.solve(start, 300, 1e-7) - ramp).max() < 1e-3  # harmonic between the two sides: a ramp
