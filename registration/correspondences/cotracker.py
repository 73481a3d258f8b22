"""CoTracker3: a transformer that follows many points of a video at once, also behind what hides them.

Owner: facebookresearch/co-tracker at 82e02e8, source only; weights facebook/cotracker3 (``scaled_offline.pth``); both
CC BY-NC 4.0, not for commercial use. Its ``CoTrackerPredictor`` takes a video (B, T, 3, H, W) from 0 to 255, scales it
to its own 384 x 512, and queries (B, N, 3) as (frame, x, y) with the first pixel's *centre* at 0; it returns tracks
(B, T, N, 2) and visibilities (B, T, N), bool. V2M4 hands it pictures from 0 to 1, which the network sees as black;
here they are what the network expects. Pictures stand on black, as in V2M4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2m4.config import Config
from v2m4.optical_flow import Tracks
from v2m4.owners import OwnersNetwork
from v2m4.preflight import registration as needs

FRAMES = 60  # that the offline network's time code was trained for


class CoTracker:
    """The owner's offline network behind ``Tracker``."""

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """

        def make(file: Path) -> Any:
            from cotracker.predictor import CoTrackerPredictor

            return CoTrackerPredictor(checkpoint=str(file), offline=True, v2=False, window_len=FRAMES)

        self.network = OwnersNetwork.load("CoTracker3", needs.COTRACKER, config, make, needs.CHECKPOINT)

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """See ``Tracker``; confidences are 0 or 1."""
        frames, height, width = video.shape[:3]
        size = np.array([width, height])
        if len(points) == 0:
            return Tracks(np.zeros((frames, 0, 2)), np.zeros((frames, 0)))
        colour = video[..., :3].astype(np.float32) * (video[..., 3:].astype(np.float32) / 255)
        pictures = torch.from_numpy(colour).permute(0, 3, 1, 2)[None]
        queries = torch.from_numpy(np.concatenate([starts[:, None], points * size - 0.5], 1).astype(np.float32))[None]
        device = self.network.device
        with self.network.at_work() as network, torch.no_grad():
            found, visible = network(pictures.to(device), queries=queries.to(device))
        positions = (found[0].double().cpu().numpy() + 0.5) / size
        return Tracks(positions, visible[0].double().cpu().numpy())
