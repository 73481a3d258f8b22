"""TRELLIS's sampler of the latent, opened up for refinement, and pictures of what a latent is decoded to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

SIZE = 518  # pixels, the side of the pictures that V2M4 compares


class SparseFlow:
    """The sampler of the latent, for ``refine``.

    Args:
        pipeline: the owner's.
        condition: the frame's embedding.
        coords: (N, 4) the sparse structure.
        settings: what of the owner's sampler settings is another.
    """

    def __init__(self, pipeline: Any, condition: Tensor, coords: Tensor, settings: dict[str, Any]) -> None:
        self.pipeline, self.condition, self.coords = pipeline, condition, coords
        self.network = pipeline.models["slat_flow_model"]
        self.settings = {"rescale_t": 1.0, "cfg_strength": 3.0, "steps": 50, **pipeline.slat_sampler_params, **settings}
        self.features = torch.randn(len(coords), self.network.in_channels).to(coords.device)
        normal = pipeline.slat_normalization
        self.mean, self.std = (torch.tensor(normal[name])[None].to(coords.device) for name in ("mean", "std"))

    @property
    def times(self) -> list[tuple[float, float]]:
        """See ``Flow``."""
        even = np.linspace(1, 0, self.settings["steps"] + 1)
        rescale = self.settings["rescale_t"]
        at = rescale * even / (1 + (rescale - 1) * even)
        return list(itertools.pairwise(at.tolist()))

    def noise(self) -> Any:
        """See ``Flow``."""
        from trellis.modules.sparse import SparseTensor

        return SparseTensor(feats=self.features, coords=self.coords)

    def step(self, sample: Any, time: float, earlier: float, negative: Tensor) -> tuple[Any, Any]:
        """See ``Flow``; guided at every time, where the owner guides the first half only."""
        clean, _, velocity = self.pipeline.slat_sampler._get_model_prediction(
            self.network,
            sample,
            time,
            self.condition,
            neg_cond=negative,
            cfg_strength=self.settings["cfg_strength"],
            cfg_interval=(0.0, 1.0),
        )
        return sample - (time - earlier) * velocity, clean

    def denormalized(self, latent: Any) -> Any:
        """The latent as the decoders expect it."""
        return latent * self.std + self.mean


def square_window(aspect: float) -> tuple[float, float, float, float]:
    """The smallest square about a whole picture, in fractions of its width and height."""
    wide = max(1.0, 1 / aspect)
    high = max(1.0, aspect)
    return 0.5 - wide / 2, 0.5 - high / 2, 0.5 + wide / 2, 0.5 + high / 2


def mesh_picture(shape: Any, matrix: Tensor, camera: Camera) -> Tensor:
    """The owner's mesh with its own vertex colours on black, (S, S, 3), differentiable."""
    vertices = shape.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    mesh = Mesh(vertices, shape.faces.long(), colors=shape.vertex_attrs[:, :3])
    return render_mesh(mesh, camera, SIZE, channels=("color",)).color[0]


def gaussian_picture(gaussian: Any, matrix: Tensor, camera: Camera) -> Tensor:
    """The owner's Gaussians on black by the owner's renderer, (S, S, 3), differentiable."""
    from trellis.renderers import GaussianRenderer

    similarity = camera.extrinsics[0] @ matrix
    scale = torch.linalg.det(similarity[:3, :3]) ** (1 / 3)
    rigid = similarity.clone()
    rigid[:3] /= scale  # seen from the same place, for depths scale alike
    settings = {"resolution": SIZE, "near": 0.1, "far": 100.0, "ssaa": 1, "bg_color": (0, 0, 0)}
    seen = GaussianRenderer(settings).render(gaussian, rigid, camera.intrinsics((1, 1)))
    return seen["color"].permute(1, 2, 0)
