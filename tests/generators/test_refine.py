"""Refinement on a flow with a known optimum."""

import itertools

import pytest
import torch

from generators import _refine
from v2m4.config import FAST

GUIDANCE = 3.0


class StraightFlow:
    """Noise and a clean sample on a straight line; the clean sample is guided between two embeddings.

    clean = (1 + w) condition - w negative, velocity = (sample - clean) / t: exact however many steps there are.
    """

    def __init__(self, steps: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        self.condition = torch.randn(4, 3, generator=generator)
        self.start = torch.randn(4, 3, generator=generator)
        edges = torch.linspace(1, 0, steps + 1).tolist()
        self.times = list(itertools.pairwise(edges))
        self.called_times = []

    def noise(self):
        return self.start.clone()

    def step(self, sample, time, next_time, negative):
        self.called_times.append(time)
        clean = (1 + GUIDANCE) * self.condition - GUIDANCE * negative
        return sample - (time - next_time) * (sample - clean) / time, clean


@pytest.fixture
def flow():
    return StraightFlow()


@pytest.fixture
def optimum(flow):
    """Target of the clean sample, and the embedding that reaches it."""
    target = flow.condition + 0.3
    return target, ((1 + GUIDANCE) * flow.condition - target) / GUIDANCE


def distance(target):
    return lambda clean: (clean - target).square().mean()


def test_refinement_reaches_the_known_optimum(flow, optimum):
    target, best = optimum
    options = _refine.Refinement(rate=0.02, iterations=60, prior_weight=0.0)
    refined = _refine.refine(flow, flow.condition.clone(), distance(target), options)
    assert torch.allclose(refined.negative, best, atol=5e-3)
    assert torch.allclose(refined.sample, target, atol=2e-2)
    losses = [loss for step in refined.losses for loss in step]
    assert losses[-1] < 1e-3 * losses[0]


def test_prior_keeps_the_embedding_near_its_initial_value(flow, optimum):
    target, best = optimum
    start = flow.condition.clone()
    distances = []
    for prior_weight in (0.0, 1.0, 1e3):
        options = _refine.Refinement(rate=0.02, iterations=60, prior_weight=prior_weight)
        distances.append((_refine.refine(flow, start, distance(target), options).negative - start).norm().item())
    assert distances[0] == pytest.approx((best - start).norm().item(), rel=0.05)
    assert distances[0] > distances[1] > distances[2] and distances[2] < 0.02 * distances[0]
    # The quadratic's optimum: w^2 n^2 against prior_weight: n = w^2 / (w^2 + prior_weight) of the distance.
    assert distances[1] == pytest.approx(GUIDANCE**2 / (GUIDANCE**2 + 1) * distances[0], rel=0.05)


def test_early_steps_are_not_optimized_and_later_ones_have_more_iterations(flow, optimum):
    refined = _refine.refine(flow, flow.condition, distance(optimum[0]))
    early = [index for index, (time, _) in enumerate(flow.times) if time > 0.6]
    counts = [flow.called_times.count(time) - 1 for time, _ in flow.times]
    assert len(early) == 5 and counts[:5] == [0] * 5
    assert counts[5:] == [5 + index // 5 for index in range(5, 12)] == [len(step) for step in refined.losses]


def test_zero_gradient_changes_nothing(flow):
    start = flow.condition.clone()
    refined = _refine.refine(flow, start, lambda clean: 0 * clean.sum())
    assert torch.equal(start, flow.condition) and torch.equal(refined.negative, start)
    assert torch.allclose(refined.sample, flow.condition, atol=1e-5)
    assert not refined.sample.requires_grad and not refined.negative.requires_grad


def test_appearance_loss_is_masked_and_includes_the_learned_terms():
    torch.manual_seed(0)
    picture, mask = torch.rand(8, 8, 3), (torch.rand(8, 8, 1) > 0.5).float()
    picture = picture * mask
    outside = picture + (1 - mask) * torch.rand(8, 8, 3)
    assert _refine.appearance_loss(outside, picture, mask) == 0
    loss = _refine.appearance_loss(picture + 0.1 * mask, picture, mask)
    assert loss == pytest.approx(0.01 * mask.mean().item(), rel=1e-4)
    total = _refine.appearance_loss(picture, picture, mask, [lambda a, b: torch.tensor(2.0), lambda a, b: a.sum() * 0])
    assert total == 2


def test_trellis_is_an_appearance_refiner_and_inflate_is_not():
    from generators.inflate import Inflate
    from generators.trellis import Trellis

    assert isinstance(Trellis.__new__(Trellis), _refine.AppearanceRefiner)
    assert not isinstance(Inflate(FAST), _refine.AppearanceRefiner)
