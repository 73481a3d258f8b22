"""Hunyuan3D-2: a flow-matching transformer over a set of shape latents, and a multi-view texture network.

Owner: Tencent-Hunyuan/Hunyuan3D-2 (9bcf302), on PyPI as ``hy3dgen`` 2.0.2. The weights are under Tencent's own licence,
which excludes the EU, the UK and South Korea.

Axes. The owner's mesh is y up in [-1.01, 1.01]^3 and faces +z: its texture renderer maps (x, y, z) to (-x, z, -y) and
puts the front camera (azimuth 0, the one of weight 1) on its +y axis, that is on the mesh's +z. V2M4 agrees: it turns
(x, y, z) to (x, -z, y), z up, and starts its point-map alignment from a camera at -y. So nothing is turned here; the
mesh is scaled to the unit cube (V2M4 halves it, about a centroid that it takes before the turn).

The texture network unwraps the mesh with xatlas, which tears it along seams; the surface is kept welded here and the
seams live in the uvs. It seeds itself with 0 and 42, whatever the user's seed is.
"""

from __future__ import annotations

import logging
import os
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from generators._memory import OneAtATime
from generators._shape import shape_and_paint
from generators._surface import Surface, textured
from generators.base import register
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh
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

log = logging.getLogger(__name__)

SHAPE = "tencent/Hunyuan3D-2/hunyuan3d-dit-v2-0"
PAINT = ("hunyuan3d-delight-v2-0", "hunyuan3d-paint-v2-0")
STEPS, GUIDANCE, RESOLUTION = 50, 5.0, 384  # the owner's

PACKAGE = Package("hy3dgen", 'pip install hy3dgen==2.0.2 "diffusers<0.38"')
TRUSTING = (
    0,
    38,
)  # before this, diffusers loads the pipeline inside hy3dgen, which does not declare that it is trusted
RASTERIZER = Package(
    "custom_rasterizer",
    "--generation.paint network needs it: pip install --no-build-isolation "
    '"git+https://github.com/Tencent-Hunyuan/Hunyuan3D-2@9bcf302#subdirectory=hy3dgen/texgen/custom_rasterizer", '
    "or add --generation.paint none",
)


