"""Similarity of renders with a frame.

The paper uses a network (DreamSim). Its twin without weights, ``ImageAgreement``, compares masks, colours and edges
over several scales. The lighting of a generated mesh differs from the video's, so colours are compared mostly by hue,
and brightness by its correlation over the object, which does not depend on mean and contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from v2m4.frame import Frame

EPSILON = 1e-6


@dataclass(frozen=True)
class MaskedImages:
    """Images of an object without its background.

    Attributes:
        color: (B, h, w, 3) sRGB times coverage, zero outside the object.
        mask: (B, h, w, 1) coverage in [0, 1].
    """

    color: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.color.ndim != 4 or self.color.shape[3] != 3 or self.mask.shape != (*self.color.shape[:3], 1):
            raise ValueError(
                "images: expected color (B, h, w, 3) and mask (B, h, w, 1), "
                f"got {tuple(self.color.shape)} and {tuple(self.mask.shape)}"
            )

    @classmethod
    def of_frame(cls, frame: Frame, size: int, window: tuple[float, float, float, float]) -> MaskedImages:
        """Window of a frame with ``size`` rows, a batch of one."""
        color, mask = frame.tensors(size, window, background=0.0)
        return cls(color[None], mask[None])

    def __len__(self) -> int:
        return len(self.color)

    def to(self, device: torch.device | str) -> MaskedImages:
        """The same images on ``device``."""
        return MaskedImages(self.color.to(device), self.mask.to(device))


class Similarity(Protocol):
    """Compares renders with the frame; one that several threads may call at once has a true ``concurrent``."""

    def score(self, renders: MaskedImages, reference: MaskedImages) -> Tensor:
        """Similarity (B,) of each of B renders with the one reference; larger is better, 1 for equal images."""
        ...


@dataclass(frozen=True)
class ImageAgreement:
    """Agreement of masks, colours and edges over several scales; differentiable in the renders.

    Attributes:
        mask_weight: weight of the masks' intersection over union.
        color_weight: weight of hue, and of brightness up to gain and offset, where both masks are set.
        edge_weight: weight of the gradients' correlation.
        scales: number of scales; each has half the resolution of the one before.
        tolerance: difference of hue at which its agreement is one half, relative to the full range.
    """

    mask_weight: float = 0.35
    color_weight: float = 0.4
    edge_weight: float = 0.25
    scales: int = 4
    tolerance: float = 0.12
    concurrent: ClassVar[bool] = True

    def score(self, renders: MaskedImages, reference: MaskedImages) -> Tensor:
        """Agreement (B,) of each of B renders with the one reference, at most 1.

        Raises:
            ValueError: the images' sizes differ, or there is not one reference.
        """
        if len(reference) != 1 or renders.mask.shape[1:] != reference.mask.shape[1:]:
            raise ValueError(
                f"score: expected one reference of the renders' size {tuple(renders.mask.shape[1:3])}, "
                f"got {len(reference)} of {tuple(reference.mask.shape[1:3])}"
            )
        ours, theirs = _channels(renders), _channels(reference)
        total = ours.new_zeros(len(ours))
        for scale in range(self.scales):
            if scale:
                ours, theirs = avg_pool2d(ours, 2, ceil_mode=True), avg_pool2d(theirs, 2, ceil_mode=True)
            total = total + self._at_one_scale(ours, theirs)
        return total / self.scales

    def _at_one_scale(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Agreement (B,) of channels (B, 4, h, w) with (1, 4, h, w)."""
        mask = intersection_over_union(ours[:, 3:], theirs[:, 3:])
        # Antialiasing gives a pixel with outlines on several sides negative coverage.
        both = torch.minimum(ours[:, 3:], theirs[:, 3:]).clamp_min(0)
        mine = ours[:, :3] / ours[:, 3:].clamp_min(0.05)
        other = theirs[:, :3] / theirs[:, 3:].clamp_min(0.05)
        weight = both.sum((1, 2, 3)).clamp_min(EPSILON)
        difference = (mine[:, 1:] - other[:, 1:]).square().sum(1, keepdim=True)
        near = 1 / (1 + difference / self.tolerance**2)
        hue = (near * both).sum((1, 2, 3)) / weight
        brightness = _correlation(mine[:, :1], other[:, :1], both)
        # With a small overlap of the masks, agreement of the colours in it has little weight.
        color = mask * (0.6 * hue + 0.4 * brightness)
        edges = _edge_correlation(ours, theirs)
        return self.mask_weight * mask + self.color_weight * color + self.edge_weight * edges


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Soft IoU of masks (B, 1, h, w) and (B or 1, 1, h, w), (B,)."""
    both = torch.minimum(first, second).flatten(1).sum(1)
    either = torch.maximum(first, second).flatten(1).sum(1)
    return both / either.clamp_min(EPSILON)


def _channels(images: MaskedImages) -> Tensor:
    """Channels (B, 4, h, w): brightness and two opponent colours, all times coverage, and coverage."""
    red, green, blue = images.color.unbind(-1)
    brightness = 0.3 * red + 0.59 * green + 0.11 * blue
    channels = [brightness, red - green, blue - (red + green) / 2, images.mask[..., 0]]
    return torch.stack(channels, 1)


def _correlation(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Weighted correlation (B,) over the image, in [-1, 1]; 1 if both are constant, 0 if one is."""
    total = weight.sum((1, 2, 3), keepdim=True).clamp_min(EPSILON)
    first = first - (first * weight).sum((1, 2, 3), keepdim=True) / total
    second = second - (second * weight).sum((1, 2, 3), keepdim=True) / total
    moments = [
        (a * b * weight).sum((1, 2, 3)) / total[:, 0, 0, 0]
        for a, b in ((first, second), (first, first), (second, second))
    ]
    flat = 4e-4  # variance of noise, (2% of the range) squared
    return (moments[0] + flat) / ((moments[1] + flat) * (moments[2] + flat)).sqrt()


def _edge_correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Correlation of the gradients of all channels, (B,)."""
    total = ours.new_zeros(3, len(ours))
    for axis in (2, 3):
        mine, other = ours.diff(dim=axis), theirs.diff(dim=axis)
        products = ((mine * other), mine.square(), other.square().expand_as(mine))
        total = total + torch.stack([product.flatten(1).sum(1) for product in products])
    return total[0] / (total[1] * total[2]).clamp_min(EPSILON).sqrt()
