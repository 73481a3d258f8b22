"""CoTracker3: a transformer that tracks many points of a video jointly, through occlusions too.

Owner: facebookresearch/co-tracker at 82e02e8, source only; weights facebook/cotracker3 (``scaled_offline.pth``); both
CC BY-NC 4.0, not for commercial use. Its ``CoTrackerPredictor`` takes a video (B, T, 3, H, W) from 0 to 255, scales it
to its own 384 x 512, and queries (B, N, 3) as (frame, x, y) with the first pixel's *centre* at 0; it returns tracks
(B, T, N, 2) and visibilities (B, T, N), bool. V2M4 passes images from 0 to 1, which are black to the network; here they
are in the range that it expects. Images are composited on black, as in V2M4.
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

WINDOW_LENGTH = 60  # frames that the offline network's time embedding was trained for


class CoTracker:
    """The owner's offline network behind the ``Tracker`` protocol."""

    def __init__(self, config: Config) -> None:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing, or cannot be loaded.
        """

        def load_predictor(file: Path) -> Any:
            from cotracker.predictor import CoTrackerPredictor

            return CoTrackerPredictor(checkpoint=str(file), offline=True, v2=False, window_len=WINDOW_LENGTH)

        self.network = OwnersNetwork.load("CoTracker3", needs.COTRACKER, config, load_predictor, needs.CHECKPOINT)

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        """See ``Tracker``; confidences are 0 or 1."""
        frames, height, width = video.shape[:3]
        size = np.array([width, height])
        if len(points) == 0:
            return Tracks(np.zeros((frames, 0, 2)), np.zeros((frames, 0)))
        color = video[..., :3].astype(np.float32) * (video[..., 3:].astype(np.float32) / 255)
        images = torch.from_numpy(color).permute(0, 3, 1, 2)[None]
        queries = torch.from_numpy(np.concatenate([starts[:, None], points * size - 0.5], 1).astype(np.float32))[None]
        device = self.network.device
        with self.network.at_work() as network, torch.no_grad():
            pixels, visible = network(images.to(device), queries=queries.to(device))
        positions = (pixels[0].double().cpu().numpy() + 0.5) / size
        return Tracks(positions, visible[0].double().cpu().numpy())
