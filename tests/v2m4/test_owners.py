"""Owners' code kept apart, and networks that come and go."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from v2m4.config import FAST
from v2m4.owners import OwnersNetwork, loading, owners_code
from v2m4.weights import Needs, Unavailable, Weights


def test_an_owners_code_leaves_the_global_generator_and_the_output_as_they_were(capsys):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with owners_code(5):
        inside = torch.rand(3)
        print("loaded")
    assert torch.equal(torch.rand(3), expected)
    with owners_code(5):
        assert torch.equal(torch.rand(3), inside)
    assert capsys.readouterr().out == ""


class Noisy(nn.Module):
    """Prints, draws from the global generator, and says where it was called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.places = []

    def to(self, device):
        self.places.append(str(device))
        return super().to(device)

    def forward(self):
        print("working")
        return self.weight * torch.rand(1)


@pytest.mark.parametrize("low_vram", [False, True])
def test_a_network_is_on_its_device_while_it_works(low_vram, tmp_path, capsys):
    config = replace(FAST, device="cpu", low_vram=low_vram)
    (tmp_path / "net.pth").touch()
    needs = Needs(weights=(Weights("owner/name", ("net.pth",), places=(tmp_path,)),))
    held = OwnersNetwork.load("Net", needs, config, lambda file: Noisy() if file.is_file() else None, "net.pth")
    state = torch.get_rng_state()
    with held.at_work() as network:
        first = network()
    with held.at_work() as network:
        assert torch.equal(network(), first) and not first.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert held.network.places == ["cpu"] * (4 if low_vram else 2)
    assert capsys.readouterr().out == ""


def test_what_cannot_be_loaded_is_told_in_one_line_with_its_cause(tmp_path):
    told = pytest.raises(Unavailable, match=r"Net cannot be loaded from .*: OSError: two lines")
    with told as error, loading("Net", tmp_path):
        raise OSError("two\nlines")
    assert isinstance(error.value.__cause__, OSError)
    with loading("Net", tmp_path):
        inside = torch.rand(1)
    with owners_code(0):
        assert torch.equal(torch.rand(1), inside)
