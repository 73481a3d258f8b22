"""CraftsMan3D: a rectified-flow transformer over the latents of a shape autoencoder. Colours come from MV-Adapter.

Owner: wyysf-98/CraftsMan3D (1626675), source only; weights craftsman3d/craftsman-DoraVAE (``config.yaml``,
``model.ckpt``). The image encoder's configuration is a repository of its own that ``config.yaml`` names.

Axes. The owner's mesh is y up in [-1.05, 1.05]^3. The owner's only word on its front is the first of its encoder's
cameras, "front to back", at -y of a z-up space: that is +z here. V2M4 turns and paints the mesh as TripoSG's, which
agrees, but starts its point-map alignment from the other side ("similar to TRELLIS canonical pose"). Nothing is turned
here; the camera search looks from all sides, so a figure that faces away is found as well.
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
import yaml
from PIL import Image

from generators._memory import OneAtATime
from generators._mvadapter import Painter
from generators._shape import shape_and_paint
from generators._surface import Surface
from generators.base import register
from v2m4.config import Config
from v2m4.frame import Frame
from v2m4.mesh import Asset
from v2m4.weights import (
    Package,
    Weights,
    device_of,
    find_weights,
    fingerprint,
    get_weights,
    owners_code,
    require_packages,
    require_weights,
)

STEPS, GUIDANCE, DEPTH = 50, 7.5, 8  # the owner's; 2^8 cells along a side
PACKAGES = (
    Package(
        "craftsman",
        "git clone https://github.com/wyysf-98/CraftsMan3D && git -C CraftsMan3D checkout 1626675 && "
        "pip install diffusers transformers omegaconf einops jaxtyping typeguard timm pytorch-lightning wandb "
        '"rembg[cpu]", then put the clone on PYTHONPATH',
    ),
)
ENCODERS = {  # the owner's nicknames for repositories
    "dinov2base": "facebook/dinov2-base",
    "dinov2regbase": "facebook/dinov2-with-registers-base",
    "dinov2reglarge": "facebook/dinov2-with-registers-large",
}


@register("Craftsman")
class Craftsman:
    """CraftsMan3D's shape with MV-Adapter's texture."""

    name = "Craftsman"

    def __init__(self, config: Config) -> None:
        self.check(config)
        self.config = config
        self.device = device_of(config)
        weights = _weights(config)
        self.folder = get_weights(weights, config)
        for encoder in _encoders(self.folder):
            get_weights(encoder, config)
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
        if config.generation.paint == "network":
            Painter.check(config)
        require_weights(_weights(config), config)
        folder = find_weights(_weights(config), config)
        for encoder in _encoders(folder) if folder is not None else ():
            require_weights(encoder, config)

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
            offload.release()  # the texture network comes next
        return None if vertices is None else (np.asarray(vertices), np.asarray(faces))

    @cached_property
    def _shape(self) -> tuple[Any, OneAtATime | None]:
        """The owner's pipeline, loaded when the first frame needs it, and what moves its networks, if any."""
        from craftsman import CraftsManPipeline

        offloaded = self.config.low_vram and self.device.type == "cuda"
        with owners_code(0), _inside(self.config.weights_dir):
            pipeline = CraftsManPipeline.from_pretrained(
                str(self.folder),
                device="cpu" if offloaded else str(self.device),
                torch_dtype=torch.bfloat16 if self.device.type == "cuda" else torch.float32,
            )
        if not offloaded:
            return pipeline, None
        networks = {name: getattr(pipeline.system, name) for name in ("condition", "denoiser_model", "shape_model")}
        return pipeline, OneAtATime(networks, self.device)


def _weights(config: Config) -> Weights:
    files = ("config.yaml", "model.ckpt")
    return Weights(config.generation.weights or "craftsman3d/craftsman-DoraVAE", files, files)


def _encoders(folder: Path) -> list[Weights]:
    """The repositories whose configuration the image encoder is built after."""
    condition = yaml.safe_load((folder / "config.yaml").read_text())["system"].get("condition_model", {})
    names = [condition.get(key) for key in ("pretrained_dino_name_or_path", "pretrained_clip_name_or_path")]
    if condition.get("dino_type"):
        names.append(f"facebook/{condition['dino_type']}")
    nickname = condition.get("pretrained_model_name_or_path") or ""
    names += [repository for part, repository in ENCODERS.items() if part in nickname]
    patterns = ("config.json", "preprocessor_config.json", "model.safetensors")
    return [Weights(name, patterns[:2], patterns) for name in names if name]


@contextmanager
def _inside(folder: Path | None) -> Iterator[None]:
    """In the user's folder of weights: the owner asks for the encoder by repository, which is also a path below it."""
    before = Path.cwd()
    if folder is not None:
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
