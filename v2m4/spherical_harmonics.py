"""Spherical harmonics of surface normals: the shading of matte surfaces by distant light.

Up to the second order they hold nearly all that a matte surface shows of distant light (Ramamoorthi and Hanrahan 2001,
"An efficient representation for irradiance environment maps").
"""

from __future__ import annotations

import torch
from torch import Tensor


def spherical_harmonics(normals: Tensor) -> Tensor:
    """Real spherical harmonics (N, 9) of unit vectors (N, 3), up to the second order, without their constants."""
    x, y, z = normals.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], 1)
