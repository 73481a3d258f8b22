"""VGGT: a transformer that sees several pictures at once and tells where their pixels lie in the first one's space.

Owner: facebookresearch/vggt, source only, under its own licence; weights facebook/VGGT-1B, not for commercial use. Its
pictures are 518 pixels wide, in [0, 1]; it normalises them itself. As in V2M4, its predicted world points are taken,
not those of its depth maps; cameras, depths and tracks are not computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camera_search.pointmap import PointMaps
from v2m4 import weights
from v2m4.config import Config
from v2m4.weights import Package, Unavailable, Weights

SIZE = 518
INSTALL = (
    "pip install --no-deps git+https://github.com/facebookresearch/vggt && "
    "pip install einops safetensors huggingface_hub"
)  # its own list asks for numpy<2, which it does not need
PACKAGES = tuple(Package(module, INSTALL) for module in ("vggt", "einops", "safetensors", "huggingface_hub"))
WEIGHTS = Weights("facebook/VGGT-1B", ("config.json", "model.safetensors"), ("config.json", "model.safetensors"))


def check(config: Config) -> None:
    """Look whether package and weights are there, in no time.

    Raises:
        Unavailable: says what to install, or which files to put where.
    """
    weights.require_packages(PACKAGES)
    weights.require_weights(WEIGHTS, config)


def version(config: Config) -> str:
    """What tells one copy of the weights from another."""
    return weights.fingerprint(WEIGHTS.repository, weights.get_weights(WEIGHTS, config), WEIGHTS.files)


class VggtPointMap:
    """The owner's network behind ``PointMap``."""

    size = SIZE

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """
        check(config)
        self.seed, self.low_memory = config.seed, config.low_vram
        self.device = weights.device_of(config)
        folder = weights.get_weights(WEIGHTS, config)
        try:
            with weights.owners_code(self.seed):
                from vggt.models.vggt import VGGT

                self.network = VGGT.from_pretrained(str(folder)).eval()
        except Exception as error:  # import, json, safetensors, key and shape errors
            line = " ".join(str(error).split())[:200]
            raise Unavailable(f"VGGT cannot be loaded from {folder}: {type(error).__name__}: {line}") from error
        for unused in ("camera_head", "depth_head", "track_head"):
            setattr(self.network, unused, None)
        self.network.requires_grad_(False)

    def predict(self, pictures: Tensor) -> PointMaps:
        """See ``PointMap``.

        Raises:
            ValueError: the pictures' size is not the network's.
        """
        if pictures.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"VGGT: expected pictures (N, 3, {SIZE}, {SIZE}), got {tuple(pictures.shape)}")
        self.network.to(self.device)
        with weights.owners_code(self.seed), torch.no_grad(), self._precision():
            found = self.network(pictures.to(self.device))
        if self.low_memory:
            self.network.to("cpu")
        return PointMaps(found["world_points"][0].float().cpu(), found["world_points_conf"][0].float().cpu())

    def _precision(self) -> torch.autocast:
        """Half precision on a GPU, bfloat16 where it has it, as the owner recommends."""
        on_gpu = self.device.type == "cuda"
        ampere = on_gpu and torch.cuda.get_device_capability(self.device)[0] >= 8
        half = torch.float16 if on_gpu and not ampere else torch.bfloat16
        return torch.autocast(self.device.type, dtype=half, enabled=on_gpu)
