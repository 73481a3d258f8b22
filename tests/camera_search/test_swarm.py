import pytest
import torch

from camera_search.swarm import particle_swarm


def _peaks(at):
    """A high peak at (3, -1) and a lower one at (-3, 0)."""
    high = torch.exp(-(at - torch.tensor([3.0, -1.0])).square().sum(1) / 2)
    return high + 0.8 * torch.exp(-(at - torch.tensor([-3.0, 0.0])).square().sum(1) / 2)


def _draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_finds_the_maximum_of_a_known_function():
    start = torch.tensor([[1.5, 0.0]])
    result = particle_swarm(_peaks, start, torch.ones(2), 30, 40, _draw(), patience=40)
    torch.testing.assert_close(result.positions[0], torch.tensor([3.0, -1.0]), atol=0.02, rtol=0)
    assert float(result.values[0]) == pytest.approx(1.0, abs=1e-3)


def test_islands_keep_their_own_peak():
    starts = torch.tensor([[-2.0, 0.5], [2.0, 0.0]])
    result = particle_swarm(_peaks, starts, torch.full((2,), 0.7), 40, 40, _draw(), patience=40)
    torch.testing.assert_close(result.positions, torch.tensor([[-3.0, 0.0], [3.0, -1.0]]), atol=0.05, rtol=0)


def test_never_ends_below_a_start():
    starts = torch.tensor([[3.0, -1.0], [0.0, 0.0]])
    result = particle_swarm(_peaks, starts, torch.full((2,), 5.0), 6, 5, _draw())
    assert (result.values >= _peaks(starts)).all()
    torch.testing.assert_close(result.values, _peaks(result.positions))


def test_history_rises_and_stops_early():
    result = particle_swarm(_peaks, torch.tensor([[3.0, -1.0]]), torch.ones(2), 10, 100, _draw(), patience=3)
    assert result.history == sorted(result.history)
    assert len(result.history) == 4


def test_islands_far_behind_are_left_alone():
    asked = []

    def function(at):
        asked.append(at)
        return -at.square().sum(1)

    particle_swarm(function, torch.tensor([[0.1], [50.0]]), torch.ones(1), 10, 5, _draw(), margin=10.0, patience=9)
    assert len(asked[0]) == 10
    assert all(len(batch) == 5 and batch.abs().max() < 20 for batch in asked[1:])


def test_deterministic():
    starts = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    runs = [particle_swarm(_peaks, starts, torch.ones(2), 12, 8, _draw(5)) for _ in range(2)]
    assert torch.equal(runs[0].positions, runs[1].positions)


def test_no_start_is_an_error():
    with pytest.raises(ValueError, match="no start"):
        particle_swarm(_peaks, torch.zeros(0, 2), torch.ones(2), 12, 8, _draw())


def test_particles_that_are_given_are_taken_as_they_are():
    starts = torch.tensor([[[2.0, -0.5], [-3.0, 0.0], [0.0, 0.0], [4.0, -2.0]]])
    asked = []

    def noted(at):
        asked.append(at)
        return _peaks(at)

    result = particle_swarm(noted, starts, torch.full((2,), 0.5), 99, 30, _draw(), patience=30)
    assert torch.equal(asked[0], starts[0])
    assert len(asked) == 31 and all(batch.shape == (4, 2) for batch in asked)
    assert float(result.values[0]) > 0.97
    with pytest.raises(ValueError, match="no start given"):
        particle_swarm(_peaks, torch.zeros(1, 0, 2), torch.ones(2), 9, 3, _draw())
