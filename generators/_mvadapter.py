"""MV-Adapter: texture of an untextured mesh from six generated orthographic views.

Owner: huanngzh/MV-Adapter (4277e00). TripoSG and CraftsMan3D generate shapes without colours; V2M4 textures both with
this network, and so do we, with V2M4's settings: 768 pixels, 15 steps, guidance 3, views enlarged by RealESRGAN, holes
filled by LaMa.

Axes. The owner reads a mesh y up (``shape_init_mesh_up="+y"``) and rotates it so that its first camera, azimuth -90
in its own z-up space, is on the mesh's +z axis: the front is +z, as in canonical pose, so no rotation is applied.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image

from generators._learned import on_grey
from generators._surface import Surface, textured
from v2m4.config import Config
from v2m4.device import device_of
from v2m4.mesh import Mesh
from v2m4.owners import owners_code
from v2m4.preflight import generators as needs

SIZE, STEPS, GUIDANCE, UV_SIZE = 768, 15, 3.0, 4096
VIEWS = 6
ELEVATION = [0, 0, 0, 0, 89.99, -89.99]
AZIMUTH = [azimuth - 90 for azimuth in (0, 90, 180, 270, 180, 180)]
NEGATIVE_PROMPT = "watermark, ugly, deformed, noisy, blurry, low contrast"


class MVAdapter:
    """Texture network for untextured meshes, conditioned on an image of the object."""

    def __init__(self, config: Config) -> None:
        """Locate the weights; nothing is loaded yet.

        Raises:
            Unavailable: a package, weights or a GPU are missing.
        """
        needs.MVADAPTER.check(config)
        self.config = config
        self.device = device_of(config)
        self.folders = needs.MVADAPTER.folders(config)
        self.version = needs.MVADAPTER.version(config)

    def paint(self, surface: Surface, picture: np.ndarray) -> Mesh:
        """Textured mesh; see ``Painter``."""
        with tempfile.TemporaryDirectory() as scratch:
            bare = Path(scratch) / "bare.glb"
            trimesh.Trimesh(*surface, process=False).export(bare)
            with owners_code(self.config.seed):
                views = self._views(bare, picture)
                views.save(Path(scratch) / "views.png")
                textured_file = self._project(bare, Path(scratch) / "views.png")
            mesh: Any = trimesh.load_mesh(textured_file, process=False)
        image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
        size = self.config.generation.texture_size
        return textured(np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(mesh.visual.uv), image, size)

    def _views(self, bare: Path, picture: np.ndarray) -> Image.Image:
        """Six generated views of the mesh, side by side."""
        from mvadapter.utils import make_image_grid
        from mvadapter.utils.mesh_utils import NVDiffRastContextWrapper, get_orthogonal_camera, load_mesh, render

        device = str(self.device)
        cameras = get_orthogonal_camera(
            elevation_deg=ELEVATION,
            distance=[1.8] * VIEWS,
            left=-0.55,
            right=0.55,
            bottom=-0.55,
            top=0.55,
            azimuth_deg=AZIMUTH,
            device=device,
        )
        rendering = render(
            NVDiffRastContextWrapper(device=device, context_type="cuda"),
            load_mesh(str(bare), rescale=True, device=device),
            cameras,
            height=SIZE,
            width=SIZE,
            render_attr=False,
            normal_background=0.0,
        )
        control = torch.cat([(rendering.pos + 0.5).clamp(0, 1), (rendering.normal / 2 + 0.5).clamp(0, 1)], -1)
        reference = Image.fromarray(on_grey(picture, 0.5)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images = self._pipeline(
            "high quality",
            height=SIZE,
            width=SIZE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            num_images_per_prompt=VIEWS,
            control_image=control.permute(0, 3, 1, 2).to(device),
            control_conditioning_scale=1.0,
            reference_image=reference,
            reference_conditioning_scale=1.0,
            negative_prompt=NEGATIVE_PROMPT,
            cross_attention_kwargs={"scale": 1.0},
            generator=torch.Generator().manual_seed(self.config.seed),
        ).images
        return make_image_grid(images, rows=1)

    def _project(self, bare: Path, views: Path) -> str:
        """Path of a GLB textured by projection of the views."""
        from mvadapter.pipelines.pipeline_texture import ModProcessConfig

        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        textured_file = self._texture(
            mesh_path=str(bare),
            save_dir=str(bare.parent),
            save_name="painted",
            uv_unwarp=True,
            uv_size=UV_SIZE,
            rgb_path=str(views),
            rgb_process_config=ModProcessConfig(view_upscale=True, inpaint_mode="view"),
            camera_azimuth_deg=AZIMUTH,
        )
        return textured_file.shaded_model_save_path

    @cached_property
    def _pipeline(self) -> Any:
        """The multi-view pipeline on Stable Diffusion XL, loaded at first use."""
        from diffusers import AutoencoderKL
        from mvadapter.models.attention_processor import DecoupledMVRowColSelfAttnProcessor2_0
        from mvadapter.pipelines.pipeline_mvadapter_i2mv_sdxl import MVAdapterI2MVSDXLPipeline
        from mvadapter.schedulers.scheduling_shift_snr import ShiftSNRScheduler

        half, base = torch.float16, self.folders[needs.SDXL]
        variant = "fp16" if (base / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists() else None
        vae = AutoencoderKL.from_pretrained(str(self.folders[needs.SDXL_VAE]), torch_dtype=half)
        pipeline = MVAdapterI2MVSDXLPipeline.from_pretrained(str(base), vae=vae, torch_dtype=half, variant=variant)
        pipeline.scheduler = ShiftSNRScheduler.from_scheduler(
            pipeline.scheduler, shift_mode="interpolated", shift_scale=8.0, scheduler_class=None
        )
        pipeline.init_custom_adapter(num_views=VIEWS, self_attn_processor=DecoupledMVRowColSelfAttnProcessor2_0)
        pipeline.load_custom_adapter(str(self.folders[needs.ADAPTER]), weight_name=needs.ADAPTER.files[0])
        pipeline.to(dtype=half)
        if self.config.low_vram:
            pipeline.enable_model_cpu_offload(device=self.device)
        else:
            pipeline.to(device=self.device)
        pipeline.cond_encoder.to(
            device=self.device, dtype=half
        )  # not a registered module of the pipeline, so it is not moved with it
        pipeline.vae.enable_slicing()
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def _texture(self) -> Any:
        """The owner's pipeline that projects the views onto the mesh and inpaints the rest, loaded at first use."""
        from mvadapter.pipelines.pipeline_texture import TexturePipeline

        return TexturePipeline(
            upscaler_ckpt_path=str(self.folders[needs.UPSCALER] / needs.UPSCALER.files[0]),
            inpaint_ckpt_path=str(needs.inpainter_file(self.config)),
            device=str(self.device),
        )