@register("Hunyuan")
class Hunyuan:
    """Hunyuan3D-2, shape and texture."""

    name = "Hunyuan"

    def __init__(self, config: Config) -> None:
        self.check(config)
        self.config = config
        self.device = device_of(config)
        shape = _shape_weights(config)
        self.folder = get_weights(shape, config)
        self.version = fingerprint(shape.repository, self.folder, shape.files)
        self.paint_folder: Path | None = None
        if config.generation.paint == "network":
            paint = _paint_weights()
            self.paint_folder = get_weights(paint, config)
            self.version += fingerprint(paint.repository, self.paint_folder, paint.files)
        if self.device.type == "cpu":
            log.warning("Hunyuan3D-2 works on the CPU, in single precision: this takes long")

    @staticmethod
    def check(config: Config) -> None:
        """Look whether everything is there, in no time.

        Raises:
            Unavailable: a package, weights or a GPU are missing.
        """
        require_packages([PACKAGE])
        if config.generation.paint == "network":
            if device_of(config).type != "cuda":
                raise Unavailable("its texture network needs a CUDA GPU; add --generation.paint none")
            require_packages([RASTERIZER])
            _require_trusting_diffusers()
            require_weights(_paint_weights(), config)
        require_weights(_shape_weights(config), config)

    def generate(self, frame: Frame) -> Asset:
        """See ``Generator``.

        Raises:
            GenerationError: the frame has no foreground, or the network finds no surface in it.
        """
        return shape_and_paint(self.name, frame, self.config, self._surface, self._paint if self.paint_folder else None)

    def _surface(self, picture: np.ndarray, seed: int) -> Surface | None:
        """The surface in the network's volume, None where it holds none."""
        options = self.config.generation
        pipeline, offload = self._shape
        with owners_code(seed):
            (mesh,) = pipeline(
                image=Image.fromarray(picture),
                num_inference_steps=options.steps or STEPS,
                guidance_scale=GUIDANCE,
                octree_resolution=options.resolution or RESOLUTION,
                generator=torch.Generator().manual_seed(seed),
                enable_pbar=False,
            )
        if offload is not None:
            offload.release()  # the texture network comes next
        return None if mesh is None else (np.asarray(mesh.vertices), np.asarray(mesh.faces))

    def _paint(self, surface: Surface, picture: np.ndarray) -> Mesh:
        """The surface with the texture network's colours."""
        import trimesh

        pipeline, bare = self._texture, trimesh.Trimesh(*surface, process=False)
        with owners_code(self.config.seed):
            mesh = pipeline(bare, image=Image.fromarray(picture))
        image = np.asarray(mesh.visual.material.image.convert("RGB"))
        size = self.config.generation.texture_size
        return textured(np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(mesh.visual.uv), image, size)

    @cached_property
    def _shape(self) -> tuple[Any, OneAtATime | None]:
        """The owner's shape pipeline, loaded when the first frame needs it, and what moves its networks, if any."""
        from hy3dgen.shapegen import Hunyuan3DDiTFlowMatchingPipeline

        logging.getLogger("hy3dgen.shapgen").setLevel(logging.WARNING)  # the owner's spelling
        half = self.device.type == "cuda"
        with owners_code(0):  # networks are filled with noise before the weights are read
            pipeline = Hunyuan3DDiTFlowMatchingPipeline.from_pretrained(
                str(self.folder),
                subfolder=_subfolder(self.config),
                device="cpu",
                dtype=torch.float16 if half else torch.float32,
                use_safetensors=True,
                variant="fp16",
            )
        if not self.config.low_vram:
            pipeline.to(self.device)
            return pipeline, None
        pipeline.device = self.device  # where latents are made; the networks come there one at a time
        networks = {name: getattr(pipeline, name) for name in ("conditioner", "model", "vae")}
        return pipeline, OneAtATime(networks, self.device)

    @cached_property
    def _texture(self) -> Any:
        """The owner's texture pipeline, loaded when the first mesh is to be painted."""
        from hy3dgen.texgen import Hunyuan3DPaintPipeline

        with owners_code(0):
            pipeline = Hunyuan3DPaintPipeline.from_pretrained(str(self.paint_folder))
        if self.config.low_vram:
            pipeline.enable_model_cpu_offload(device=self.device)
        return pipeline


def _require_trusting_diffusers() -> None:
    """Refuse a diffusers that cannot load the texture network.

    Raises:
        Unavailable: with the command that installs another.
    """
    found = metadata.version("diffusers")
    if tuple(int(part) for part in found.split(".")[:2]) >= TRUSTING:
        raise Unavailable(
            f'diffusers {found} does not load the texture network of hy3dgen 2.0.2; pip install "diffusers<0.38", '
            "or add --generation.paint none"
        )


def _subfolder(config: Config) -> str:
    return "/".join((config.generation.weights or SHAPE).split("/")[2:])


def _shape_weights(config: Config) -> Weights:
    """Which files the shape pipeline loads.

    Raises:
        Unavailable: ``--generation.weights`` names no sub-folder of a repository.
    """
    parts = (config.generation.weights or SHAPE).split("/")
    if len(parts) < 3:
        raise Unavailable(f"--generation.weights {config.generation.weights}: expected owner/name/sub-folder")
    folder = "/".join(parts[2:])
    files = (f"{folder}/config.yaml", f"{folder}/model.fp16.safetensors")
    return Weights("/".join(parts[:2]), files, files, _owners_places("/".join(parts[:2])))


def _paint_weights() -> Weights:
    repository = "/".join(SHAPE.split("/")[:2])
    files = tuple(f"{folder}/model_index.json" for folder in PAINT)
    return Weights(repository, files, tuple(f"{folder}/*" for folder in PAINT), _owners_places(repository))


def _owners_places(repository: str) -> tuple[Path, ...]:
    """Where the owner's own loader looks first."""
    return (Path(os.environ.get("HY3DGEN_MODELS", "~/.cache/hy3dgen")).expanduser() / repository,)
