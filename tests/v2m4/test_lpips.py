"""LPIPS without its package: what is missing is told, the trunk's layers go where the owner keeps them."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from v2m4 import lpips
from v2m4.config import FAST
from v2m4.weights import Unavailable


class LPIPS(nn.Module):
    """lpips 0.1.4: the trunk in five slices whose layers keep their numbers in VGG; here one layer each."""

    def __init__(self, net="alex", version="0.1", spatial=False, pnet_rand=False, verbose=True):
        super().__init__()
        assert (net, version, spatial, pnet_rand, verbose) == ("vgg", "0.1", True, True, False)
        self.net = nn.Module()
        for index in range(5):
            setattr(self.net, f"slice{index + 1}", nn.ModuleDict({str(2 * index): nn.Conv2d(3, 1, 1)}))

    def forward(self, in0, in1):
        return sum(layer(in0 - in1) for layer in self.modules() if isinstance(layer, nn.Conv2d)).square()


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    package = ModuleType("lpips")
    package.LPIPS = LPIPS
    monkeypatch.setitem(sys.modules, "lpips", package)
    monkeypatch.setattr("v2m4.weights.installed", lambda module: True)
    (tmp_path / "weights").mkdir()
    return replace(FAST, device="cpu", weights_dir=tmp_path / "weights")


def put(file):
    """A trunk of five layers, and one of the classifier's that LPIPS does not ask for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {f"features.{2 * index}.weight": torch.full((1, 3, 1, 1), index + 1.0) for index in range(5)}
    state |= {f"features.{2 * index}.bias": torch.zeros(1) for index in range(5)}
    torch.save(state | {"classifier.0.weight": torch.zeros(2)}, file)


@pytest.mark.parametrize("place", ["weights", "torch/hub/checkpoints"])
def test_the_trunk_is_found_and_put_where_the_owner_keeps_it(config, tmp_path, place):
    with pytest.raises(Unavailable, match=rf"put https://.*{lpips.VGG_FILE} into .*weights, or add --download"):
        lpips.check(config)
    put(tmp_path / place / lpips.VGG_FILE)
    lpips.check(config)
    network = lpips.load(config, torch.device("cpu"))
    assert [float(part.weight.mean()) for part in network.modules() if isinstance(part, nn.Conv2d)] == [1, 2, 3, 4, 5]
    assert not any(part.requires_grad for part in network.parameters())
    black, white = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert lpips.distance(network, black, white).tolist() == [(2 * 3 * 15) ** 2] * 2  # 2: pictures go to [-1, 1]
    before = lpips.version(config)
    (tmp_path / place / lpips.VGG_FILE).write_bytes(b"torn")
    assert lpips.version(config) != before
    with pytest.raises(Unavailable, match="LPIPS cannot be loaded from"):
        lpips.load(config, torch.device("cpu"))


def test_the_trunk_is_fetched_when_allowed(config, monkeypatch):
    asked = []

    def fetch(url, to, progress):
        asked.append(url)
        put(config.weights_dir / lpips.VGG_FILE)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    lpips.load(replace(config, download=True), torch.device("cpu"))
    assert asked == [lpips.VGG_SOURCE]
