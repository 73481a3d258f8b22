"""DUSt3R: a transformer that sees two pictures and tells where the pixels of both lie in the first one's space.

Owner: naver/dust3r (4c24a6e) with naver/croco (d7de070), source only; code and weights CC BY-NC-SA 4.0, weights
naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt. Its pictures have a longer side of 512 pixels, in [-1, 1]. As in V2M4, all
pairs are predicted both ways and brought into one space by the owner's global alignment, 300 steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camera_search.pointmap import PointMaps
from v2m4.config import Config
from v2m4.owners import OwnersNetwork, owners_code
from v2m4.preflight import camera_search as needs

SIZE = 512
STEPS, RATE = 300, 0.01  # of the global alignment, V2M4's


class Dust3rPointMap:
    """The owner's network and global alignment behind ``PointMap``."""

    size = SIZE

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """

        def make(folder: Path) -> Any:
            from dust3r.model import AsymmetricCroCo3DStereo

            return AsymmetricCroCo3DStereo.from_pretrained(str(folder)).eval()

        self.network = OwnersNetwork.load("DUSt3R", needs.DUST3R, config, make)

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
        device, seed = self.network.device, self.network.seed
        with self.network.at_work() as network:
            from dust3r.image_pairs import make_pairs
            from dust3r.inference import inference

            pairs = make_pairs(views, scene_graph="complete", prefilter=None, symmetrize=True)
            predicted = inference(pairs, network, device, batch_size=8 if device.type == "cuda" else 1, verbose=False)
        with owners_code(seed), torch.enable_grad():
            from dust3r.cloud_opt import GlobalAlignerMode, global_aligner

            mode = GlobalAlignerMode.PointCloudOptimizer
            scene = global_aligner(predicted, device=device, mode=mode, verbose=False)
            scene.compute_global_alignment(init="mst", niter=STEPS, schedule="cosine", lr=RATE)
            points = torch.stack(list(scene.get_pts3d())).detach().float().cpu()
            confidence = torch.stack(list(scene.im_conf)).detach().float().cpu()
        return PointMaps(points, confidence)
