"""DINOv2 (arXiv 2304.07193) as the image encoder, frozen, through the transformers package.

Checkpoints hold its parameters under the names of DINOv2's own code; the names in the transformers package change
with its version, and are mapped here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from motion324.config import MotionConfig
from motion324.image_encoder import ImageEncoder
from v2m4.config import Config
from v2m4.weights import Package, Weights, get_weights, hub_offline, require_packages

TRANSFORMERS = Package("transformers", 'pip install "transformers>=4.56,<6"')
PRETRAINED = Weights("facebook/dinov2-base", ("config.json", "model.safetensors"), ("config.json", "model.safetensors"))
OFFSET = 0.1  # tokens; DINOv2's own code resamples the table of positions with this offset
PREFIX = "image_encoder."  # of the encoder's parameters in a checkpoint

_STEM = {  # names in DINOv2's code: names in the transformers package
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_LAYER = {
    "norm1": "norm1",
    "norm2": "norm2",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_ATTENTION_4 = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
_ATTENTION_5 = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_MERGE_4, _MERGE_5 = "attention.output.dense", "attention.o_proj"


class DinoEncoder(ImageEncoder):
    """DINOv2, frozen; its table of positions is of the size of ``config.image_size``.

    Raises:
        Unavailable: the transformers package is not installed.
    """

    def __init__(self, config: MotionConfig) -> None:
        super().__init__(config)
        require_packages([TRANSFORMERS])
        from transformers import Dinov2Config, Dinov2Model

        self.grid = config.grid
        sizes = Dinov2Config(
            hidden_size=config.image_width,
            num_hidden_layers=config.image_layers,
            num_attention_heads=config.image_heads,
            image_size=config.image_size,
            patch_size=config.patch,
        )
        self.network = Dinov2Model(sizes).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> DinoEncoder:
        """Stay in evaluation mode: the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Tokens (N, grid * grid, C) of images (N, 3, H, W); without gradients."""
        return self.network(pixel_values=self.prepare(images)).last_hidden_state[:, 1:]

    def load_pretrained(self, config: Config) -> None:
        """Load DINOv2's published weights from ``--weights_dir`` or the Hugging Face cache.

        Raises:
            Unavailable: they are not there.
            ValueError: they are of other sizes.
        """
        from transformers import Dinov2Model

        folder = get_weights(PRETRAINED, config)
        with hub_offline():
            published = Dinov2Model.from_pretrained(folder, local_files_only=True)
        state = resampled(published.state_dict(), "embeddings.position_embeddings", self.grid)
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{folder}: not DINOv2 of the configured size ({str(error).splitlines()[1]})") from error


def resampled(state: Mapping[str, Tensor], name: str, grid: int) -> dict[str, Tensor]:
    """The state with its table of positions resampled to ``grid``."""
    return {**state, name: resample_positions(state[name], grid)}


def resample_positions(positions: Tensor, grid: int) -> Tensor:
    """Resample a table of positions (1, 1 + n * n, C) to (1, 1 + grid * grid, C), as DINOv2's own code does.

    That code asks for a bicubic resampling by ``(grid + 0.1) / n`` rather than by ``grid / n``, and the released
    network was trained with it; done once here, no later resampling by another rule takes place.

    Raises:
        ValueError: the table is not square.
    """
    first, table = positions[:, :1], positions[:, 1:]
    side = round(table.shape[1] ** 0.5)
    if side * side != table.shape[1]:
        raise ValueError(f"positions: expected 1 + n * n of them, got {positions.shape[1]}")
    if side == grid:
        return positions
    table = table.unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
    scale = (grid + OFFSET) / side
    table = interpolate(table, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    if table.shape[-2:] != (grid, grid):
        raise ValueError(f"positions: {side} x {side} cannot be resampled to {grid} x {grid}")
    return torch.cat([first, table.permute(0, 2, 3, 1).flatten(1, 2).to(first)], 1)


def to_transformers(state: Mapping[str, Tensor], version_5: bool) -> dict[str, Tensor]:
    """Parameters under DINOv2's names as the transformers package names them.

    Args:
        state: by DINOv2's names.
        version_5: of the package; the names of the attention's layers differ from version 4's.

    Raises:
        ValueError: a name is unknown.
    """
    parts, merge = (_ATTENTION_5, _MERGE_5) if version_5 else (_ATTENTION_4, _MERGE_4)
    layers, result = {**_LAYER, "attn.proj": merge}, {}
    for name, value in state.items():
        stem, kind = _split(name)
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", stem)
        if match is None and stem in _STEM:
            result[_STEM[stem] + kind] = value
        elif match is not None and match[2] == "attn.qkv":
            for part, rows in zip(parts, value.chunk(3), strict=True):
                result[f"encoder.layer.{match[1]}.{part}{kind}"] = rows
        elif match is not None and match[2] in layers:
            result[f"encoder.layer.{match[1]}.{layers[match[2]]}{kind}"] = value
        else:
            raise ValueError(f"not a parameter of DINOv2: {name}")
    return result


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``to_transformers``, for either version of the package.

    Raises:
        ValueError: a name is unknown.
    """
    stems = {theirs: own for own, theirs in _STEM.items()}
    layers = {theirs: own for own, theirs in {**_LAYER, "attn.proj": _MERGE_4}.items()} | {_MERGE_5: "attn.proj"}
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        stem, kind = _split(name)
        match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", stem)
        if match is None and stem in stems:
            result[stems[stem] + kind] = value
        elif match is not None and match[2] in layers:
            result[f"blocks.{match[1]}.{layers[match[2]]}{kind}"] = value
        elif match is not None and match[2] in (_ATTENTION_4[0], _ATTENTION_5[0]):
            parts = _ATTENTION_4 if match[2] == _ATTENTION_4[0] else _ATTENTION_5
            rows = [state[f"encoder.layer.{match[1]}.{part}{kind}"] for part in parts]
            result[f"blocks.{match[1]}.attn.qkv{kind}"] = torch.cat(rows)
        elif match is None or match[2] not in (*_ATTENTION_4, *_ATTENTION_5):
            raise ValueError(f"not a parameter of the transformers package's DINOv2: {name}")
    return result


def has_names_of_version_5(names: Mapping[str, object]) -> bool:
    """Whether parameters of the transformers package are named as in its version 5."""
    return any(_MERGE_5 in name for name in names)


def _split(name: str) -> tuple[str, str]:
    """A parameter's name without and its ending ``.weight`` or ``.bias``, empty for a bare one."""
    match = re.fullmatch(r"(.+?)(\.weight|\.bias)?", name)
    assert match is not None
    return match[1], match[2] or ""
