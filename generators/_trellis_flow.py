"""TRELLIS's sampler of the structured latent for refinement, and differentiable renders of a decoded latent."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

SIZE = 518  # side of the images that V2M4 compares, pixels


class SparseFlow:
    """Flow-matching sampler of the structured latent; implements ``Flow``.

    Args:
        pipeline: the owner's pipeline.
        condition: the frame's embedding.
        coords: (N, 4) the sparse structure.
        settings: replace the owner's sampler settings of the same names.
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
        """Time of each step and of the next one; see ``Flow``."""
        uniform_times = np.linspace(1, 0, self.settings["steps"] + 1)
        rescale = self.settings["rescale_t"]
        rescaled_times = rescale * uniform_times / (1 + (rescale - 1) * uniform_times)
        return list(itertools.pairwise(rescaled_times.tolist()))

    def noise(self) -> Any:
        """Initial noise on the sparse structure; see ``Flow``."""
        from trellis.modules.sparse import SparseTensor

        return SparseTensor(feats=self.features, coords=self.coords)

    def step(self, sample: Any, time: float, next_time: float, negative: Tensor) -> tuple[Any, Any]:
        """One guided step, see ``Flow``; guidance is applied at all times, by the owner in the first half only."""
        clean, _, velocity = self.pipeline.slat_sampler._get_model_prediction(
            self.network,
            sample,
            time,
            self.condition,
            neg_cond=negative,
            cfg_strength=self.settings["cfg_strength"],
            cfg_interval=(0.0, 1.0),
        )
        return sample - (time - next_time) * velocity, clean

    def denormalized(self, latent: Any) -> Any:
        """Latent with the decoders' mean and standard deviation."""
        return latent * self.std + self.mean


def square_window(aspect: float) -> tuple[float, float, float, float]:
    """Smallest square window about a whole image, x0, y0, x1, y1 in fractions of its width and height."""
    width = max(1.0, 1 / aspect)
    height = max(1.0, aspect)
    return 0.5 - width / 2, 0.5 - height / 2, 0.5 + width / 2, 0.5 + height / 2


def render_decoded_mesh(shape: Any, matrix: Tensor, camera: Camera) -> Tensor:
    """Render (S, S, 3) of the decoded mesh with its vertex colours on black, differentiable."""
    vertices = shape.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    mesh = Mesh(vertices, shape.faces.long(), colors=shape.vertex_attrs[:, :3])
    return render_mesh(mesh, camera, SIZE, channels=("color",)).color[0]


def render_gaussians(gaussian: Any, matrix: Tensor, camera: Camera) -> Tensor:
    """Render (S, S, 3) of the decoded Gaussians on black by the owner's renderer, differentiable."""
    from trellis.renderers import GaussianRenderer

    similarity = camera.extrinsics[0] @ matrix
    scale = torch.linalg.det(similarity[:3, :3]) ** (1 / 3)
    rigid = similarity.clone()
    rigid[:3] /= scale  # the same image, since all depths are scaled equally
    settings = {"resolution": SIZE, "near": 0.1, "far": 100.0, "ssaa": 1, "bg_color": (0, 0, 0)}
    rendering = GaussianRenderer(settings).render(gaussian, rigid, camera.intrinsics((1, 1)))
    return rendering["color"].permute(1, 2, 0)
