"""TripoSG: a rectified-flow transformer over a set of shape latents. Colours come from MV-Adapter.

Owner: VAST-AI-Research/TripoSG (fc5c409), source only; MIT licence, weights VAST-AI/TripoSG.

Axes. The mesh comes in [-1.005, 1.005]^3, y up, facing +z: the owner says nothing, but MV-Adapter, by the same group,
takes its front view from +z (see there), and V2M4 treats it as Hunyuan3D-2's in its texturing and in its point-map
alignment (``is_Hunyuan``). Nothing is turned here; the mesh is scaled to the unit cube.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators._learned import on_grey
from generators._mvadapter import Painter
from generators._shape import shape_and_paint
from generators._surface import Surface
from generators.base import register
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset
from v2m4.weights import (
    Package,
    Unavailable,
    Weights,
    device_of,
    fingerprint,
    get_weights,
    owners_code,
    require_packages,
    require_weights,
)

STEPS, GUIDANCE, DEPTH = 50, 7.0, 9  # the owner's; 2^9 cells along a side
PACKAGES = (
    Package(
        "triposg",
        "git clone https://github.com/VAST-AI-Research/TripoSG && git -C TripoSG checkout fc5c409 && "
        "pip install diffusers transformers accelerate einops jaxtyping typeguard peft, "
        "then put the clone on PYTHONPATH",
    ),
    Package("diso", "TripoSG takes its surface with it: pip install --no-build-isolation diso (needs a CUDA toolkit)"),
)
PARTS = ("vae", "transformer", "scheduler", "image_encoder_dinov2", "feature_extractor_dinov2")


@register("TripoSG")
class TripoSG:
    """TripoSG's shape with MV-Adapter's texture."""

    name = "TripoSG"

    def __init__(self, config: Config) -> None:
        self.check(config)
        self.config = config
        self.device = device_of(config)
        weights = _weights(config)
        self.folder = get_weights(weights, config)
        self.painter = Painter(config) if config.generation.paint == "network" else None
        self.version = fingerprint(weights.repository, self.folder, weights.files) + (
            self.painter.version if self.painter else ""
        )

    @staticmethod
    def check(config: Config) -> None:
        """Look whether everything is there, in no time.

        Raises:
            Unavailable: a package, weights or a GPU are missing.
        """
        require_packages(PACKAGES)
        if device_of(config).type != "cuda":
            raise Unavailable("it takes its surface with CUDA code; it needs a GPU")
        if config.generation.paint == "network":
            Painter.check(config)
        require_weights(_weights(config), config)

    def generate(self, frame: Frame) -> Asset:
        """See ``Generator``.

        Raises:
            GenerationError: the frame has no foreground, or the network finds no surface in it.
        """
        paint = None if self.painter is None else self.painter.paint
        return shape_and_paint(self.name, frame, self.config, self._surface, paint)

    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """The surface in the network's volume, None where it holds none."""
        options = self.config.generation
        pipeline = self._shape
        with owners_code(seed):
            try:
                vertices, faces = pipeline(
                    image=Image.fromarray(on_grey(picture, 1.0)),
                    num_inference_steps=options.steps or STEPS,
                    guidance_scale=GUIDANCE,
                    generator=torch.Generator().manual_seed(seed),
                    flash_octree_depth=round(math.log2(options.resolution)) if options.resolution else DEPTH,
                ).samples[0]
            except AttributeError as error:
                if "NoneType" not in str(error):  # what the owner's code comes to where there is no surface
                    raise
                return None
        return np.asarray(vertices), np.asarray(faces)

    @cached_property
    def _shape(self) -> Any:
        """The owner's pipeline, loaded when the first frame needs it."""
        from triposg.pipelines.pipeline_triposg import TripoSGPipeline

        half = torch.float16 if self.device.type == "cuda" else torch.float32
        with owners_code(0):
            pipeline = TripoSGPipeline.from_pretrained(str(self.folder), torch_dtype=half)
        if self.config.low_vram:
            pipeline.model_cpu_offload_seq = "image_encoder_dinov2->transformer->vae"  # the owner names no order
            pipeline.enable_model_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def _weights(config: Config) -> Weights:
    return Weights(config.generation.weights or "VAST-AI/TripoSG", ("model_index.json", *PARTS))
