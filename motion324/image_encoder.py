"""Image encoders: tokens of single frames, without their time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from motion324.attention import SelfAttentionBlock
from motion324.config import MotionConfig
from motion324.embedding import coordinates, waves
from v2m4.weights import Package, require_packages

TRANSFORMERS = Package("transformers", 'pip install "transformers>=4.56,<6"')
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, sRGB
LAYER_SCALE = 1e-5  # initial, of DINOv2
DINO_PIXELS = 518  # side of the images that DINOv2 was trained on last; its table of positions is of this size
DINO_OFFSET = 0.1  # tokens; the owners' code resamples the table of positions with this offset


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


class DinoEncoder(ImageEncoder):
    """DINOv2 of the transformers package, frozen; its table of positions is of the size of ``config.image_size``."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__(config)
        require_packages([TRANSFORMERS])
        from transformers import Dinov2Config, Dinov2Model

        sizes = Dinov2Config(
            hidden_size=config.image_width,
            num_hidden_layers=config.image_layers,
            num_attention_heads=config.image_heads,
            image_size=config.image_size,
            patch_size=config.patch,
            layerscale_value=LAYER_SCALE,
        )
        self.network = Dinov2Model(sizes).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> DinoEncoder:
        """Stay in evaluation mode: the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Tokens (N, grid * grid, C) of images (N, 3, H, W); without gradients."""
        return self.network(pixel_values=self.prepare(images)).last_hidden_state[:, 1:]


def resample_positions(positions: Tensor, grid: int) -> Tensor:
    """Resample DINOv2's table of positions (1, 1 + n * n, C) to (1, 1 + grid * grid, C), as its owners' code does.

    Their code asks for a bicubic resampling by ``(grid + 0.1) / n`` rather than by ``grid / n``, and the released
    network was trained with that; done once here, no later resampling by another rule takes place.
    """
    first, table = positions[:, :1], positions[:, 1:]
    side = round(table.shape[1] ** 0.5)
    if side * side != table.shape[1]:
        raise ValueError(f"positions: expected 1 + n * n of them, got {positions.shape[1]}")
    if side == grid:
        return positions
    table = table.unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    scale = (grid + DINO_OFFSET) / side
    table = interpolate(table, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    if table.shape[-2:] != (grid, grid):
        raise ValueError(f"positions: {side} x {side} cannot be resampled to {grid} x {grid}")
    return torch.cat([first, table.permute(0, 2, 3, 1).flatten(1, 2).to(first)], 1)


def image_encoder(config: MotionConfig) -> ImageEncoder:
    """The encoder that the configuration names, with random weights.

    Raises:
        Unavailable: DINOv2 needs the transformers package, which is not installed.
    """
    return DinoEncoder(config) if config.image_encoder == "dinov2" else PatchEncoder(config)
