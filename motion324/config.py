"""Sizes of the network and its presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

ImageEncoderName = Literal["dinov2", "patches", "flow"]
Output = Literal["positions", "displacements"]


@dataclass(frozen=True)
class MotionConfig:
    """Sizes of a ``MotionNetwork``; the defaults are those of the published network.

    Attributes:
        width: channels of all tokens.
        head_width: channels of an attention head.
        latents: tokens of the mesh.
        special_tokens: learned tokens of each frame, one set for the reference frame and one for all others.
        surface_layers: self-attention layers over the mesh's tokens.
        video_layers: attention layers over the frames' tokens, alternately over all frames and within each frame.
        fourier_levels: frequencies of a position's embedding, pi times powers of two.
        surface_points: points that are sampled on the mesh to encode it.
        image_encoder: ``dinov2`` (DINOv2 of the transformers package, frozen), ``patches`` (trained with the rest), or
            ``flow`` (pairs of frames and their optical flow, of the small network of ``flow_network``).
        image_width: channels of the image encoder.
        image_layers: its layers.
        image_heads: its attention heads.
        image_size: side of the images that it sees, pixels.
        patch: side of an image token, pixels.
        crop_size: side to which the video is cropped before it is resampled to ``image_size``, pixels.
        window: frames encoded together, at most; the first is the reference frame.
        time_table: frames of the table of times that is resampled to a window's length; 0 computes the times of the
            window itself. The released network runs with a table of 256 frames, and is trained with one of 12.
        dropout: of the image tokens, in training.
        output: what the last layer predicts: ``positions``, or ``displacements`` from the query points, which start
            at zero.
    """

    width: int = 768
    head_width: int = 64
    latents: int = 64
    special_tokens: int = 4
    surface_layers: int = 4
    video_layers: int = 16
    fourier_levels: int = 8
    surface_points: int = 16384
    image_encoder: ImageEncoderName = "dinov2"
    image_width: int = 768
    image_layers: int = 12
    image_heads: int = 12
    image_size: int = 224
    patch: int = 14
    crop_size: int = 512
    window: int = 256
    time_table: int = 256
    dropout: float = 0.1
    output: Output = "positions"

    def __post_init__(self) -> None:
        if self.width % self.head_width:
            raise ValueError(f"width: {self.width} is not a multiple of head_width {self.head_width}")
        if self.width % 6:
            raise ValueError(f"width: {self.width} is not a multiple of 6 (sine and cosine of three coordinates)")
        if self.video_layers % 2:
            raise ValueError(f"video_layers: must be even (global and per-frame layers alternate), {self.video_layers}")
        if self.image_size % self.patch:
            raise ValueError(f"image_size: {self.image_size} is not a multiple of patch {self.patch}")
        if self.image_width % self.image_heads:
            raise ValueError(f"image_width: {self.image_width} is not a multiple of image_heads {self.image_heads}")

    @property
    def grid(self) -> int:
        """Image tokens along a side."""
        return self.image_size // self.patch

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // self.head_width

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; ``from_dict`` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MotionConfig:
        """A configuration from its fields by name.

        Raises:
            ValueError: a name is unknown, or a value is not allowed.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown fields of MotionConfig: {', '.join(unknown)}")
        return cls(**values)


PRESETS = {
    "base": MotionConfig(),
    "patches": MotionConfig(
        width=192,
        head_width=32,
        latents=48,
        surface_layers=2,
        video_layers=4,
        surface_points=2048,
        image_encoder="patches",
        image_width=192,
        image_layers=4,
        image_heads=6,
        image_size=112,
        crop_size=112,
        window=64,
        time_table=0,
        dropout=0.0,
        output="displacements",
    ),
    "tiny": MotionConfig(
        width=192,
        head_width=32,
        fourier_levels=5,
        latents=128,
        special_tokens=0,
        surface_layers=0,
        video_layers=6,
        surface_points=128,
        image_encoder="flow",
        image_width=64,
        image_layers=0,
        image_heads=1,
        image_size=112,
        patch=16,
        crop_size=112,
        window=8,
        time_table=0,
        dropout=0.0,
        output="displacements",
    ),
}


def preset(name: str) -> MotionConfig:
    """The preset of a name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r} of the motion network; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
