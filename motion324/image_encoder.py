"""Image encoders: tokens of single frames, without their time; DINOv2 stands in ``dino``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from motion324.attention import SelfAttentionBlock
from motion324.config import MotionConfig
from motion324.embedding import coordinates, waves

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, sRGB


class ImageEncoder(nn.Module):
    """Base of the encoders: normalised colours, resampled to the encoder's size."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.size = config.image_size
        self.register_buffer("mean", torch.tensor(MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) sRGB in [0, 1], resampled (bilinear) and normalised, (N, 3, size, size)."""
        if images.shape[-2:] != (self.size, self.size):
            images = interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return (images - self.mean) / self.deviation

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (N, grid * grid, C) of images (N, 3, H, W)."""
        raise NotImplementedError


class PatchEncoder(ImageEncoder):
    """A small vision transformer: a convolution embeds the patches, self-attention layers follow."""

    places: Tensor

    def __init__(self, config: MotionConfig) -> None:
        super().__init__(config)
        width = config.image_width
        self.patches = nn.Conv2d(3, width, config.patch, config.patch)
        side = waves(coordinates(config.grid), width // 2)
        shape = (config.grid, config.grid, width // 2)
        places = torch.cat([side[:, None].expand(shape), side[None].expand(shape)], -1).flatten(0, 1)
        self.register_buffer("places", places, persistent=False)
        head_width = width // config.image_heads
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, head_width) for _ in range(config.image_layers))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (N, grid * grid, C) of images (N, 3, H, W)."""
        tokens = self.patches(self.prepare(images)).flatten(2).transpose(1, 2)
        tokens = tokens + self.places
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
