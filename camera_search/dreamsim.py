"""Similarity by DreamSim, the objective of V2M4's camera search.

Source: V2M4 section 3.2 and its released code: DreamSim's distance between the frame and the render within the frame's
mask, plus a tenth of the masks' mean squared difference divided by the share of the image that the frame's mask covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from camera_search.similarity import MaskedImages
from v2m4 import dreamsim
from v2m4.config import Config
from v2m4.device import device_of

BATCH = 64  # images embedded at once


@dataclass(frozen=True)
class DreamSimilarity:
    """1 - DreamSim's distance - weighted difference of the masks; 1 for equal images.

    Attributes:
        network: DreamSim's network.
        device: of the network.
        mask_weight: weight of the masks' difference.
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

    def score(self, renders: MaskedImages, reference: MaskedImages) -> Tensor:
        """Similarity of each render with the reference, see ``Similarity``; without gradients.

        Raises:
            ValueError: the images' sizes differ, or there is not one reference.
        """
        if len(reference) != 1 or renders.mask.shape[1:] != reference.mask.shape[1:]:
            raise ValueError(
                f"score: expected one reference of the renders' size {tuple(renders.mask.shape[1:3])}, "
                f"got {len(reference)} of {tuple(reference.mask.shape[1:3])}"
            )
        reference_mask = (reference.mask > 0).to(renders.color)
        with torch.no_grad():
            reference_color = self._resized(reference.color)
            scores = []
            for color, mask in zip(renders.color.split(BATCH), renders.mask.split(BATCH), strict=True):
                render_embedding, reference_embedding = dreamsim.embedded(
                    self.network, [self._resized(color * reference_mask), reference_color]
                )
                dreamsim_distance = 1 - cosine_similarity(render_embedding, reference_embedding, dim=-1)
                mask_error = (mask - reference_mask).square().mean((1, 2, 3)) / reference_mask.mean().clamp_min(1e-6)
                scores.append(1 - dreamsim_distance.to(mask_error) - self.mask_weight * mask_error)
            return torch.cat(scores)

    def _resized(self, color: Tensor) -> Tensor:
        """Images (B, h, w, 3) resized for the network, (B, 3, 224, 224)."""
        pictures = color.permute(0, 3, 1, 2).to(self.device)
        return interpolate(pictures, (dreamsim.SIZE,) * 2, mode="bicubic", align_corners=False)
