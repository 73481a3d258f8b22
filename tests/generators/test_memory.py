"""One network at a time on the device."""

import torch
from torch import nn

from generators._memory import OneAtATime


def test_one_network_at_a_time_is_on_the_device():
    where = {}

    class Tracked(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.inner = name, nn.Identity()

        def to(self, device):
            where[self.name] = str(device)
            return self

        def forward(self, x):
            return self.inner(x)

    networks = {name: Tracked(name) for name in ("encoder", "denoiser", "decoder")}
    mover = OneAtATime(networks, torch.device("meta"))
    assert set(where.values()) == {"cpu"}
    for name, network in networks.items():
        assert network(torch.zeros(1, 2)).device.type == "meta"  # what it is called with comes along
        assert where == {other: "meta" if other == name else "cpu" for other in networks}
    networks["encoder"].inner(torch.zeros(1, 2))  # as an owner's decode() does, past forward
    assert where == {"encoder": "meta", "denoiser": "cpu", "decoder": "cpu"}
    mover.release()
    assert set(where.values()) == {"cpu"}
