import pytest
import torch

from v2m4.muon import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_singular_values_come_close_to_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(shape[1], shape[1], generator=generator, dtype=torch.float64))
    count = min(shape)
    values = torch.linspace(1, 3, count, dtype=torch.float64)
    matrix = left[:, :count] * values @ right[:count]
    found = orthogonalized(matrix)
    rotated = left.T @ found @ right.T
    diagonal = rotated[:count, :count].diagonal()
    assert float(diagonal.min()) > 0.6
    assert float(diagonal.max()) < 1.3
    assert float((rotated[:count, :count] - torch.diag(diagonal)).abs().max()) < 1e-6


def test_least_squares_is_solved() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, weight = torch.randn(64, 12, generator=generator), torch.randn(6, 12, generator=generator)
    parameter = torch.nn.Parameter(torch.zeros(6, 12))
    optimizer = Muon([parameter], 0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        ((inputs @ (parameter - weight).T) ** 2).mean().backward()
        optimizer.step()
    assert torch.allclose(parameter.detach(), weight, atol=0.05)
