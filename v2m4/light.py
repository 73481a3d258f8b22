"""Lighting of synthetic pictures: two wrapped directional lights and a hemispherical sky."""

from __future__ import annotations

import torch
from torch import Tensor

from v2m4.camera import Orbit
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear

SKY, GROUND = (0.52, 0.56, 0.62), (0.34, 0.30, 0.28)
LIGHTS = (  # direction to the light in camera axes (x right, y up, z back), colour, wrap
    ((-0.55, 0.75, 0.65), (0.74, 0.70, 0.64), 0.25),
    ((0.85, 0.20, 0.45), (0.15, 0.18, 0.24), 0.35),
)


def shade(colors: Tensor, normals: Tensor, occlusion: Tensor, orbit: Orbit) -> Tensor:
    """Shade colours by wrapped Lambertian lights, fixed relative to the video's camera, and a sky with occlusion.

    Args:
        colors: (..., 3) albedo, sRGB.
        normals: (..., 3) world normals of any length.
        occlusion: (..., 1) visible fraction of the sky.
        orbit: the video's camera.

    Returns:
        (..., 3) sRGB.
    """
    normals = torch.nn.functional.normalize(normals, dim=-1)
    rotation = orbit.camera().extrinsics[0, :3, :3] * torch.tensor([1.0, -1.0, -1.0])[:, None]  # world to x, up, back
    up = 0.5 + 0.5 * normals[..., 1:2]
    light = occlusion * (up * torch.tensor(SKY) + (1 - up) * torch.tensor(GROUND))
    for direction, color, wrap in LIGHTS:
        towards = torch.nn.functional.normalize(torch.tensor(direction), dim=0) @ rotation
        facing = (((normals * towards).sum(-1, keepdim=True) + wrap) / (1 + wrap)).clamp_min(0)
        light = light + (0.5 + 0.5 * occlusion) * facing * torch.tensor(color)
    return torch.from_numpy(linear_to_srgb(srgb_to_linear(colors.numpy()) * light.numpy()))
