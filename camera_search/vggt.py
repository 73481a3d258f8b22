"""VGGT: a transformer that predicts point maps of several images in the first one's camera space.

Owner: facebookresearch/vggt, source only, under its own licence; weights facebook/VGGT-1B, not for commercial use. Its
images are 518 pixels wide, in [0, 1]; it normalises them itself. As in V2M4, its predicted world points are used, not
those of its depth maps; cameras, depths and tracks are not computed.
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
    """The owner's network behind ``PointMapNetwork``."""

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

    def predict(self, images: Tensor) -> PointMaps:
        """Point maps of N images, see ``PointMapNetwork``.

        Raises:
            ValueError: the images' size is not the network's.
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"VGGT: expected pictures (N, 3, {SIZE}, {SIZE}), got {tuple(images.shape)}")
        with self.network.at_work() as network, torch.no_grad(), self._precision():
            prediction = network(images.to(self.network.device))
        return PointMaps(prediction["world_points"][0].float().cpu(), prediction["world_points_conf"][0].float().cpu())

    def _precision(self) -> torch.autocast:
        """Autocast context: on a GPU bfloat16, or float16 where that is missing, as the owner recommends."""
        device = self.network.device
        on_gpu = device.type == "cuda"
        ampere = on_gpu and torch.cuda.get_device_capability(device)[0] >= 8
        half = torch.float16 if on_gpu and not ampere else torch.bfloat16
        return torch.autocast(device.type, dtype=half, enabled=on_gpu)
