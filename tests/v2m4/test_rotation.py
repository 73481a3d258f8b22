"""Laws of the rotation algebra, with SciPy's rotations as the oracle."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from v2m4.rotation import (
    angles_between,
    axis_rotation,
    best_rotation_into,
    best_rotations,
    cube_rotations,
    half_turn,
    matrix_from_quaternion,
    quaternion_from_matrix,
    quaternion_inverse,
    quaternion_product,
    rotation_exp,
    rotation_exp_into,
    rotation_from_6d,
    rotation_log,
    rotation_to_6d,
    rotation_vector_between,
    slerp,
)

COUNT = 200


def random_rotations(seed: int = 0) -> Rotation:
    return Rotation.random(COUNT, random_state=seed)


def rotation_vectors() -> np.ndarray:
    """Axes all round with angles from nothing to just below half a turn, those where series and formulas meet too."""
    draw = np.random.default_rng(0)
    axes = draw.normal(size=(COUNT, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate([[0, 1e-12, 1e-9, 1e-6, 9.99e-4, 1e-3, 1.001e-3, 3.1415], draw.uniform(0, 3.1, COUNT - 8)])
    return axes * angles[:, None]


def assert_rotations(matrices: np.ndarray, tolerance: float = 1e-12) -> None:
    assert np.allclose(matrices @ matrices.swapaxes(-1, -2), np.eye(3), atol=tolerance)
    assert np.allclose(np.linalg.det(matrices), 1, atol=tolerance)


def test_quaternions_matrices_and_vectors_agree_with_scipy() -> None:
    known = random_rotations()
    quaternions = known.as_quat()
    np.testing.assert_allclose(matrix_from_quaternion(quaternions), known.as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotation_exp(known.as_rotvec()), known.as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotation_log(known.as_matrix()), known.as_rotvec(), atol=1e-12)
    found = quaternion_from_matrix(known.as_matrix())
    np.testing.assert_allclose(found, known.as_quat(canonical=True) * np.sign(found[:, 3:]), atol=1e-12)
    for axis, name in enumerate("xyz"):
        angles = np.linspace(-4, 4, 9)
        np.testing.assert_allclose(
            axis_rotation(axis, angles), Rotation.from_euler(name, angles[:, None]).as_matrix(), atol=1e-14
        )
    other = random_rotations(1)
    np.testing.assert_allclose(
        angles_between(known.as_matrix(), other.as_matrix()), (known * other.inv()).magnitude(), atol=1e-7
    )


def test_every_result_is_a_proper_rotation() -> None:
    quaternions = random_rotations().as_quat()
    assert_rotations(matrix_from_quaternion(quaternions))
    assert_rotations(rotation_exp(rotation_vectors()))
    assert_rotations(cube_rotations())
    assert_rotations(axis_rotation(1, np.linspace(0, 6, 7)))
    assert_rotations(half_turn(quaternions[:, :3] / np.linalg.norm(quaternions[:, :3], axis=1, keepdims=True)))


def test_quaternion_and_its_negative_are_one_rotation_and_the_scalar_comes_out_positive() -> None:
    quaternions = random_rotations().as_quat()
    matrices = matrix_from_quaternion(quaternions)
    np.testing.assert_array_equal(matrices, matrix_from_quaternion(-quaternions))
    found = quaternion_from_matrix(matrices)
    assert (found[:, 3] >= 0).all()
    np.testing.assert_allclose(np.abs((found * quaternions).sum(1)), 1, atol=1e-12)


def test_quaternion_of_a_matrix_that_is_off_belongs_to_the_nearest_rotation() -> None:
    known = random_rotations().as_matrix()
    off = known + np.random.default_rng(0).normal(0, 1e-3, known.shape)
    found = matrix_from_quaternion(quaternion_from_matrix(off))
    left, _, right = np.linalg.svd(off)
    np.testing.assert_allclose(found, left @ right, atol=1e-5)


def test_quaternion_product_is_associative_with_identity_and_inverse() -> None:
    first, second, third = (random_rotations(seed).as_quat() for seed in range(3))
    identity = np.array([0.0, 0, 0, 1])
    left = quaternion_product(quaternion_product(third, second), first)
    np.testing.assert_allclose(left, quaternion_product(third, quaternion_product(second, first)), atol=1e-14)
    np.testing.assert_array_equal(quaternion_product(first, np.broadcast_to(identity, first.shape)), first)
    np.testing.assert_allclose(
        quaternion_product(first, quaternion_inverse(first)), np.broadcast_to(identity, first.shape), atol=1e-14
    )
    np.testing.assert_allclose(  # the matrices' product is the same
        matrix_from_quaternion(quaternion_product(second, first)),
        matrix_from_quaternion(second) @ matrix_from_quaternion(first),
        atol=1e-14,
    )


def test_exponential_and_logarithm_undo_each_other() -> None:
    vectors = rotation_vectors()
    np.testing.assert_allclose(rotation_log(rotation_exp(vectors)), vectors, atol=1e-9)
    matrices = random_rotations().as_matrix()
    np.testing.assert_allclose(rotation_exp(rotation_log(matrices)), matrices, atol=1e-12)
    np.testing.assert_allclose(rotation_exp(vectors) @ rotation_exp(-vectors), np.eye(3) + 0 * matrices, atol=1e-14)
    np.testing.assert_allclose(  # about one axis, angles add
        rotation_exp(0.3 * vectors) @ rotation_exp(0.6 * vectors), rotation_exp(0.9 * vectors), atol=1e-14
    )
    half = rotation_exp(np.array([0.0, math.pi, 0]))
    assert np.linalg.norm(rotation_log(half)) == pytest.approx(math.pi)


def test_kernel_of_the_exponential_agrees_with_the_arrays() -> None:
    for vector in np.concatenate([rotation_vectors(), 3 * rotation_vectors()]):
        found = np.empty((3, 3))
        rotation_exp_into(*vector, found)
        np.testing.assert_allclose(found, rotation_exp(vector), atol=1e-8)


def test_rotation_vector_between_directions_is_the_shortest() -> None:
    directions = np.random.default_rng(0).normal(size=(COUNT, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    first = directions[0]
    directions[1] = -first
    vectors = rotation_vector_between(first, directions)
    np.testing.assert_allclose(rotation_exp(vectors) @ first, directions, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.arccos((directions @ first).clip(-1, 1)), atol=1e-7)


def test_angle_is_symmetric_invariant_and_obeys_the_triangle_inequality() -> None:
    a, b, c = (random_rotations(seed).as_matrix() for seed in range(3))
    np.testing.assert_array_equal(angles_between(a, b), angles_between(b, a))
    np.testing.assert_allclose(angles_between(c @ a, c @ b), angles_between(a, b), atol=1e-7)
    assert (angles_between(a, c) <= angles_between(a, b) + angles_between(b, c) + 1e-9).all()
    np.testing.assert_array_equal(angles_between(a, a), 0)
    near = rotation_exp(np.array([0.0, 1e-9, 0]))
    assert angles_between(np.eye(3), near) == pytest.approx(1e-9)


def test_half_turn_made_twice_is_the_identity_and_keeps_its_axis() -> None:
    axes = np.random.default_rng(0).normal(size=(COUNT, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = half_turn(axes)
    np.testing.assert_allclose(turns @ turns, np.eye(3) + 0 * turns, atol=1e-14)
    np.testing.assert_allclose((turns @ axes[..., None])[..., 0], axes, atol=1e-14)
    np.testing.assert_allclose(turns, rotation_exp(math.pi * axes), atol=1e-14)


def test_the_cubes_rotations_are_the_group_of_24() -> None:
    rotations = cube_rotations()
    assert rotations.shape == (24, 3, 3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    members = {tuple(rotation.ravel()) for rotation in rotations}
    assert len(members) == 24
    assert {tuple((a @ b).ravel() + 0.0) for a, b in itertools.product(rotations, rotations)} == members
    assert {tuple(rotation.T.ravel()) for rotation in rotations} == members
    assert {tuple(np.round(r).ravel() + 0.0) for r in Rotation.create_group("O").as_matrix()} == members


def test_six_numbers_and_rotations_undo_each_other() -> None:
    known = torch.from_numpy(random_rotations().as_matrix())
    torch.testing.assert_close(rotation_from_6d(rotation_to_6d(known)), known, atol=1e-12, rtol=0)
    stretched = rotation_to_6d(known) * torch.tensor([2.0, 2, 2, 0.5, 0.5, 0.5])  # lengths do not count
    torch.testing.assert_close(rotation_from_6d(stretched), known, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: rotation_exp(v[..., :3]),
        lambda v: rotation_exp(1e-5 * v[..., :3]),
        lambda v: matrix_from_quaternion(v[..., :4]),
        lambda v: quaternion_product(v[..., :4], v[..., 2:6]),
        lambda v: quaternion_inverse(v[..., :4]),
        rotation_from_6d,
        lambda v: half_turn(v[..., :3]),
        lambda v: axis_rotation(2, v[..., 0]),
        lambda v: angles_between(rotation_exp(v[..., :3]), rotation_exp(v[..., 3:])),
        lambda v: best_rotations(rotation_from_6d(v) + 0.1 * v[..., :3, None] * v[..., None, 3:]),
    ],
    ids=["exp", "exp_small", "matrix", "product", "inverse", "six", "half_turn", "axis", "angle", "best"],
)
def test_gradients(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (values,))


def test_exponential_has_a_gradient_at_the_identity() -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(rotation_exp, zero)
    generators = np.cross(np.eye(3)[:, None], np.eye(3)[None])  # e_k x e_j: column j of the k-th generator
    np.testing.assert_allclose(jacobian.numpy(), generators.transpose(2, 1, 0), atol=1e-15)


def test_tensors_and_arrays_give_the_same() -> None:
    vectors, quaternions = rotation_vectors(), random_rotations().as_quat()
    for function, values in ((rotation_exp, vectors), (matrix_from_quaternion, quaternions), (half_turn, vectors)):
        np.testing.assert_allclose(function(torch.from_numpy(values)).numpy(), function(values), atol=1e-15)
    assert rotation_exp(torch.zeros(0, 3)).shape == (0, 3, 3)
    assert rotation_exp(torch.zeros(2, 5, 3)).dtype == torch.float32


def correlations() -> np.ndarray:
    """Random ones, reflections, planes (rank 2), lines (rank 1)."""
    draw = np.random.default_rng(0)
    cases = [draw.normal(size=(200, 3, 3))]
    mirrors = np.linalg.qr(draw.normal(size=(100, 3, 3)))[0]
    cases.append(mirrors * -np.sign(np.linalg.det(mirrors))[:, None, None])
    plane = draw.normal(size=(50, 3, 3))
    plane[:, :, 2] = 0
    cases.append(plane)
    cases.append(np.einsum("ni,nj->nij", draw.normal(size=(50, 3)), draw.normal(size=(50, 3))))
    return np.concatenate(cases)


def kernel(matrices: np.ndarray) -> np.ndarray:
    rotations = np.empty_like(matrices)
    for matrix, rotation in zip(matrices, rotations, strict=True):
        best_rotation_into(matrix, rotation)
    return rotations


def by_torch(matrices: np.ndarray) -> np.ndarray:
    return best_rotations(torch.from_numpy(matrices), by_squaring=False).numpy()


def as_on_cuda(matrices: np.ndarray) -> np.ndarray:
    return best_rotations(torch.from_numpy(matrices), by_squaring=True).numpy()


every_way = pytest.mark.parametrize("best", [kernel, by_torch, as_on_cuda])


@every_way
def test_determinant_is_one_also_where_the_data_are_a_reflection(best) -> None:
    rotations = best(correlations())
    assert np.allclose(np.linalg.det(rotations), 1, atol=1e-9)
    assert np.allclose(rotations @ rotations.swapaxes(1, 2), np.eye(3), atol=1e-9)


@every_way
def test_no_rotation_aligns_better_than_the_singular_vectors_with_a_corrected_sign(best) -> None:
    matrices = correlations()
    u, s, vt = np.linalg.svd(matrices)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    most = s[:, 0] + s[:, 1] + np.where(s[:, 2] > 1e-12, sign, 1.0) * s[:, 2]
    assert np.allclose(np.einsum("nij,nji->n", best(matrices), matrices), most, atol=1e-8)


@every_way
def test_the_same_rotation_of_any_scale(best) -> None:
    matrices = correlations()[:200]  # general ones: the best rotation is one alone
    for scale in (1e-8, 1.0, 1e8):
        assert np.allclose(best(scale * matrices), kernel(matrices), atol=1e-7)


@every_way
def test_known_rotation_is_found(best) -> None:
    draw = np.random.default_rng(1)
    q = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    rotation = q * np.sign(np.linalg.det(q))
    rest = draw.normal(size=(10, 3))
    found = best((rest.T @ (rest @ rotation.T))[None])[0]
    assert np.allclose(found, rotation, atol=1e-9)


@every_way
def test_silence_gives_the_identity(best) -> None:
    assert np.array_equal(best(np.zeros((1, 3, 3)))[0], np.eye(3))


def test_six_numbers_make_a_rotation() -> None:
    rotations = rotation_from_6d(torch.randn(100, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert torch.allclose(rotations @ rotations.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(100, 3, 3))
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(100, dtype=torch.float64))
    assert torch.equal(rotation_from_6d(torch.tensor([1.0, 0, 0, 0, 1, 0])), torch.eye(3))


quaternions = st.integers(0, 2**31).map(lambda seed: Rotation.random(rng=np.random.default_rng(seed)).as_quat())


@settings(max_examples=50, deadline=None)
@given(first=quaternions, second=quaternions, nearness=st.sampled_from([1.0, 1e-3, 1e-8, 0.0]), opposite=st.booleans())
def test_slerp_turns_evenly_along_the_shorter_way(
    first: np.ndarray, second: np.ndarray, nearness: float, opposite: bool
) -> None:
    way = (Rotation.from_quat(second) * Rotation.from_quat(first).inv()).as_rotvec() * nearness
    second = (Rotation.from_rotvec(way) * Rotation.from_quat(first)).as_quat()
    share = np.linspace(0, 1, 9)
    rows = (np.tile(first, (9, 1)), np.tile(-second if opposite else second, (9, 1)))
    between = slerp(*rows, share[:, None])
    np.testing.assert_allclose(np.linalg.norm(between, axis=1), 1, atol=1e-12)
    turned = Rotation.from_quat(between)
    oracle = Slerp([0, 1], Rotation.from_quat(np.stack([first, second])))(share)
    assert (turned * oracle.inv()).magnitude().max() < 1e-6
    steps = (turned[1:] * turned[:-1].inv()).magnitude()
    np.testing.assert_allclose(steps, np.linalg.norm(way) / 8, atol=1e-6)


def test_slerp_over_exactly_half_a_turn_is_finite() -> None:
    identity, half = np.array([[0.0, 0.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 0.0, 0.0]])
    (middle,) = slerp(identity, half, np.array([[0.5]]))
    assert Rotation.from_quat(middle).magnitude() == pytest.approx(np.pi / 2)
