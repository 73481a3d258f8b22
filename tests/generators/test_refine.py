"""The refinement on a flow whose optimum is known."""

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
        self.called = []

    def noise(self):
        return self.start.clone()

    def step(self, sample, time, earlier, negative):
        self.called.append(time)
        clean = (1 + GUIDANCE) * self.condition - GUIDANCE * negative
        return sample - (time - earlier) * (sample - clean) / time, clean


@pytest.fixture
def flow():
    return StraightFlow()


@pytest.fixture
def goal(flow):
    """What the renders should look like, and the embedding that makes them so."""
    wanted = flow.condition + 0.3
    return wanted, ((1 + GUIDANCE) * flow.condition - wanted) / GUIDANCE


def distance(wanted):
    return lambda clean: (clean - wanted).square().mean()


def test_the_known_optimum_is_found_and_the_loss_falls(flow, goal):
    wanted, best = goal
    options = _refine.Refinement(rate=0.02, iterations=60, pull=0.0)
    refined = _refine.refine(flow, flow.condition.clone(), distance(wanted), options)
    assert torch.allclose(refined.negative, best, atol=5e-3)
    assert torch.allclose(refined.sample, wanted, atol=2e-2)
    told = [loss for step in refined.losses for loss in step]
    assert told[-1] < 1e-3 * told[0]


def test_the_pull_keeps_the_embedding_near_its_start(flow, goal):
    wanted, best = goal
    start = flow.condition.clone()
    moved = []
    for pull in (0.0, 1.0, 1e3):
        options = _refine.Refinement(rate=0.02, iterations=60, pull=pull)
        moved.append((_refine.refine(flow, start, distance(wanted), options).negative - start).norm().item())
    assert moved[0] == pytest.approx((best - start).norm().item(), rel=0.05)
    assert moved[0] > moved[1] > moved[2] and moved[2] < 0.02 * moved[0]
    # The quadratic's optimum: w^2 n^2 against pull: n = w^2 / (w^2 + pull) of the way.
    assert moved[1] == pytest.approx(GUIDANCE**2 / (GUIDANCE**2 + 1) * moved[0], rel=0.05)


def test_steps_before_the_shape_stands_are_left_alone_and_later_ones_take_more_iterations(flow, goal):
    refined = _refine.refine(flow, flow.condition, distance(goal[0]))
    early = [index for index, (time, _) in enumerate(flow.times) if time > 0.6]
    counts = [flow.called.count(time) - 1 for time, _ in flow.times]
    assert len(early) == 5 and counts[:5] == [0] * 5
    assert counts[5:] == [5 + index // 5 for index in range(5, 12)] == [len(step) for step in refined.losses]


def test_nothing_to_gain_changes_nothing_and_the_start_is_not_touched(flow):
    start = flow.condition.clone()
    refined = _refine.refine(flow, start, lambda clean: 0 * clean.sum())
    assert torch.equal(start, flow.condition) and torch.equal(refined.negative, start)
    assert torch.allclose(refined.sample, flow.condition, atol=1e-5)
    assert not refined.sample.requires_grad and not refined.negative.requires_grad


def test_the_loss_sees_the_object_alone_and_adds_the_learned_terms():
    torch.manual_seed(0)
    picture, mask = torch.rand(8, 8, 3), (torch.rand(8, 8, 1) > 0.5).float()
    picture = picture * mask
    outside = picture + (1 - mask) * torch.rand(8, 8, 3)
    assert _refine.appearance_loss(outside, picture, mask) == 0
    off = _refine.appearance_loss(picture + 0.1 * mask, picture, mask)
    assert off == pytest.approx(0.01 * mask.mean().item(), rel=1e-4)
    both = _refine.appearance_loss(picture, picture, mask, [lambda a, b: torch.tensor(2.0), lambda a, b: a.sum() * 0])
    assert both == 2


def test_which_generators_can_be_refined():
    from generators.inflate import Inflate
    from generators.trellis import Trellis

    assert isinstance(Trellis.__new__(Trellis), _refine.Refining)
    assert not isinstance(Inflate(FAST), _refine.Refining)
