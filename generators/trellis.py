"""TRELLIS: a sparse structure, then a latent on it, each by a rectified flow; decoded to a mesh and to 3D Gaussians.

Owner: microsoft/TRELLIS (6b0d647), source only, CUDA only; weights microsoft/TRELLIS-image-large, and DINOv2 through
torch.hub (``facebookresearch/dinov2``).

Axes. The owner's space is z up, the object in [-0.5, 0.5]^3; its own GLB export rotates (x, y, z) to (x, z, -y), and so
do we, which maps the direction -y, which most assets of its training set face, to +z. V2M4 assumed the opposite: it
starts its point-map alignment from a camera at +y ("sometimes it works, but sometimes it fails, due to different
initial pose"). Users report that the yaw differs from image to image (TRELLIS issues 159 and 170), so neither is
always right; the camera search covers all directions.

The texture is baked from the Gaussians by the owner's code (``--generation.paint network``); ``none`` keeps the vertex
colours of the mesh decoder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

from generators._learned import LearnedGenerator, first_surface, object_image
from generators._memory import SequentialOffload
from generators._refine import Term, appearance_loss, refine
from generators._surface import Z_UP, Surface, canonical_transform, clean_surface, colored, textured, transformed
from generators._torch_hub import from_disk
from generators._trellis_flow import SIZE, SparseFlow, render_decoded_mesh, render_gaussians, square_window
from generators.base import GenerationError, register
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh
from v2m4.owners import owners_code
from v2m4.preflight.generators import DINO_CODE
from v2m4.weights import installed

MANY_FACES = 20  # times max_faces is the number of faces that the owner's post-processing starts from
HOLE_AREA, HOLE_VIEWS, HOLE_SIZE, HOLE_EDGES = 0.04, 1000, 1024, 250  # the owner's defaults


@register("TRELLIS")
class Trellis(LearnedGenerator):
    """TRELLIS's mesh with its own texture."""

    name = "TRELLIS"

    def generate(self, frame: Frame) -> Asset:
        """Asset of a frame; see ``Generator``.

        Raises:
            GenerationError: the frame has no foreground, or the network finds no surface in it.
        """
        picture = Image.fromarray(object_image(frame))
        outputs = first_surface(self.name, frame, self.config.seed, lambda seed: self._sample(picture, seed))
        try:
            return Asset(self._to_mesh(outputs)[0])
        except ValueError as error:
            raise GenerationError(f"frame {frame.name}: {error}") from error

    def refine(self, frame: Frame, camera: Camera, terms: Sequence[Term] = ()) -> Mesh:
        """Mesh with refined appearance, see ``AppearanceRefiner``: its latent is sampled again on the same structure.

        The shape may change slightly, too, since the latent encodes both. The structure is sampled again rather than
        stored, so that the result depends on the frame, the camera and the config only.

        Raises:
            GenerationError: see ``generate``.
        """
        pipeline, _ = self._pipeline
        picture = Image.fromarray(object_image(frame))
        outputs = first_surface(self.name, frame, self.config.seed, lambda seed: self._sample(picture, seed))
        matrix = self._to_mesh(outputs)[1].to(self.device)
        with owners_code(outputs["seed"]):
            condition = pipeline.get_cond([pipeline.preprocess_image(picture)])
            torch.manual_seed(outputs["seed"])  # as the owner does, after the image is encoded
            with torch.no_grad():
                coords = pipeline.sample_sparse_structure(condition, 1, self._steps())
            flow = SparseFlow(pipeline, condition["cond"], coords, self._steps())
            square = camera.to(self.device).cropped(square_window(camera.aspect))
            reference, mask = (value.to(self.device) for value in frame.tensors(SIZE, square.window, background=0.0))

            def loss_of(latent: Any) -> Tensor:
                decoded = pipeline.decode_slat(flow.denormalized(latent), ["mesh", "gaussian"])
                renders = (
                    render_decoded_mesh(decoded["mesh"][0], matrix, square),
                    render_gaussians(decoded["gaussian"][0], matrix, square),
                )
                return torch.stack([appearance_loss(render, reference, mask, terms) for render in renders]).sum()

            refined = refine(flow, condition["neg_cond"], loss_of)
            with torch.no_grad():
                outputs = pipeline.decode_slat(flow.denormalized(refined.sample), self._formats())
        if not outputs["mesh"][0].success:
            raise GenerationError(f"frame {frame.name}: refinement left no surface; add --generation.refine no")
        return self._to_mesh(outputs, matrix)[0]

    def _formats(self) -> list[str]:
        """Formats to decode: mesh, and Gaussians if a texture is baked from them."""
        return ["mesh", "gaussian"] if self.config.generation.paint == "network" else ["mesh"]

    def _steps(self) -> dict[str, int]:
        """Sampler settings that the user has chosen."""
        return {"steps": self.config.generation.steps} if self.config.generation.steps else {}

    def _sample(self, picture: Image.Image, seed: int) -> dict[str, Any] | None:
        """The pipeline's outputs; None if they contain no surface."""
        pipeline, offload = self._pipeline
        with owners_code(seed):
            outputs = pipeline.run(
                picture,
                seed=seed,
                sparse_structure_sampler_params=self._steps(),
                slat_sampler_params=self._steps(),
                formats=self._formats(),
            )
        if offload is not None:
            offload.release()
        return outputs | {"seed": seed} if outputs["mesh"][0].success else None

    def _to_mesh(self, outputs: dict[str, Any], matrix: Tensor | None = None) -> tuple[Mesh, Tensor]:
        """Clean, coloured mesh in canonical pose, and the similarity (4, 4) from the owner's space to it.

        Args:
            outputs: of the pipeline.
            matrix: similarity to use instead, of an earlier mesh of the same frame.

        Raises:
            ValueError: no face is left after cleaning.
        """
        from trellis.utils import postprocessing_utils

        raw = outputs["mesh"][0]
        vertices, faces = raw.vertices.detach().cpu().numpy(), raw.faces.detach().cpu().numpy()
        ratio = max(0.0, 1 - MANY_FACES * self.config.max_faces / len(faces))
        with owners_code(self.config.seed):
            surface = postprocessing_utils.postprocess_mesh(
                vertices,
                faces,
                simplify=ratio > 0,
                simplify_ratio=ratio,
                fill_holes=True,
                fill_holes_max_hole_size=HOLE_AREA,
                fill_holes_max_hole_nbe=int(HOLE_EDGES * (1 - ratio) ** 0.5),
                fill_holes_resolution=HOLE_SIZE,
                fill_holes_num_views=HOLE_VIEWS,
            )
        surface = clean_surface(surface, self.config.max_faces)
        matrix = canonical_transform(surface, Z_UP) if matrix is None else matrix.cpu()
        if "gaussian" in outputs:
            return self._bake_texture(outputs["gaussian"][0], surface, matrix), matrix
        colors = raw.vertex_attrs.detach()[:, :3].float().clamp(0, 1).cpu()
        nearest = torch.from_numpy(cKDTree(vertices).query(surface[0])[1])
        return colored(transformed(surface, matrix), colors[nearest]), matrix

    def _bake_texture(self, gaussian: Any, surface: Surface, matrix: Tensor) -> Mesh:
        """Surface with a texture baked from the Gaussians by the owner's export, which also rotates it to y up."""
        from trellis.utils import postprocessing_utils

        size = self.config.generation.texture_size
        shape = SimpleNamespace(vertices=torch.from_numpy(surface[0]), faces=torch.from_numpy(surface[1]))
        with owners_code(self.config.seed):
            glb = postprocessing_utils.to_glb(
                gaussian, shape, simplify=0.0, fill_holes=False, texture_size=size, verbose=False
            )
        export_rotation = torch.eye(4)
        export_rotation[:3, :3] = Z_UP
        pose = matrix @ torch.linalg.inv(export_rotation)  # without the rotation that the export has applied
        vertices, faces = transformed((np.asarray(glb.vertices), np.asarray(glb.faces)), pose)
        image = np.asarray(glb.visual.material.baseColorTexture.convert("RGB"))
        return textured(vertices, faces, np.asarray(glb.visual.uv), image, size)

    @cached_property
    def _pipeline(self) -> tuple[Any, SequentialOffload | None]:
        """The owner's pipeline, loaded at first use, and its offloading with ``--low_vram``."""
        os.environ.setdefault("SPCONV_ALGO", "native")  # no benchmarking at every new shape
        if not installed("flash_attn"):
            os.environ.setdefault("ATTN_BACKEND", "xformers")
        from trellis.pipelines import TrellisImageTo3DPipeline

        with owners_code(0), from_disk(DINO_CODE, self.config):
            pipeline = TrellisImageTo3DPipeline.from_pretrained(str(self.folder))
        for network in pipeline.models.values():
            network.requires_grad_(False)
        if not self.config.low_vram:
            pipeline.to(self.device)
            return pipeline, None
        # The owner creates noise on the device of one of its networks, which may be offloaded.
        pipeline.__class__ = type("Placed", (type(pipeline),), {"device": self.device})
        return pipeline, SequentialOffload(pipeline.models, self.device)
