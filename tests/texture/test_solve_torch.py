"""The solver for GPUs against the CPU's, on CPU tensors."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.texture.test_solve import checks, observe
from tests.texture.test_system import parts  # noqa: F401  # a fixture
from texture import solve_torch
from texture.solve import least_squares
from texture.solve_torch import TorchLookups, TorchSystem, least_squares_in_torch
from texture.stage import solve
from texture.system import System
from v2m4.config import FAST
from v2m4.frame import Frame

SIZE = 12


_to = torch.Tensor.to


def to_unless_meta(tensor, *to, **more):
    """``Tensor.to`` on a machine whose GPU is its main memory."""
    return tensor if to and to[0] == torch.device("meta") else _to(tensor, *to, **more)


def both_systems(parts):  # noqa: F811
    chart, seams, rows, colors, weights = parts
    system = System(chart, seams, 0.3, 0.7)
    system.observe(rows, colors, weights)
    other = TorchSystem(chart, seams, 0.3, 0.7, [TorchLookups.of(rows, SIZE, "cpu")], [torch.from_numpy(colors)])
    other.observe([torch.from_numpy(weights)[:, None]])
    return system, other


def test_torch_normal_matrix_equals_the_cpu_one(parts):  # noqa: F811
    system, other = both_systems(parts)
    texture = np.random.default_rng(5).random((SIZE, SIZE, 3), np.float32)
    result = other.apply(torch.from_numpy(texture).flatten(0, 1)).reshape(SIZE, SIZE, 3).numpy()
    np.testing.assert_allclose(result, system.apply(texture), atol=1e-5)


def test_torch_conjugate_gradients_equal_the_cpu_ones(parts):  # noqa: F811
    system, other = both_systems(parts)
    start = np.random.default_rng(6).random((SIZE, SIZE, 3), np.float32)
    for iterations in (1, 5, 20):
        result = other.solve(torch.from_numpy(start).flatten(0, 1), iterations).reshape(SIZE, SIZE, 3)
        np.testing.assert_allclose(result, system.solve(start, iterations), atol=2e-4)


@pytest.mark.parametrize("pieces", [1 << 22, 5000])
def test_torch_texture_equals_the_cpu_one_with_outliers(all_round, monkeypatch, pieces):
    monkeypatch.setattr(solve_torch, "LOOKUPS_PER_PIECE", pieces)
    views = observe(all_round, checks(all_round))
    spoiled = [replace(v, colors=1 - v.colors) if i % 8 == 0 else v for i, v in enumerate(views)]
    expected = least_squares(spoiled, all_round.texels, all_round.seams, 0.01)
    result = least_squares_in_torch(spoiled, all_round.texels, all_round.seams, 0.01, "cpu")
    np.testing.assert_allclose(result.weight, expected.weight, rtol=1e-4, atol=1e-4)
    assert np.array_equal(result.observed, expected.observed)
    error = np.square(result.texture - expected.texture)[expected.observed].mean()
    assert -10 * math.log10(float(error) + 1e-12) > 60
    assert result.texture.dtype == np.float32 and result.texture.shape == expected.texture.shape


def test_no_view_is_an_error(all_round):
    with pytest.raises(ValueError, match="no colour to take"):
        least_squares_in_torch([], all_round.texels, all_round.seams, 0.01, "cpu")


def test_stage_moves_inputs_to_the_device_and_uses_the_torch_solver(all_round, monkeypatch, caplog):
    scene, used = all_round, []
    caplog.set_level("INFO", "texture.stage")
    truth = checks(scene)
    frames = [Frame(frame.name, frame.index, frame.rgba) for frame in scene.frames(truth)]
    config = replace(FAST, device="cpu", texture=replace(FAST.texture, size=128, view_size=96, views=2))
    expected, lighting = solve(
        frames, scene.sequence, scene.textured(truth), scene.atlas, scene.texels, scene.seams, config
    )
    assert lighting is None and "on cpu" in caplog.text
    monkeypatch.setattr("texture.stage.device_of", lambda config: torch.device("meta"))  # any but the CPU
    monkeypatch.setattr(torch.Tensor, "to", to_unless_meta)
    monkeypatch.setattr(
        "texture.stage.least_squares_in_torch",
        lambda *given, device: (used.append(device), least_squares_in_torch(*given, device="cpu"))[1],
    )
    result, _ = solve(frames, scene.sequence, scene.textured(truth), scene.atlas, scene.texels, scene.seams, config)
    assert [device.type for device in used] == ["meta"] * (1 + config.texture.alignments)
    assert np.abs(result.texture - expected.texture)[expected.observed].mean() < 2e-3
