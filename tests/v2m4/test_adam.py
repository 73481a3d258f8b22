import pytest
import torch

from v2m4.adam import Adam, AdamUniform


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_adam_takes_the_steps_of_torchs(betas: tuple[float, float]) -> None:
    goals = torch.randn(3, 7, generator=torch.Generator().manual_seed(2))
    results = []
    for make in (Adam, torch.optim.Adam):
        first, second = torch.zeros(7, requires_grad=True), torch.ones(3, 7, requires_grad=True)
        untouched = torch.ones(2, requires_grad=True)
        optimizer = make([first, second, untouched], lr=0.1, betas=betas)
        for step in range(30):
            if make is Adam:
                optimizer.lr = 0.1 / (1 + step)
            else:
                optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.zero_grad()
            ((first - goals[0]).square().sum() + (second * first - goals).abs().sum()).backward()
            optimizer.step()
        assert (untouched == 1).all()
        results.append(torch.cat([first.detach()[None], second.detach()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_first_step_of_adam_uniform_keeps_the_direction_of_the_gradient() -> None:
    parameter = torch.tensor([3.0, 0.0, -1.0], requires_grad=True)
    (parameter * torch.tensor([4.0, 2.0, -1.0])).sum().backward()
    before = parameter.detach().clone()
    AdamUniform([parameter], lr=0.1).step()
    assert torch.allclose(before - parameter.detach(), 0.1 * torch.tensor([1.0, 0.5, -0.25]))


def test_adam_uniform_finds_the_least_point_of_a_quadratic() -> None:
    goal = torch.tensor([1.0, -2.0, 0.5])
    curvature = torch.tensor([1.0, 4.0, 0.5])
    parameter = torch.zeros(3, requires_grad=True)
    optimizer = AdamUniform([parameter], lr=0.05, betas=(0.9, 0.99))
    for step in range(600):
        optimizer.lr = 0.05 * (1 - step / 600)
        optimizer.zero_grad()
        (curvature * (parameter - goal).square()).sum().backward()
        optimizer.step()
    assert torch.allclose(parameter.detach(), goal, atol=1e-2)
