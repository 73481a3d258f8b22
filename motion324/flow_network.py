"""The small network of ``image_encoder: flow``: Motion 3-to-4's tokens beside maps that query points look up.

It differs from the published network, whose query points read nothing but a frame's latents, so that it can be trained
in minutes: the points have the camera's axes (``view_frame``), each query point looks up its place in a frame's map
(``flow_encoder``), and displacements start at those of the optical flow. As published, the mesh becomes latents, layers
of attention over all frames and within each frame alternate, and a query point reads the frame's latents by
cross-attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample
from torch.utils.checkpoint import checkpoint

from motion324.attention import CrossAttentionBlock, SelfAttentionBlock
from motion324.config import MotionConfig
from motion324.embedding import PointEmbedding, SurfacePoints, video_positions
from motion324.flow_encoder import FLOW_SCALE, FOLD, FlowEncoder
from motion324.network import MotionNetwork
from motion324.view_frame import CUBE

PLACE_SCALE = 0.5  # of the embedding of a token's place, beside tokens of variance 1


class FlowMotionNetwork(nn.Module):
    """Positions of query points in every frame of a window; those of the reference frame are the query points.

    Args:
        config: sizes; ``image_width`` is the number of channels of the maps.
        gradient_checkpointing: recompute the layers' activations in the backward pass, to save memory.
    """

    def __init__(self, config: MotionConfig, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config, self.gradient_checkpointing = config, gradient_checkpointing
        width, head_width = config.width, config.head_width

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(SelfAttentionBlock(width, head_width) for _ in range(count))

        self.point_embedding = PointEmbedding(width, config.fourier_levels)
        self.latent_queries = nn.Parameter(torch.randn(1, config.latents, width))
        self.surface_attention = CrossAttentionBlock(width, head_width)
        self.surface_blocks = blocks(config.surface_layers)
        self.image_encoder = FlowEncoder(config.image_size, width, config.image_width)
        # Without this norm and that of the maps, places and points drown what the pictures show at the start.
        self.image_norm = nn.LayerNorm(width, bias=False)
        self.input_norm = nn.LayerNorm(width, bias=False)
        self.global_blocks = blocks(config.video_layers // 2)
        self.frame_blocks = blocks(config.video_layers // 2)
        self.tokens_norm = nn.LayerNorm(width, bias=False)
        self.map_norm = nn.LayerNorm(config.image_width - 2, bias=False)
        self.look_up = nn.Linear(config.image_width, width)
        self.point_attention = CrossAttentionBlock(width, head_width)
        last = nn.Linear(width, 3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)

    def forward(self, surface: SurfacePoints, frames: Tensor, queries: SurfacePoints) -> Tensor:
        """Positions (B, T, Q, 3) of the query points in every frame; see ``MotionNetwork.forward``."""
        return self.decode(self.encode(surface, frames), queries)

    def encode(self, surface: SurfacePoints, frames: Tensor) -> Tensor:
        """Latents of every frame, (B, T, latents + maps, C): the map's channels follow, as tokens.

        Args:
            surface: N points of the mesh in the reference frame's pose.
            frames: (B, T, 3, H, W) sRGB in [0, 1], the object on black; frame 0 is the reference frame.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(f"frames: expected (B, T, 3, H, W), got {tuple(frames.shape)}")
        batch, count = frames.shape[0], frames.shape[1] - 1
        config = self.config
        if count == 0:
            return frames.new_zeros(batch, 1, config.latents + self._map_tokens, config.width)
        latents = self.surface_attention(self.latent_queries.expand(batch, -1, -1), self.point_embedding(surface))
        for block in self.surface_blocks:
            latents = self._run(block, latents)
        images, skipped = self.image_encoder.down(frames)
        places = video_positions(count, config.grid, config.width, config.time_table).to(images)
        images = self.image_norm(images).unflatten(0, (batch, count)) + PLACE_SCALE * places
        mesh = latents[:, None].expand(-1, count, -1, -1).to(images)
        tokens = self.input_norm(torch.cat([mesh, images], 2))
        length = tokens.shape[2]
        for over_all, within in zip(self.global_blocks, self.frame_blocks, strict=True):
            tokens = self._run(over_all, tokens.reshape(batch, count * length, -1))
            tokens = self._run(within, tokens.reshape(batch * count, length, -1))
        tokens = self.tokens_norm(tokens).unflatten(0, (batch, count))
        latents, images = tokens[:, :, : config.latents], tokens[:, :, config.latents :]
        maps = self.image_encoder.up(images.flatten(0, 1), skipped)
        packed = maps.unflatten(0, (batch, count)).reshape(batch, count, self._map_tokens, config.width)
        later = torch.cat([latents.float(), packed.float()], 2)
        return torch.cat([torch.zeros_like(later[:, :1]), later], 1)

    @property
    def _map_tokens(self) -> int:
        side = self.config.image_size // FOLD
        return side * side * self.config.image_width // self.config.width

    def decode(self, latents: Tensor, queries: SurfacePoints, chunk: int | None = None) -> Tensor:
        """Positions of query points in every frame, (B, T, Q, 3).

        Args:
            latents: of ``encode``.
            queries: (B, Q, 3) each.
            chunk: pairs of a frame and a query point decoded at once, at most; None for all.
        """
        batch, count = latents.shape[0], latents.shape[1] - 1
        still = queries.points[:, None]
        if count == 0 or len(queries) == 0:
            return still.expand(-1, count + 1, -1, -1)
        later, config = latents[:, 1:].flatten(0, 1), self.config
        side = config.image_size // FOLD
        maps = later[:, config.latents :].reshape(len(later), config.image_width, side, side)
        context = self.point_attention.keys_values(later[:, : config.latents])
        size = max(1, min(len(queries), (chunk or batch * count * len(queries)) // (batch * count)))
        parts = []
        for start in range(0, len(queries), size):
            part = queries.part(start, start + size)
            places = part.points[..., :2] * part.points.new_tensor([2 * CUBE, -2 * CUBE])
            at = places.repeat_interleave(count, 0)[:, None]  # (N, 1, Q, 2)
            found = grid_sample(maps, at.to(maps), padding_mode="border", align_corners=False)[:, :, 0].transpose(1, 2)
            seen = torch.cat([found[..., :2] * FLOW_SCALE, self.map_norm(found[..., 2:])], -1)
            tokens = self.point_embedding(part).repeat_interleave(count, 0) + self.look_up(seen)
            tokens = self.point_attention.respond(tokens, self.point_attention.queries(tokens), context)
            flow = torch.cat([found[..., :2], torch.zeros_like(found[..., :1])], -1)
            moved = (self.head(tokens).float() + flow).unflatten(0, (batch, count)) + part.points[:, None]
            parts.append(torch.cat([part.points[:, None], moved], 1))
        return torch.cat(parts, 2)

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
