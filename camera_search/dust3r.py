"""DUSt3R: a transformer that sees two pictures and tells where the pixels of both lie in the first one's space.

Owner: naver/dust3r (4c24a6e) with naver/croco (d7de070), source only; code and weights CC BY-NC-SA 4.0, weights
naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt. Its pictures have a longer side of 512 pixels, in [-1, 1]. As in V2M4, all
pairs are predicted both ways and brought into one space by the owner's global alignment, 300 steps.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camera_search.pointmap import PointMaps
from v2m4 import weights
from v2m4.config import Config
from v2m4.weights import Package, Unavailable, Weights

SIZE = 512
STEPS, RATE = 300, 0.01  # of the global alignment, V2M4's
CLONE = (
    "git clone --recursive https://github.com/naver/dust3r && git -C dust3r checkout --recurse-submodules 4c24a6e && "
    "pip install roma einops huggingface_hub safetensors torchvision, then put the clone on PYTHONPATH"
)
PACKAGES = tuple(
    Package(module, CLONE) for module in ("dust3r", "roma", "einops", "huggingface_hub", "safetensors", "torchvision")
)
FILES = ("config.json", "model.safetensors")
WEIGHTS = Weights("naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt", FILES, FILES)


def check(config: Config) -> None:
    """Look whether package and weights are there, in no time.

    Raises:
        Unavailable: says what to install, or which files to put where.
    """
    weights.require_packages(PACKAGES)
    found = importlib.util.find_spec("dust3r")
    places = [Path(place).parent / "croco" for place in (found.submodule_search_locations or ())] if found else []
    if not any((place / "models").is_dir() for place in places):
        where = places[0].parent if places else Path("dust3r")
        raise Unavailable(f"croco is missing beside dust3r; git -C {where} submodule update --init --recursive")
    weights.require_weights(WEIGHTS, config)


def version(config: Config) -> str:
    """What tells one copy of the weights from another."""
    return weights.fingerprint(WEIGHTS.repository, weights.get_weights(WEIGHTS, config), WEIGHTS.files)


class Dust3rPointMap:
    """The owner's network and global alignment behind ``PointMap``."""

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
                from dust3r.model import AsymmetricCroCo3DStereo

                self.network = AsymmetricCroCo3DStereo.from_pretrained(str(folder)).eval()
        except Exception as error:  # import, json, safetensors, key and shape errors
            line = " ".join(str(error).split())[:200]
            raise Unavailable(f"DUSt3R cannot be loaded from {folder}: {type(error).__name__}: {line}") from error
        self.network.requires_grad_(False)

    def predict(self, pictures: Tensor) -> PointMaps:
        """See ``PointMap``; sides must be multiples of 16.

        Raises:
            ValueError: the pictures are not colour, or not of whole patches.
        """
        height, width = pictures.shape[2:]
        if pictures.shape[1] != 3 or height % 16 or width % 16:
            raise ValueError(f"DUSt3R: expected pictures (N, 3, 16 h, 16 w), got {tuple(pictures.shape)}")
        views = [
            {
                "img": picture[None] * 2 - 1,
                "true_shape": np.array([[height, width]], np.int32),
                "idx": index,
                "instance": str(index),
            }
            for index, picture in enumerate(pictures)
        ]
        on_gpu = self.device.type == "cuda"
        self.network.to(self.device)
        with weights.owners_code(self.seed):
            from dust3r.cloud_opt import GlobalAlignerMode, global_aligner
            from dust3r.image_pairs import make_pairs
            from dust3r.inference import inference

            pairs = make_pairs(views, scene_graph="complete", prefilter=None, symmetrize=True)
            predicted = inference(pairs, self.network, self.device, batch_size=8 if on_gpu else 1, verbose=False)
            if self.low_memory:
                self.network.to("cpu")
            mode = GlobalAlignerMode.PointCloudOptimizer
            with torch.enable_grad():
                scene = global_aligner(predicted, device=self.device, mode=mode, verbose=False)
                scene.compute_global_alignment(init="mst", niter=STEPS, schedule="cosine", lr=RATE)
            points = torch.stack(list(scene.get_pts3d())).detach().float().cpu()
            confidence = torch.stack(list(scene.im_conf)).detach().float().cpu()
        return PointMaps(points, confidence)
