"""Similarity as DreamSim sees it, and as V2M4 searches its cameras by.

Source: V2M4 section 3.2 and its released code: the distance of the frame and the render, the latter within the frame's
mask, plus a tenth of the masks' mean squared difference over the share of the picture that the frame's mask covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from camera_search.similarity import Pictures
from v2m4 import dreamsim
from v2m4.config import Config
from v2m4.device import device_of

BATCH = 64  # pictures at once


@dataclass(frozen=True)
class DreamSimilarity:
    """1 - DreamSim's distance - the masks' difference; 1 is the same picture.

    Attributes:
        network: the owner's.
        device: where it is.
        mask_weight: of the masks' difference.
    """

    network: nn.Module
    device: torch.device
    mask_weight: float = 0.1

    @classmethod
    def load(cls, config: Config) -> DreamSimilarity:
        """Load the network.

        Raises:
            Unavailable: its package or weights are missing.
        """
        dreamsim.check(config)
        device = device_of(config)
        return cls(dreamsim.load(dreamsim.folder_of(config), device), device)

    def score(self, renders: Pictures, reference: Pictures) -> Tensor:
        """See ``Similarity``; without gradients.

        Raises:
            ValueError: the pictures' sizes differ, or there is not one reference.
        """
        if len(reference) != 1 or renders.mask.shape[1:] != reference.mask.shape[1:]:
            raise ValueError(
                f"score: expected one reference of the renders' size {tuple(renders.mask.shape[1:3])}, "
                f"got {len(reference)} of {tuple(reference.mask.shape[1:3])}"
            )
        inside = (reference.mask > 0).to(renders.color)
        with torch.no_grad():
            whole = self._resized(reference.color)
            scores = []
            for color, mask in zip(renders.color.split(BATCH), renders.mask.split(BATCH), strict=True):
                ours, theirs = dreamsim.embedded(self.network, [self._resized(color * inside), whole])
                distance = 1 - cosine_similarity(ours, theirs, dim=-1)
                difference = (mask - inside).square().mean((1, 2, 3)) / inside.mean().clamp_min(1e-6)
                scores.append(1 - distance.to(difference) - self.mask_weight * difference)
            return torch.cat(scores)

    def _resized(self, color: Tensor) -> Tensor:
        """Pictures (B, h, w, 3) as the network sees them, (B, 3, 224, 224)."""
        pictures = color.permute(0, 3, 1, 2).to(self.device)
        return interpolate(pictures, (dreamsim.SIZE,) * 2, mode="bicubic", align_corners=False)
