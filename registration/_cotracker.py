"""CoTracker3: a transformer that follows many points of a video at once, also behind what hides them.

Owner: facebookresearch/co-tracker at 82e02e8, source only; weights facebook/cotracker3 (``scaled_offline.pth``); both
CC BY-NC 4.0, not for commercial use. Its ``CoTrackerPredictor`` takes a video (B, T, 3, H, W) from 0 to 255, scales it
to its own 384 x 512, and queries (B, N, 3) as (frame, x, y) with the first pixel's *centre* at 0; it returns tracks
(B, T, N, 2) and visibilities (B, T, N), bool. V2M4 hands it pictures from 0 to 1, which the network sees as black;
here they are what the network expects. Pictures stand on black, as in V2M4.
"""

from __future__ import annotations

import numpy as np
import torch

from registration.flow import Tracks
from v2m4 import weights
from v2m4.config import Config
from v2m4.weights import Package, Unavailable, Weights

INSTALL = "pip install git+https://github.com/facebookresearch/co-tracker@82e02e8"
PACKAGES = (Package("cotracker", INSTALL),)
FETCHING = Package("huggingface_hub", "pip install huggingface_hub")
CHECKPOINT = "scaled_offline.pth"
WEIGHTS = Weights("facebook/cotracker3", (CHECKPOINT,), (CHECKPOINT,))
FRAMES = 60  # that the offline network's time code was trained for


def check(config: Config) -> None:
    """Look whether package and weights are there, in no time.

    Raises:
        Unavailable: says what to install, or which file to put where.
    """
    weights.require_packages(PACKAGES)
    weights.require_weights(WEIGHTS, config)
    if weights.find_weights(WEIGHTS, config) is None:  # then --download is given
        weights.require_packages([FETCHING])


def version(config: Config) -> str:
    """What tells one copy of the weights from another."""
    return weights.fingerprint(WEIGHTS.repository, weights.get_weights(WEIGHTS, config), WEIGHTS.files)


class CoTracker:
    """The owner's offline network behind ``Tracker``."""

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """
        check(config)
        self.seed, self.low_memory = config.seed, config.low_vram
        self.device = weights.device_of(config)
        file = weights.get_weights(WEIGHTS, config) / CHECKPOINT
        try:
            with weights.owners_code(self.seed):
                from cotracker.predictor import CoTrackerPredictor

                self.network = CoTrackerPredictor(checkpoint=str(file), offline=True, v2=False, window_len=FRAMES)
        except Exception as error:  # import, pickle, key and shape errors
            line = " ".join(str(error).split())[:200]
            raise Unavailable(f"CoTracker3 cannot be loaded from {file}: {type(error).__name__}: {line}") from error
        self.network.requires_grad_(False)

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """See ``Tracker``; confidences are 0 or 1."""
        frames, height, width = video.shape[:3]
        size = np.array([width, height])
        if len(points) == 0:
            return Tracks(np.zeros((frames, 0, 2)), np.zeros((frames, 0)))
        colour = video[..., :3].astype(np.float32) * (video[..., 3:].astype(np.float32) / 255)
        pictures = torch.from_numpy(colour).permute(0, 3, 1, 2)[None]
        queries = torch.from_numpy(np.concatenate([starts[:, None], points * size - 0.5], 1).astype(np.float32))[None]
        self.network.to(self.device)
        with weights.owners_code(self.seed), torch.no_grad():
            found, visible = self.network(pictures.to(self.device), queries=queries.to(self.device))
        if self.low_memory:
            self.network.to("cpu")
        positions = (found[0].double().cpu().numpy() + 0.5) / size
        return Tracks(positions, visible[0].double().cpu().numpy())
