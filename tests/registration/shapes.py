"""Shapes and pictures of them for the tests of stage 3."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from torch import Tensor

from v2m4.camera import DEFAULT_FOV, Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.render import render


def tensors(shape: trimesh.Trimesh) -> tuple[Tensor, Tensor]:
    return torch.tensor(np.asarray(shape.vertices), dtype=torch.float32), torch.tensor(np.asarray(shape.faces)).long()


def random_rotation(generator: torch.Generator) -> Tensor:
    quaternion = torch.nn.functional.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
    w, x, y, z = quaternion
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + 2 * w * skew + 2 * skew @ skew


def painted(vertices: Tensor, faces: Tensor) -> Mesh:
    """Vertex colours that vary in every direction, so that nothing slides unseen."""
    unit = (vertices - vertices.amin(0)) / (vertices.amax(0) - vertices.amin(0)).clamp_min(1e-6)
    colors = 0.5 + 0.4 * torch.sin(torch.stack([9 * unit[:, 0], 9 * unit[:, 1], 5 * (unit[:, 0] + unit[:, 1])], 1))
    return Mesh(vertices, faces, colors=colors)


def photographed(mesh: Mesh, index: int, size: int = 160, fov: float = DEFAULT_FOV) -> Frame:
    """A frame of a mesh in the video camera's space."""
    seen = render(mesh.vertices, mesh.faces, Camera.identity(fov), size, colors=mesh.colors, channels=("color",))
    mask = seen.mask[0]
    picture = torch.cat([seen.color[0] / mask.clamp_min(1e-3), mask], -1).clamp(0, 1)
    return Frame(str(index), index, (picture * 255).round().byte().numpy(), fov)


def bent(vertices: Tensor, amount: float) -> Tensor:
    """An upright body (along y, about its middle) bent to the side: a circular arc of that angle."""
    if amount == 0:
        return vertices
    length = float(vertices[:, 1].amax() - vertices[:, 1].amin())
    radius = length / amount
    angle = vertices[:, 1] / radius
    x = radius - (radius - vertices[:, 0]) * torch.cos(angle)
    return torch.stack([x, (radius - vertices[:, 0]) * torch.sin(angle), vertices[:, 2]], 1)
