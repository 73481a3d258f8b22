"""The released checkpoint of Motion 3-to-4 (``ckpt_*.pt``): its parameters under our names, its sizes as our config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from motion324.config import MotionConfig
from motion324.dino import PREFIX, resampled

_STEMS = {
    "learnable_tokens": "latent_queries",
    "special_token_0": "reference_tokens",
    "special_token_rest": "other_tokens",
    "point_embed.mlp": "point_embedding.position",
    "point_normal_rgb_proj": "point_embedding.appearance",
    "transformer_input_layernorm": "input_norm",
    "shared_mlp_output": "head",
    "encoder_cross_attn": "surface_attention",
    "decoder_cross_attn": "point_attention",
    "points_transformer_blocks": "surface_blocks",
    "global_transformer_blocks": "global_blocks",
    "local_transformer_blocks": "frame_blocks",
    "image_encoder.model": PREFIX.rstrip("."),
}
_CROSS = {"norm_q": "query_norm", "norm_kv": "context_norm"}
_SELF = {"norm1": "norm"}
_BLOCK = {
    "attn.to_qkv": "project",
    "attn.to_q": "to_query",
    "attn.to_k": "to_key",
    "attn.to_v": "to_value",
    "attn.fc": "merge",
    "attn.q_norm": "heads.query_norm",
    "attn.k_norm": "heads.key_norm",
    "norm2": "feed_norm",
    "mlp.mlp": "feed",
}
_BLOCKS = ("surface_attention", "point_attention", "surface_blocks", "global_blocks", "frame_blocks")
DINO_HEAD_WIDTH = 64  # of every size of DINOv2
_COMPUTED = ("pos_embed", "point_embed.basis")  # tables that ours computes


def our_name(name: str) -> str:
    """Our name of a parameter of theirs; DINOv2's keep the names of its own code, after ``image_encoder.``.

    Raises:
        ValueError: the name is unknown.
    """
    stem = next((stem for stem in _STEMS if name == stem or name.startswith(stem + ".")), None)
    if stem is None:
        raise ValueError(f"not a parameter of Motion 3-to-4: {name}")
    room, rest = _STEMS[stem], name[len(stem) :]
    if room not in _BLOCKS:
        return room + rest
    match = re.fullmatch(r"((?:\.\d+)?)\.(.+?)((?:\.\d+)?\.(?:weight|bias))", rest)
    table = {**_BLOCK, **(_CROSS if room.endswith("attention") else _SELF)}
    if match is None or match[2] not in table:
        raise ValueError(f"not a parameter of Motion 3-to-4: {name}")
    return f"{room}{match[1]}.{table[match[2]]}{match[3]}"


def convert(state: Mapping[str, Tensor]) -> tuple[MotionConfig, dict[str, Tensor]]:
    """The network's sizes and its parameters under our names, from their state dict.

    Raises:
        ValueError: a name is unknown, or one that tells the sizes is missing.
    """
    converted = {our_name(name): value for name, value in state.items() if name not in _COMPUTED}
    config = sizes(converted)
    return config, resampled(converted, PREFIX + "pos_embed", config.grid)


def sizes(state: Mapping[str, Tensor]) -> MotionConfig:
    """The configuration of a converted state dict, read from shapes.

    Raises:
        ValueError: a parameter is missing.
    """

    def layers(stem: str) -> int:
        found = {match[1] for name in state if (match := re.match(re.escape(stem) + r"\.(\d+)\.", name))}
        return len(found)

    try:
        latents, width = state["latent_queries"].shape[1:]
        head_width = len(state["frame_blocks.0.heads.query_norm.weight"])
        image_width, _, patch, _ = state[PREFIX + "patch_embed.proj.weight"].shape
        return replace(
            MotionConfig(),
            width=width,
            head_width=head_width,
            latents=latents,
            special_tokens=state["other_tokens"].shape[1],
            surface_layers=layers("surface_blocks"),
            video_layers=layers("global_blocks") + layers("frame_blocks"),
            fourier_levels=(state["point_embedding.position.weight"].shape[1] - 3) // 6,
            image_width=image_width,
            image_layers=layers(PREFIX + "blocks"),
            image_heads=image_width // DINO_HEAD_WIDTH,
            patch=patch,
        )
    except KeyError as error:
        raise ValueError(f"not a checkpoint of Motion 3-to-4: no parameter {error.args[0]}") from error
