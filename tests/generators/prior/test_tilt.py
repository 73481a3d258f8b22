import math

import pytest
import torch

from generators.prior.tilt import BINS, EDGES, END, fit_ramps, median_ramps, planes, tilt_loss


def silhouettes() -> torch.Tensor:
    line = (torch.arange(64) + 0.5) / 32 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    ellipse = ((x - 0.1) / 0.8) ** 2 + ((y + 0.2) / 0.3) ** 2 < 1
    slanted = ((x + y) / 0.3) ** 2 + ((x - y) / 1.2) ** 2 < 1
    return torch.stack([ellipse, slanted]).float()[:, None]


def test_fitted_ramps_of_planes_are_their_ramps() -> None:
    alpha = silhouettes()
    ramps = torch.tensor([[0.3, -0.1], [-0.25, 0.4]])
    assert torch.allclose(fit_ramps(planes(ramps, alpha) + 0.7, alpha), ramps, atol=1e-4)


def test_ramps_are_standard_deviations_of_depth() -> None:
    alpha = silhouettes()
    depth = planes(torch.tensor([[0.3, 0.0], [0.0, 0.2]]), alpha)
    for number, expected in enumerate((0.3, 0.2)):
        assert float(depth[number][alpha[number] > 0].std()) == pytest.approx(expected, rel=0.01)


def test_median_of_bins() -> None:
    assert torch.allclose(median_ramps(torch.full((3, 2, BINS), 1 / BINS)), torch.zeros(3, 2), atol=1e-6)
    certain = torch.eye(BINS)
    borders = torch.tensor([-END, *EDGES, END])
    assert torch.allclose(median_ramps(certain), (borders[1:] + borders[:-1]) / 2, atol=1e-6)
    mirrored = torch.rand(5, BINS, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert torch.allclose(median_ramps(mirrored.flip(-1)), -median_ramps(mirrored), atol=1e-5)


def test_loss_is_least_near_the_truth() -> None:
    logits = torch.zeros(2, BINS, requires_grad=True)
    truth = torch.tensor([[0.21, -0.04]])
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        tilt_loss(logits[None], truth).sum().backward()
        optimizer.step()
    assert torch.allclose(median_ramps(logits.detach().softmax(-1)), truth[0], atol=0.02)
    uniform = float(tilt_loss(torch.zeros(1, 2, BINS), truth))
    assert uniform == pytest.approx(2 * math.log(BINS), rel=1e-5)
    assert float(tilt_loss(logits[None].detach(), truth)) < uniform
