import numpy as np
import pytest
import torch

from v2m4.rotation import best_rotation_into, best_rotations, rotation_from_6d


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
