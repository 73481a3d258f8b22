"""The small network of ``image_encoder: flow``: tokens on surface points, given the optical flow at their places.

It differs from the published network, whose mesh becomes learned latents that find its motion in the pictures, so that
it can be trained in minutes: the points have the camera's axes (``view_frame``), the latents are points of the surface
that know what the frames show of them (``observations``), and displacements start at those of the optical flow. As
published, layers of attention over all frames and within each frame alternate, and a query point reads a frame's
latents by cross-attention.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motion324.attention import CrossAttentionBlock, SelfAttentionBlock
from motion324.config import MotionConfig
from motion324.embedding import PointEmbedding, SurfacePoints, video_positions
from motion324.frame_motion import FEATURES, frame_features
from motion324.network import MotionNetwork
from motion324.observations import CHANNELS, FILLED
from motion324.pair_encoder import PairEncoder

PLACE_SCALE = 0.5  # of the embedding of a token's place, beside tokens of variance 1
DECODER_LAYERS = 2
OBSERVED_SCALE = torch.tensor([8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 1.0, 1.0, 8.0, 8.0, 8.0])  # channels to order 1


class FlowMotionNetwork(nn.Module):
    """Positions of query points in every frame of a window; those of the reference frame are the query points.

    Args:
        config: sizes; ``latents`` of the surface's points become tokens, ``image_width`` is the number of channels of
            the maps of the image encoder.
        gradient_checkpointing: recompute the layers' activations in the backward pass, to save memory.
    """

    scale: Tensor

    def __init__(self, config: MotionConfig, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config, self.gradient_checkpointing = config, gradient_checkpointing
        width, head_width = config.width, config.head_width

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(SelfAttentionBlock(width, head_width) for _ in range(count))

        self.register_buffer("scale", OBSERVED_SCALE.clone(), persistent=False)
        self.point_embedding = PointEmbedding(width, config.fourier_levels)
        self.observed_embedding = nn.Sequential(nn.Linear(CHANNELS, width), nn.GELU(), nn.Linear(width, width))
        self.frame_embedding = nn.Sequential(nn.Linear(FEATURES, width), nn.GELU(), nn.Linear(width, width))
        self.image_encoder = PairEncoder(config.image_size, width, config.image_width)
        self.point_norm = nn.LayerNorm(width, bias=False)
        self.image_norm = nn.LayerNorm(width, bias=False)
        self.frame_norm = nn.LayerNorm(width, bias=False)
        self.global_blocks = blocks(config.video_layers // 2)
        self.frame_blocks = blocks(config.video_layers // 2)
        self.tokens_norm = nn.LayerNorm(width, bias=False)
        self.point_attention = nn.ModuleList(CrossAttentionBlock(width, head_width) for _ in range(DECODER_LAYERS))
        last = nn.Linear(width, 3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)

    def forward(
        self, surface: SurfacePoints, frames: Tensor, queries: SurfacePoints, crops: Tensor | None = None
    ) -> Tensor:
        """Positions (B, T, Q, 3) of the query points in every frame; see ``encode`` and ``decode``."""
        return self.decode(self.encode(surface, frames, crops), queries)

    def encode(self, surface: SurfacePoints, frames: Tensor, crops: Tensor | None = None) -> Tensor:
        """Tokens of every frame, (B, T, latents + images + 1, C).

        Args:
            surface: N points of the mesh in the reference frame's pose, ``observed`` in the frames.
            frames: (B, T, 3, H, W) sRGB in [0, 1], the object on black; frame 0 is the reference frame.
            crops: (B, T, 3), see ``view_frame.following_crops``; None where all are the reference's window.

        Raises:
            ValueError: shapes that do not fit, or points that are not observed.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(f"frames: expected (B, T, 3, H, W), got {tuple(frames.shape)}")
        batch, count = frames.shape[0], frames.shape[1] - 1
        config = self.config
        length = config.latents + config.grid**2 + 1
        if count == 0:
            return frames.new_zeros(batch, 1, length, config.width)
        surface = surface.part(0, config.latents)
        points = self.point_norm(self._point_tokens(surface, count).unflatten(0, (batch, count)))
        places = video_positions(count, config.grid, config.width, config.time_table).to(points)
        images = self.image_norm(self.image_encoder(frames)).unflatten(0, (batch, count)) + PLACE_SCALE * places
        if crops is None:
            crops = frames.new_tensor([0.5, 0.5, 1.0]).expand(batch, count + 1, 3)
        assert surface.observed is not None
        features = frame_features(frames, crops, surface.points, surface.observed)
        whole = self.frame_norm(self.frame_embedding(features))[:, :, None]
        tokens = torch.cat([points, images, whole.to(points)], 2)
        length = tokens.shape[2]
        for over_all, within in zip(self.global_blocks, self.frame_blocks, strict=True):
            tokens = self._run(over_all, tokens.reshape(batch, count * length, -1))
            tokens = self._run(within, tokens.reshape(batch * count, length, -1))
        tokens = self.tokens_norm(tokens).unflatten(0, (batch, count))
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)

    def decode(self, latents: Tensor, queries: SurfacePoints, chunk: int | None = None) -> Tensor:
        """Positions of query points in every frame, (B, T, Q, 3).

        Args:
            latents: of ``encode``.
            queries: (B, Q, 3) each, ``observed`` in the same frames.
            chunk: pairs of a frame and a query point decoded at once, at most; None for all.

        Raises:
            ValueError: the points are not observed.
        """
        batch, count = latents.shape[0], latents.shape[1] - 1
        still = queries.points[:, None]
        if count == 0 or len(queries) == 0:
            return still.expand(-1, count + 1, -1, -1)
        later = latents[:, 1:].flatten(0, 1)
        layers = cast(list[CrossAttentionBlock], list(self.point_attention))
        contexts = [layer.keys_values(later) for layer in layers]
        size = max(1, min(len(queries), (chunk or batch * count * len(queries)) // (batch * count)))
        parts = []
        for start in range(0, len(queries), size):
            part = queries.part(start, start + size)
            tokens = self._point_tokens(part, count)
            for layer, context in zip(layers, contexts, strict=True):
                tokens = layer.respond(tokens, layer.queries(tokens), context)
            assert part.observed is not None
            flow = nn.functional.pad(part.observed[..., FILLED].float(), (0, 1))
            moved = self.head(tokens).float().unflatten(0, (batch, count)) + flow + part.points[:, None]
            parts.append(torch.cat([part.points[:, None], moved], 1))
        return torch.cat(parts, 2)

    def _point_tokens(self, points: SurfacePoints, count: int) -> Tensor:
        """Tokens (B * count, N, C) of surface points in each later frame."""
        if points.observed is None or points.observed.shape[1] != count:
            raise ValueError(f"surface points: expected what {count} later frames show of them (observed)")
        seen = self.observed_embedding(points.observed.flatten(0, 1) * self.scale)
        return self.point_embedding(points).repeat_interleave(count, 0) + seen

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, tokens, use_reentrant=False)
        return block(tokens)


AnyMotionNetwork = MotionNetwork | FlowMotionNetwork


def motion_network(config: MotionConfig, *, gradient_checkpointing: bool = False) -> AnyMotionNetwork:
    """The network of a configuration: the published one, or the small one of ``image_encoder: flow``.

    Raises:
        Unavailable: the image encoder's package is not installed.
    """
    kind = FlowMotionNetwork if config.image_encoder == "flow" else MotionNetwork
    return kind(config, gradient_checkpointing=gradient_checkpointing)
