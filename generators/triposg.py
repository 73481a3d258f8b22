"""TripoSG: a rectified-flow transformer over a set of shape latents, textured by MV-Adapter.

Owner: VAST-AI-Research/TripoSG (fc5c409), source only; MIT licence, weights VAST-AI/TripoSG.

Axes. The owner's mesh is in [-1.005, 1.005]^3, y up, facing +z: undocumented, but MV-Adapter, by the same group, takes
its front view from +z (see ``_mvadapter``), and V2M4 treats it as Hunyuan3D-2's in its texturing and in its point-map
alignment (``is_Hunyuan``). So no rotation is applied; the mesh is scaled to the unit cube.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators._learned import on_grey
from generators._shape import ShapeGenerator
from generators._surface import Surface
from generators.base import register
from v2m4.owners import owners_code

STEPS, GUIDANCE, DEPTH = 50, 7.0, 9  # the owner's; 2^9 cells along a side


@register("TripoSG")
class TripoSG(ShapeGenerator):
    """TripoSG's shape with MV-Adapter's texture."""

    name = "TripoSG"

    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """Surface from TripoSG's pipeline; see ``ShapeGenerator``."""
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
                if "NoneType" not in str(error):  # the owner's code fails like this without a surface
                    raise
                return None
        return np.asarray(vertices), np.asarray(faces)

    @cached_property
    def _shape(self) -> Any:
        """The owner's pipeline, loaded at first use."""
        from triposg.pipelines.pipeline_triposg import TripoSGPipeline

        half = torch.float16 if self.device.type == "cuda" else torch.float32
        with owners_code(0):
            pipeline = TripoSGPipeline.from_pretrained(str(self.folder), torch_dtype=half)
        if self.config.low_vram:
            pipeline.model_cpu_offload_seq = "image_encoder_dinov2->transformer->vae"  # the owner defines none
            pipeline.enable_model_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
