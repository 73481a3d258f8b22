"""Hunyuan3D-2: a flow-matching transformer over a set of shape latents, and a multi-view texture network.

Owner: Tencent-Hunyuan/Hunyuan3D-2 (9bcf302), on PyPI as ``hy3dgen`` 2.0.2. The weights are under Tencent's own licence,
which excludes the EU, the UK and South Korea.

Axes. The owner's mesh is y up in [-1.01, 1.01]^3 and faces +z: its texture renderer maps (x, y, z) to (-x, z, -y) and
puts the front camera (azimuth 0, the one of weight 1) on its +y axis, that is on the mesh's +z. V2M4 agrees: it rotates
(x, y, z) to (x, -z, y), z up, and starts its point-map alignment from a camera at -y. So no rotation is applied; the
mesh is scaled to the unit cube (V2M4 scales it by half about a centroid that it takes before the rotation).

The texture network unwraps the mesh with xatlas, which duplicates vertices along seams; the surface stays welded here,
and only the texture coordinates are duplicated. The network uses the seeds 0 and 42, whatever the user's seed is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators._learned import object_image
from generators._memory import SequentialOffload
from generators._shape import ShapeGenerator
from generators._surface import Surface, textured
from generators.base import register
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh
from v2m4.owners import owners_code
from v2m4.preflight.generators import hunyuan_subfolder, hunyuan_texture

log = logging.getLogger(__name__)

STEPS, GUIDANCE, RESOLUTION = 50, 5.0, 384  # the owner's defaults


class HunyuanPainter:
    """Hunyuan3D-2's texture network."""

    def __init__(self, config: Config) -> None:
        """Locate the weights; nothing is loaded yet.

        Raises:
            Unavailable: they are missing.
        """
        self.config = config
        (self.folder,) = hunyuan_texture().folders(config).values()
        self.version = hunyuan_texture().version(config)

    def paint(self, surface: Surface, picture: np.ndarray) -> Mesh:
        """Textured mesh; see ``Painter``."""
        import trimesh

        pipeline, bare = self._pipeline, trimesh.Trimesh(*surface, process=False)
        with owners_code(self.config.seed):
            mesh = pipeline(bare, image=Image.fromarray(picture))
        image = np.asarray(mesh.visual.material.image.convert("RGB"))
        size = self.config.generation.texture_size
        return textured(np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(mesh.visual.uv), image, size)

    @cached_property
    def _pipeline(self) -> Any:
        """The owner's texture pipeline, loaded at first use."""
        from hy3dgen.texgen import Hunyuan3DPaintPipeline

        with owners_code(0):
            pipeline = Hunyuan3DPaintPipeline.from_pretrained(str(self.folder))
        if self.config.low_vram:
            pipeline.enable_model_cpu_offload(device=device_of(self.config))
        return pipeline


@register("Hunyuan")
class Hunyuan(ShapeGenerator):
    """Hunyuan3D-2, shape and texture."""

    name = "Hunyuan"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if self.device.type == "cpu":
            log.warning("Hunyuan3D-2 runs on the CPU in single precision, which is slow")

    def _painter(self) -> HunyuanPainter:
        """Hunyuan3D-2's own texture network; see ``ShapeGenerator``."""
        return HunyuanPainter(self.config)

    def generate_many(self, frames: Sequence[Frame]) -> list[Asset]:
        """Assets of all frames, see ``BatchGenerator``; a frame without a surface is attempted again by itself.

        Raises:
            GenerationError: a frame has no foreground, or the network finds no surface in it.
        """
        images = [object_image(frame) for frame in frames]
        surfaces = self._surfaces(images, self.config.seed)
        return [
            self.generate(frame) if surface is None else self._to_asset(frame, picture, surface)
            for frame, picture, surface in zip(frames, images, surfaces, strict=True)
        ]

    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """Surface from Hunyuan3D-2's pipeline; see ``ShapeGenerator``."""
        return self._surfaces([picture], seed)[0]

    def _surfaces(self, images: Sequence[np.ndarray], seed: int) -> list[Surface | None]:
        """Surfaces of several images, sampled in one batch with the same noise for each."""
        options = self.config.generation
        pipeline, offload = self._shape
        with owners_code(seed):
            meshes = pipeline(
                image=[Image.fromarray(picture) for picture in images],
                num_inference_steps=options.steps or STEPS,
                guidance_scale=GUIDANCE,
                octree_resolution=options.resolution or RESOLUTION,
                generator=[torch.Generator().manual_seed(seed) for _ in images],
                enable_pbar=False,
            )
        if offload is not None:
            offload.release()  # frees memory for the texture network
        return [None if mesh is None else (np.asarray(mesh.vertices), np.asarray(mesh.faces)) for mesh in meshes]

    @cached_property
    def _shape(self) -> tuple[Any, SequentialOffload | None]:
        """The owner's shape pipeline, loaded at first use, and its offloading with ``--low_vram``."""
        from hy3dgen.shapegen import Hunyuan3DDiTFlowMatchingPipeline

        logging.getLogger("hy3dgen.shapgen").setLevel(logging.WARNING)  # the owner's spelling
        half = self.device.type == "cuda"
        with owners_code(0):  # networks are initialised at random before the weights are read
            pipeline = Hunyuan3DDiTFlowMatchingPipeline.from_pretrained(
                str(self.folder),
                subfolder=hunyuan_subfolder(self.config),
                device="cpu",
                dtype=torch.float16 if half else torch.float32,
                use_safetensors=True,
                variant="fp16",
            )
        if not self.config.low_vram:
            pipeline.to(self.device)
            return pipeline, None
        pipeline.device = self.device  # of the latents; the networks are moved there one at a time
        networks = {name: getattr(pipeline, name) for name in ("conditioner", "model", "vae")}
        return pipeline, SequentialOffload(networks, self.device)
