"""How much renders look like a frame.

The paper asks a network (DreamSim). Its twin without weights, ``PictureAgreement``, compares masks, colours and edges
over several scales. A generated mesh is lit and shaded otherwise than the video, so colours are compared mostly by hue,
and brightness only after its mean and contrast over the object have been taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from v2m4.frame import Frame

EPSILON = 1e-6


@dataclass(frozen=True)
class Pictures:
    """Pictures of an object without its background.

    Attributes:
        color: (B, h, w, 3) sRGB times coverage: zero outside the object.
        mask: (B, h, w, 1) coverage in [0, 1].
    """

    color: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.color.ndim != 4 or self.color.shape[3] != 3 or self.mask.shape != (*self.color.shape[:3], 1):
            raise ValueError(
                "pictures: expected color (B, h, w, 3) and mask (B, h, w, 1), "
                f"got {tuple(self.color.shape)} and {tuple(self.mask.shape)}"
            )

    @classmethod
    def of_frame(cls, frame: Frame, size: int, window: tuple[float, float, float, float]) -> Pictures:
        """A batch of one: a window of a frame, ``size`` rows."""
        color, mask = frame.tensors(size, window, background=0.0)
        return cls(color[None], mask[None])

    def __len__(self) -> int:
        return len(self.color)

    def to(self, device: torch.device | str) -> Pictures:
        """The same pictures on ``device``."""
        return Pictures(self.color.to(device), self.mask.to(device))


class Similarity(Protocol):
    """Compares renders with the frame."""

    def score(self, renders: Pictures, reference: Pictures) -> Tensor:
        """How alike each render (B) and the one reference are, (B,); 1 is the same picture, larger is better."""
        ...


@dataclass(frozen=True)
class PictureAgreement:
    """Agreement of masks, colours and edges over scales; differentiable in the renders; needs no weights.

    Attributes:
        mask_weight: of the masks' intersection over union.
        color_weight: of hue, and brightness up to gain and offset, where both masks are set.
        edge_weight: of the gradients' correlation.
        scales: number of scales; each has half the resolution of the one before.
        tolerance: difference of hue (in parts of the full range) that counts as half different.
    """

    mask_weight: float = 0.35
    color_weight: float = 0.4
    edge_weight: float = 0.25
    scales: int = 4
    tolerance: float = 0.12

    def score(self, renders: Pictures, reference: Pictures) -> Tensor:
        """How alike each render (B) and the one reference are, (B,) at most 1.

        Raises:
            ValueError: the pictures' sizes differ, or there is not one reference.
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
        # A pixel with outlines on several sides comes out of the antialiasing with less than no coverage.
        both = torch.minimum(ours[:, 3:], theirs[:, 3:]).clamp_min(0)
        mine = ours[:, :3] / ours[:, 3:].clamp_min(0.05)
        other = theirs[:, :3] / theirs[:, 3:].clamp_min(0.05)
        weight = both.sum((1, 2, 3)).clamp_min(EPSILON)
        difference = (mine[:, 1:] - other[:, 1:]).square().sum(1, keepdim=True)
        near = 1 / (1 + difference / self.tolerance**2)
        hue = (near * both).sum((1, 2, 3)) / weight
        brightness = _correlation(mine[:, :1], other[:, :1], both)
        # Where the masks do not meet, agreeing colours in a small overlap are worth little.
        color = mask * (0.6 * hue + 0.4 * brightness)
        edges = _edge_correlation(ours, theirs)
        return self.mask_weight * mask + self.color_weight * color + self.edge_weight * edges


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Soft IoU of masks (B, 1, h, w) and (B or 1, 1, h, w), (B,)."""
    both = torch.minimum(first, second).flatten(1).sum(1)
    either = torch.maximum(first, second).flatten(1).sum(1)
    return both / either.clamp_min(EPSILON)


def _channels(pictures: Pictures) -> Tensor:
    """Brightness, two opponent colours (all times coverage) and coverage, (B, 4, h, w)."""
    red, green, blue = pictures.color.unbind(-1)
    brightness = 0.3 * red + 0.59 * green + 0.11 * blue
    channels = [brightness, red - green, blue - (red + green) / 2, pictures.mask[..., 0]]
    return torch.stack(channels, 1)


def _correlation(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Weighted correlation over the picture, (B,) in [-1, 1]; 1 where both are flat, 0 where one of them is."""
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
