"""VGGT: a transformer that sees several pictures at once and tells where their pixels lie in the first one's space.

Owner: facebookresearch/vggt, source only, under its own licence; weights facebook/VGGT-1B, not for commercial use. Its
pictures are 518 pixels wide, in [0, 1]; it normalises them itself. As in V2M4, its predicted world points are taken,
not those of its depth maps; cameras, depths and tracks are not computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camera_search.pointmap import PointMaps
from v2m4.config import Config
from v2m4.owners import OwnersNetwork
from v2m4.preflight import camera_search as needs

SIZE = 518


class VggtPointMap:
    """The owner's network behind ``PointMap``."""

    size = SIZE

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """

        def make(folder: Path) -> Any:
            from vggt.models.vggt import VGGT

            network = VGGT.from_pretrained(str(folder)).eval()
            for unused in ("camera_head", "depth_head", "track_head"):
                setattr(network, unused, None)
            return network

        self.network = OwnersNetwork.load("VGGT", needs.VGGT, config, make)

    def predict(self, pictures: Tensor) -> PointMaps:
        """See ``PointMap``.

        Raises:
            ValueError: the pictures' size is not the network's.
        """
        if pictures.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"VGGT: expected pictures (N, 3, {SIZE}, {SIZE}), got {tuple(pictures.shape)}")
        with self.network.at_work() as network, torch.no_grad(), self._precision():
            found = network(pictures.to(self.network.device))
        return PointMaps(found["world_points"][0].float().cpu(), found["world_points_conf"][0].float().cpu())

    def _precision(self) -> torch.autocast:
        """Half precision on a GPU, bfloat16 where it has it, as the owner recommends."""
        device = self.network.device
        on_gpu = device.type == "cuda"
        ampere = on_gpu and torch.cuda.get_device_capability(device)[0] >= 8
        half = torch.float16 if on_gpu and not ampere else torch.bfloat16
        return torch.autocast(device.type, dtype=half, enabled=on_gpu)
