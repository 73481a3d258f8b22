"""The network: a small U-Net that corrects ``Inflate``'s maps, with its uncertainty and the far side's colours.

Its last layers start at zero, and a zero output is ``Inflate``'s result exactly. Blocks are dense 3 x 3 convolutions in
channels-last bfloat16, which CPUs with AVX512-BF16 run at 220 GFLOP/s a core (depthwise ones at 25, 1 x 1 at 135); a
layer norm over channels is a third of the price of a group norm there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from generators.prior.tilt import BINS, planes
from generators.prior.weights import read_weights

INPUTS = 13  # channels of ``dataset.assemble_inputs``
ALPHA = 3  # of these
MIRRORED = (8, 10)  # of these, the x of the position and of the ray, whose sign changes in a mirror image
OUTPUTS = 7  # centre, log of the thickness' ratio, log-scales of both, colours of the far side
FOLD = 2  # pixels of a side that are folded into channels: the finest features have half the crop's resolution
WIDTHS = (48, 96, 192)  # channels at 32, 16 and 8 pixels
ENCODER = (1, 1, 3)  # blocks
DECODER = (1, 1)
ATTENTION = 1
HEADS = 8
HIDDEN = 256  # channels of the layer before the tilt
MAX_LOG_RATIO = 2.5  # of thickness to that of ``Inflate``
MIN_LOG_SCALE, MAX_LOG_SCALE = -6.0, 2.0


@dataclass(frozen=True)
class Prediction:
    """Predicted maps, (B, ., S, S), depths in half the window's side.

    Attributes:
        centre: mean of front and back depth.
        thickness: back minus front.
        log_scale: two channels, logarithm of the Laplace scale of centre and thickness.
        back: three channels, colours of the far side.
    """

    centre: Tensor
    thickness: Tensor
    log_scale: Tensor
    back: Tensor

    @property
    def front_back(self) -> Tensor:
        """Depths (B, 2, S, S) of both sides."""
        return torch.cat([self.centre - self.thickness / 2, self.centre + self.thickness / 2], 1)


@dataclass(frozen=True)
class Output:
    """What the network returns, in single precision.

    Attributes:
        maps: (B, OUTPUTS, S, S).
        tilt: (B, 2, BINS) logits of the object's tilt; see ``tilt``.
        body: (B,) logit of the picture's showing a body, rather than a cloud or a splash.
    """

    maps: Tensor
    tilt: Tensor
    body: Tensor


class _Norm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor) -> Tensor:
        return self.norm(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Residual block: norm, 3 x 3, ReLU, 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _Norm(channels)
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.mix(functional.relu(self.spatial(self.norm(values))))


class _Attention(nn.Module):
    """Residual multi-head self-attention over all pixels, with a learned position."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.position = nn.Parameter(torch.randn(1, side * side, channels) * 0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, values: Tensor) -> Tensor:
        batch, channels, height, width = values.shape
        tokens = values.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        qkv = self.qkv(self.norm(tokens + self.position.to(tokens.dtype)))
        query, key, value = qkv.reshape(batch, -1, 3, HEADS, channels // HEADS).permute(2, 0, 3, 1, 4)
        # Few tokens: plain products are faster than the fused kernel, whose backward pass is slow on a CPU.
        scores = (query * (channels // HEADS) ** -0.5) @ key.transpose(-1, -2)
        found = scores.softmax(-1).to(value.dtype) @ value
        tokens = tokens + self.out(found.transpose(1, 2).reshape(batch, -1, channels))
        return tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class Prior(nn.Module):
    """U-Net from the input channels of ``dataset.assemble_inputs`` to maps.

    Args:
        size: pixels of the crop's side, a multiple of 8.
    """

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(INPUTS * FOLD**2, WIDTHS[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*[_Block(width) for _ in range(count)]) for width, count in zip(WIDTHS, ENCODER, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Sequential(_Norm(fine), nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
            for fine, coarse in pairwise(WIDTHS)
        )
        self.attention = nn.Sequential(*[_Attention(WIDTHS[-1], size // FOLD // 4) for _ in range(ATTENTION)])
        self.tilt = nn.Sequential(
            nn.LayerNorm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * BINS)
        )
        self.tilted = nn.Linear(2 * BINS, WIDTHS[-1])
        self.body = nn.Sequential(nn.LayerNorm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], 64), nn.ReLU(), nn.Linear(64, 1))
        self.up = nn.ModuleList(
            nn.Sequential(_Norm(coarse), nn.Conv2d(coarse, fine, 1)) for fine, coarse in pairwise(WIDTHS)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*[_Block(width) for _ in range(count)])
            for width, count in zip(WIDTHS[:-1], DECODER, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, _Block):  # the residual stream keeps its scale
                module.mix.weight.data *= 0.5
        self.norm = _Norm(WIDTHS[0])
        self.head = nn.Conv2d(WIDTHS[0], OUTPUTS * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.tilted.weight)
        nn.init.zeros_(self.tilted.bias)
        for head in (self.tilt, self.body):
            nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(head[-1].bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Output:
        """Output for inputs (B, INPUTS, S, S); the maps are those of the predicted tilt."""
        values, skips, tilt, body = self.encode(inputs)
        return Output(self.decode(values, skips, tilt.detach().softmax(-1)), tilt, body)

    def encode(self, inputs: Tensor) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Coarsest features, finer ones, logits (B, 2, BINS) of the tilt and logit (B,) of a body."""
        folded = functional.pixel_unshuffle(inputs, FOLD)
        values = self.stem(folded.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, blocks in enumerate(self.encoder):
            values = blocks(values)
            if level < len(self.down):
                skips.append(values)
                values = self.down[level](values)
        values = self.attention(values)
        alpha = functional.avg_pool2d(inputs[:, ALPHA : ALPHA + 1], inputs.shape[-1] // values.shape[-1])
        pooled = (values * alpha).sum((2, 3)) / alpha.sum((2, 3)).clamp_min(0.1)
        tilt = self.tilt(pooled).float().reshape(len(values), 2, BINS)
        return values, skips, tilt, self.body(pooled).float()[:, 0]

    def decode(self, values: Tensor, skips: list[Tensor], tilt: Tensor) -> Tensor:
        """Maps (B, OUTPUTS, S, S) of ``encode``'s features under a tilt, probabilities (B, 2, BINS)."""
        values = values + self.tilted(tilt.flatten(1))[:, :, None, None].to(values.dtype)
        for level in reversed(range(len(self.down))):
            values = functional.interpolate(self.up[level](values), scale_factor=2.0, mode="nearest") + skips[level]
            values = self.decoder[level](values)
        maps = self.head(functional.relu(self.norm(values))).float().contiguous()
        return functional.pixel_shuffle(maps, FOLD)


def interpret(maps: Tensor, ramps: Tensor, base: Tensor, image: Tensor, alpha: Tensor) -> Prediction:
    """Maps of raw outputs: corrections of ``Inflate``'s maps and of the front's colours.

    Args:
        maps: (B, OUTPUTS, S, S).
        ramps: (B, 2) tilt.
        base: (B, 2, S, S) centre and thickness of ``Inflate``.
        image: (B, 3, S, S).
        alpha: (B, 1, S, S).
    """
    shift, ratio, scales, colors = maps.split([1, 1, 2, 3], 1)
    ratio = MAX_LOG_RATIO * torch.tanh(ratio / MAX_LOG_RATIO)
    return Prediction(
        base[:, :1] + planes(ramps, alpha) + shift,
        base[:, 1:] * ratio.exp(),
        scales.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE),
        image + colors,
    )


@dataclass(frozen=True)
class Features:
    """What the network's encoder finds in a picture and in its mirror image.

    Attributes:
        straight: coarsest features and finer ones.
        mirrored: of the mirror image.
        tilt: (B, 2, BINS) logarithms of the mean probabilities of both.
        body: (B,) mean logit of both.
    """

    straight: tuple[Tensor, list[Tensor]]
    mirrored: tuple[Tensor, list[Tensor]]
    tilt: Tensor
    body: Tensor


@torch.no_grad()
def encode(network: Prior, inputs: Tensor) -> Features:
    """Features of inputs (B, INPUTS, S, S)."""
    mirror = inputs.flip(-1).clone()
    mirror[:, list(MIRRORED)] *= -1
    values, skips, tilt, body = network.encode(inputs)
    other_values, other_skips, other, other_body = network.encode(mirror)
    mean = 0.5 * (tilt.softmax(-1) + _mirrored_tilt(other).softmax(-1))
    return Features((values, skips), (other_values, other_skips), mean.log(), 0.5 * (body + other_body))


@torch.no_grad()
def decode(network: Prior, features: Features, tilt: Tensor) -> Tensor:
    """Maps (B, OUTPUTS, S, S) under a tilt (B, 2, BINS), logits; the mean over the picture and its mirror image."""
    straight = network.decode(*features.straight, tilt.softmax(-1))
    mirrored = network.decode(*features.mirrored, _mirrored_tilt(tilt).softmax(-1))
    return 0.5 * (straight + mirrored.flip(-1))


def _mirrored_tilt(tilt: Tensor) -> Tensor:
    return torch.stack([tilt[:, 0].flip(-1), tilt[:, 1]], 1)


def load_network(path: Path) -> Prior:
    """Network with weights from a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is broken, or of another network.
    """
    network = Prior()
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: weights of another network") from error
    return network.eval()
