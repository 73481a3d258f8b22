"""The network of Motion 3-to-4 (arXiv 2601.14253): trajectories of surface points from a mesh and a video.

The mesh becomes a few latent tokens, by cross-attention from learned queries to surface points. Each frame's tokens are
special tokens (one set for the reference frame, one for all others), the mesh's latents, and the image's tokens; layers
of attention over all frames and within each frame alternate. A query point reads a frame's latents by cross-attention,
and a perceptron gives its position in that frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motion324.attention import CrossAttentionBlock, KeysValues, SelfAttentionBlock
from motion324.config import MotionConfig
from motion324.embedding import PointEmbedding, SurfacePoints, video_positions
from motion324.image_encoder import ImageEncoder, PatchEncoder

DEVIATION = 0.02  # of the initial weights


class MotionNetwork(nn.Module):
    """Positions of query points in every frame of a window.

    Args:
        config: sizes.
        gradient_checkpointing: recompute the layers' activations in the backward pass, to save memory.

    Raises:
        Unavailable: the image encoder's package is not installed.
    """

    def __init__(self, config: MotionConfig, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = gradient_checkpointing
        width, head_width = config.width, config.head_width

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(SelfAttentionBlock(width, head_width) for _ in range(count))

        self.point_embedding = PointEmbedding(width, config.fourier_levels)
        self.latent_queries = nn.Parameter(torch.randn(1, config.latents, width))
        self.reference_tokens = nn.Parameter(torch.randn(1, config.special_tokens, width))
        self.other_tokens = nn.Parameter(torch.randn(1, config.special_tokens, width))
        self.surface_attention = CrossAttentionBlock(width, head_width)
        self.surface_blocks = blocks(config.surface_layers)
        self.image_projection = nn.Identity() if config.image_width == width else nn.Linear(config.image_width, width)
        self.image_dropout = nn.Dropout(config.dropout)
        self.input_norm = nn.LayerNorm(width, bias=False)
        self.global_blocks = blocks(config.video_layers // 2)
        self.frame_blocks = blocks(config.video_layers // 2)
        self.point_attention = CrossAttentionBlock(width, head_width)
        last = nn.Linear(width, 3)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)
        self.apply(_initialise)
        if config.output == "displacements":
            nn.init.zeros_(last.weight)
        self.image_encoder = _image_encoder(config)  # after ``apply``: DINOv2 has its own initial weights
        if config.image_encoder == "patches":
            self.image_encoder.apply(_initialise)

    def forward(
        self, surface: SurfacePoints, frames: Tensor, queries: SurfacePoints, crops: Tensor | None = None
    ) -> Tensor:
        """Positions of the query points in every frame, in the mesh's normalised space.

        Args:
            surface: N points of the mesh in the reference frame's pose, which encode its shape.
            frames: (B, T, 3, H, W) sRGB in [0, 1], the object on black; frame 0 is the reference frame.
            queries: Q points of the same mesh in the same pose, whose trajectories are asked for.
            crops: not used: this network sees one crop of the whole video.

        Returns:
            (B, T, Q, 3).
        """
        return self.decode(self.encode(surface, frames), queries)

    def encode(self, surface: SurfacePoints, frames: Tensor) -> Tensor:
        """Latents of every frame, (B, T, latents, C); see ``forward``."""
        return self.encode_video(self.encode_surface(surface), self.encode_images(frames))

    def encode_surface(self, surface: SurfacePoints) -> Tensor:
        """The mesh's latents (B, latents, C)."""
        queries = self.latent_queries.expand(len(surface.points), -1, -1)
        tokens = self.surface_attention(queries, self.point_embedding(surface))
        for block in self.surface_blocks:
            tokens = self._run(block, tokens)
        return tokens

    def encode_images(self, frames: Tensor) -> Tensor:
        """Image tokens (B, T, L, C) of frames (B, T, 3, H, W), each frame on its own."""
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(f"frames: expected (B, T, 3, H, W), got {tuple(frames.shape)}")
        tokens = self.image_projection(self.image_encoder(frames.flatten(0, 1)))
        return tokens.unflatten(0, frames.shape[:2])

    def encode_video(self, mesh_latents: Tensor, image_tokens: Tensor) -> Tensor:
        """Latents of every frame.

        Args:
            mesh_latents: (B, latents, C).
            image_tokens: (B, T, L, C), of the reference frame first.

        Returns:
            (B, T, latents, C).
        """
        batch, count = image_tokens.shape[:2]
        config = self.config
        places = video_positions(count, config.grid, config.width, config.time_table).to(image_tokens)
        images = self.image_dropout(image_tokens + places)
        special = torch.cat([self.reference_tokens, self.other_tokens.expand(count - 1, -1, -1)])
        special = special.expand(batch, -1, -1, -1).to(images)
        mesh = mesh_latents[:, None].expand(-1, count, -1, -1).to(images)
        tokens = self.input_norm(torch.cat([special, mesh, images], 2))
        length = tokens.shape[2]
        latents = slice(config.special_tokens, config.special_tokens + config.latents)
        for index, (over_all, within) in enumerate(zip(self.global_blocks, self.frame_blocks, strict=True)):
            # Nothing but the latents of the last layer is used: it computes no others.
            only = latents if index == len(self.frame_blocks) - 1 else None
            tokens = self._run(over_all, tokens.reshape(batch, count * length, -1))
            tokens = self._run(within, tokens.reshape(batch * count, length, -1), only)
        return tokens.unflatten(0, (batch, count))

    def decode(self, latents: Tensor, queries: SurfacePoints, chunk: int | None = None) -> Tensor:
        """Positions of query points in every frame.

        Args:
            latents: (B, T, latents, C), of ``encode``.
            queries: (B, Q, 3) each.
            chunk: pairs of a frame and a query point decoded at once, at most, which bounds the memory; None for all
                of a sample.

        Returns:
            (B, T, Q, 3).
        """
        batch, count = latents.shape[:2]
        context = self.point_attention.keys_values(latents.flatten(0, 1))
        rows = chunk or max(1, count * len(queries))
        size = max(1, min(len(queries), rows))  # query points at once
        together = max(1, rows // (batch * size))  # frames at once
        moved = []
        for start in range(0, len(queries), size):
            part = queries.part(start, start + size)
            tokens = self.point_embedding(part)
            asked = self.point_attention.queries(tokens)
            answers = []
            for sample in range(batch):
                for first in range(0, count, together):
                    where = slice(sample * count + first, sample * count + min(first + together, count))
                    some = KeysValues(context.keys[where], context.values[where])
                    one = slice(sample, sample + 1)  # of the samples; broadcasts over the frames
                    answers.append(self._positions(tokens[one], asked[one], some))
            positions = torch.cat(answers).unflatten(0, (batch, count))
            moved.append(positions + part.points[:, None] if self.config.output == "displacements" else positions)
        return torch.cat(moved, 2) if moved else queries.points.new_zeros(batch, count, 0, 3)

    def _positions(self, tokens: Tensor, asked: Tensor, context: KeysValues) -> Tensor:
        """What the last layer predicts, (T, Q, 3), in single precision also under autocast."""
        tokens = self.head[:-1](self.point_attention.respond(tokens, asked, context))
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head[-1](tokens.float())

    def lower_precision(self) -> MotionNetwork:
        """Convert the weights of the layers to bfloat16, in place, to run under autocast of that type.

        The embedding of points, norms and the last layer stay in single precision, as does the sum that each block
        adds to.
        """
        kept = {*self.point_embedding.modules(), self.head[-1]}
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module not in kept:
                module.to(torch.bfloat16)
        return self

    def _run(self, block: nn.Module, tokens: Tensor, *more: slice | None) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, tokens, *more, use_reentrant=False)
        return block(tokens, *more)


def _image_encoder(config: MotionConfig) -> ImageEncoder:
    """The encoder that the configuration names, with random weights."""
    if config.image_encoder == "patches":
        return PatchEncoder(config)
    from motion324.dino import DinoEncoder

    return DinoEncoder(config)


def _initialise(module: nn.Module) -> None:
    """Normal weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
