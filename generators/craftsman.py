"""CraftsMan3D: a rectified-flow transformer over the latents of a shape autoencoder, textured by MV-Adapter.

Owner: wyysf-98/CraftsMan3D (1626675), source only; weights craftsman3d/craftsman-DoraVAE (``config.yaml``,
``model.ckpt``). The image encoder's configuration is a repository of its own that ``config.yaml`` names.

Axes. The owner's mesh is y up in [-1.05, 1.05]^3. The only statement on its front is the name of the first of its
encoder's cameras, "front to back", at -y of a z-up space: that is +z here. V2M4 rotates and textures the mesh as
TripoSG's, which agrees, but starts its point-map alignment from the other side ("similar to TRELLIS canonical pose").
So no rotation is applied here; the camera search covers all directions, so it also handles a mesh that faces away.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators._checkpoint import tensors_only
from generators._memory import SequentialOffload
from generators._shape import ShapeGenerator
from generators._surface import Surface
from generators.base import register
from v2m4.config import Config
from v2m4.owners import owners_code
from v2m4.preflight.generators import craftsman_encoders
from v2m4.weights import get_weights

STEPS, GUIDANCE, DEPTH = 50, 7.5, 8  # the owner's; 2^8 cells along a side


@register("Craftsman")
class Craftsman(ShapeGenerator):
    """CraftsMan3D's shape with MV-Adapter's texture."""

    name = "Craftsman"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for encoder in craftsman_encoders(self.folder):
            get_weights(encoder, config)

    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """Surface from CraftsMan3D's pipeline; see ``ShapeGenerator``."""
        options = self.config.generation
        pipeline, offload = self._shape
        with owners_code(seed):  # the owner's own ``seed`` wants a generator on the device named "cuda"
            vertices, faces = pipeline(
                image=Image.fromarray(picture),
                num_inference_steps=options.steps or STEPS,
                guidance_scale=GUIDANCE,
                output_type="np",
                mc_depth=round(math.log2(options.resolution)) if options.resolution else DEPTH,
            ).meshes[0]
        if offload is not None:
            offload.release()  # frees memory for the texture network
        return None if vertices is None else (np.asarray(vertices), np.asarray(faces))

    @cached_property
    def _shape(self) -> tuple[Any, SequentialOffload | None]:
        """The owner's pipeline, loaded at first use, and its offloading with ``--low_vram``."""
        from craftsman import CraftsManPipeline

        offloaded = self.config.low_vram and self.device.type == "cuda"
        with owners_code(0), tensors_only(), _inside(self.config.weights_dir):
            pipeline = CraftsManPipeline.from_pretrained(
                str(self.folder),
                device="cpu" if offloaded else str(self.device),
                torch_dtype=torch.bfloat16 if self.device.type == "cuda" else torch.float32,
            )
        if not offloaded:
            return pipeline, None
        networks = {name: getattr(pipeline.system, name) for name in ("condition", "denoiser_model", "shape_model")}
        return pipeline, SequentialOffload(networks, self.device)


@contextmanager
def _inside(folder: Path | None) -> Iterator[None]:
    """Context with the weights' folder as working directory, where the encoder's repository name is a relative path."""
    before = Path.cwd()
    if folder is not None:
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
