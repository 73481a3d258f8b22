"""DUSt3R: a transformer that predicts point maps of two images in the first one's camera space.

Owner: naver/dust3r (4c24a6e) with naver/croco (d7de070), source only; code and weights CC BY-NC-SA 4.0, weights
naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt. Its images have a longer side of 512 pixels, in [-1, 1]. As in V2M4, all
pairs are predicted in both orders and aligned in one space by the owner's global alignment, 300 steps.
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
    """The owner's network and global alignment behind ``PointMapNetwork``."""

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

    def predict(self, images: Tensor) -> PointMaps:
        """Point maps of N images, see ``PointMapNetwork``; sides must be multiples of 16.

        Raises:
            ValueError: the images are not RGB, or their sides are no multiples of 16.
        """
        height, width = images.shape[2:]
        if images.shape[1] != 3 or height % 16 or width % 16:
            raise ValueError(f"DUSt3R: expected pictures (N, 3, 16 h, 16 w), got {tuple(images.shape)}")
        network_inputs = [
            {
                "img": image[None] * 2 - 1,
                "true_shape": np.array([[height, width]], np.int32),
                "idx": index,
                "instance": str(index),
            }
            for index, image in enumerate(images)
        ]
        device, seed = self.network.device, self.network.seed
        with self.network.at_work() as network:
            from dust3r.image_pairs import make_pairs
            from dust3r.inference import inference

            pairs = make_pairs(network_inputs, scene_graph="complete", prefilter=None, symmetrize=True)
            predicted = inference(pairs, network, device, batch_size=8 if device.type == "cuda" else 1, verbose=False)
        with owners_code(seed), torch.enable_grad():
            from dust3r.cloud_opt import GlobalAlignerMode, global_aligner

            mode = GlobalAlignerMode.PointCloudOptimizer
            scene = global_aligner(predicted, device=device, mode=mode, verbose=False)
            scene.compute_global_alignment(init="mst", niter=STEPS, schedule="cosine", lr=RATE)
            points = torch.stack(list(scene.get_pts3d())).detach().float().cpu()
            confidence = torch.stack(list(scene.im_conf)).detach().float().cpu()
        return PointMaps(points, confidence)
