"""Curves of glTF animations: laws, and SciPy's own splines and rotations as oracles."""

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from v2m4.io._gltf_samplers import Sampler, hermite

TIMES = np.array([0.5, 1.0, 2.5, 2.75])
MODES = ("LINEAR", "STEP", "CUBICSPLINE")


def _sampler(mode: str, width: int = 3, rotation: bool = False, seed: int = 0) -> Sampler:
    """Random keys; rotations are unit quaternions."""
    keys = np.random.default_rng(seed).normal(size=(len(TIMES), 3, width))
    if rotation:
        keys[:, 1] /= np.linalg.norm(keys[:, 1], axis=1, keepdims=True)
    return Sampler(TIMES, keys, mode, rotation)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rotation", [False, True])
def test_keys_are_met_and_the_ends_stay(mode: str, rotation: bool) -> None:
    sampler = _sampler(mode, 4 if rotation else 3, rotation)
    values = sampler.values[:, 1]
    met = sampler.at(TIMES)
    if rotation:  # the opposite quaternion is the same rotation
        met *= np.sign((met * values).sum(1, keepdims=True))
    np.testing.assert_allclose(met, values, atol=1e-12)
    outside = sampler.at(np.array([-5.0, 0.0, 3.0, 100.0]))
    np.testing.assert_allclose(outside, sampler.at(TIMES[[0, 0, -1, -1]]), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_single_key_is_constant(mode: str) -> None:
    sampler = Sampler(np.array([1.0]), np.arange(9.0).reshape(1, 3, 3), mode, rotation=False)
    np.testing.assert_array_equal(sampler.at(np.array([0.0, 1.0, 2.0])), np.tile([3.0, 4.0, 5.0], (3, 1)))


def test_step_holds_until_the_next_key() -> None:
    sampler = _sampler("STEP")
    values = sampler.values[:, 1]
    asked = np.array([0.5, 0.999, 1.0, 2.4999, 2.5, 2.74, 2.75])
    np.testing.assert_array_equal(sampler.at(asked), values[[0, 0, 1, 1, 2, 2, 3]])


def test_linear_is_linear() -> None:
    sampler = _sampler("LINEAR")
    asked = np.linspace(0, 3, 50)
    expected = np.stack([np.interp(asked, TIMES, column) for column in sampler.values[:, 1].T], 1)
    np.testing.assert_allclose(sampler.at(asked), expected, atol=1e-12)


def test_cubic_spline_is_hermites() -> None:
    sampler = _sampler("CUBICSPLINE")
    sampler.values[:, 2] = sampler.values[:, 0]  # as much slope into a key as out of it, as SciPy has it
    spline = CubicHermiteSpline(TIMES, sampler.values[:, 1], sampler.values[:, 0])
    asked = np.linspace(TIMES[0], TIMES[-1], 50)
    np.testing.assert_allclose(sampler.at(asked), spline(asked), atol=1e-12)


def test_tangents_are_slopes_into_and_out_of_a_key() -> None:
    sampler = _sampler("CUBICSPLINE")
    step = 1e-6
    before, at, after = sampler.at(TIMES[1] + np.array([-step, 0.0, step]))
    np.testing.assert_allclose((at - before) / step, sampler.values[1, 0], atol=1e-4)
    np.testing.assert_allclose((after - at) / step, sampler.values[1, 2], atol=1e-4)


def test_cubic_spline_without_tangents_eases_from_value_to_value() -> None:
    sampler = _sampler("CUBICSPLINE")
    sampler.values[:, [0, 2]] = 0
    first, second = sampler.values[1, 1], sampler.values[2, 1]
    asked = np.linspace(TIMES[1], TIMES[2], 21)
    share = (sampler.at(asked) - first) / (second - first)
    np.testing.assert_allclose(share[10], 0.5, atol=1e-12)
    assert (np.diff(share, axis=0) > 0).all()
    np.testing.assert_allclose(share + share[::-1], 1, atol=1e-9)


def test_hermite_follows_a_cubic() -> None:
    share = np.linspace(0, 1, 11)[:, None]
    ends = [np.full((11, 1), value) for value in (1.0, 2.0, 1 + 2 + 3 + 4.0, 2 + 2 * 3 + 3 * 4.0)]
    np.testing.assert_allclose(hermite(*ends, share), 1 + 2 * share + 3 * share**2 + 4 * share**3, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_rotations_are_unit_quaternions(mode: str) -> None:
    sampler = _sampler(mode, 4, rotation=True)
    sampler.values[:] *= 1.7  # as stored in few bits, they are not quite
    np.testing.assert_allclose(np.linalg.norm(sampler.at(np.linspace(0, 3, 40)), axis=1), 1, atol=1e-12)
