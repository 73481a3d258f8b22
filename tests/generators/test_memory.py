"""Sequential offloading of networks."""

import torch
from torch import nn

from generators._memory import SequentialOffload


def test_one_network_at_a_time_is_on_the_device():
    device_of = {}

    class Tracked(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.inner = name, nn.Identity()

        def to(self, device):
            device_of[self.name] = str(device)
            return self

        def forward(self, x):
            return self.inner(x)

    networks = {name: Tracked(name) for name in ("encoder", "denoiser", "decoder")}
    mover = SequentialOffload(networks, torch.device("meta"))
    assert set(device_of.values()) == {"cpu"}
    for name, network in networks.items():
        assert network(torch.zeros(1, 2)).device.type == "meta"  # its inputs are moved, too
        assert device_of == {other: "meta" if other == name else "cpu" for other in networks}
    networks["encoder"].inner(torch.zeros(1, 2))  # as an owner's decode() does, past forward
    assert device_of == {"encoder": "meta", "denoiser": "cpu", "decoder": "cpu"}
    mover.release()
    assert set(device_of.values()) == {"cpu"}
