"""Meshes, cameras and a slow, readable rasteriser to hold the kernels against."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from v2m4.camera import Orbit
from v2m4.render.benchmark import bumpy_sphere

CHILI = Path("/work/shared/data/existing/chili.glb")


def sphere(subdivisions: int = 2, radius: float = 0.4) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) float32 and faces (F, 3) int32."""
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions, radius)
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int32)


def torus() -> tuple[Tensor, Tensor]:
    """A ring that hides parts of itself."""
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.torus(0.32, 0.12, major_sections=48, minor_sections=24)
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int32)


def chili() -> tuple[Tensor, Tensor]:
    """The animated chili's rest pose, in the unit cube."""
    trimesh = pytest.importorskip("trimesh")
    if not CHILI.exists():
        pytest.skip(f"{CHILI} is not here")
    mesh = trimesh.load_scene(CHILI).to_geometry()
    vertices = mesh.vertices - mesh.bounds.mean(0)
    return (
        torch.tensor(vertices / np.ptp(mesh.bounds, axis=0).max(), dtype=torch.float32),
        torch.tensor(mesh.faces, dtype=torch.int32),
    )


def bumpy() -> tuple[Tensor, Tensor]:
    """The benchmark's mesh, coarser."""
    return bumpy_sphere(24, 30)


def clip_of(vertices: Tensor, yaw: float = 0.4, pitch: float = 0.3, radius: float = 2.0) -> Tensor:
    """(1, V, 4) from one orbit camera."""
    return Orbit.of(yaw, pitch, radius).camera().clip(vertices)


def turned(vertices: Tensor, angles: Tensor) -> Tensor:
    """Vertices turned by a rotation vector (3,), differentiable."""
    x, y, z = angles
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return vertices @ torch.matrix_exp(generator).T


def smooth_weight(size: int, channels: int = 1, seed: int = 0) -> Tensor:
    """A picture (1, size, size, channels) that varies slowly, to weigh pixels with in a loss."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    phase = 2 * math.pi * torch.rand((3, channels), generator=generator)
    waves = torch.stack([x, y, x + y], -1)[..., None] * 3 + phase
    return 1.5 + torch.sin(waves).sum(-2)[None]


def rasterize_slowly(pos: np.ndarray, tri: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One view, every triangle at every pixel, in float64: pos (V, 4), tri (F, 3) -> (H, W, 4)."""
    height, width = size
    x = (2 * np.arange(width) + 1) / width - 1
    y = (2 * np.arange(height) + 1) / height - 1
    rays = np.stack([*np.meshgrid(x, y), np.ones(size)], -1)
    rast, depth = np.zeros((*size, 4)), np.full(size, np.inf)
    for face, corners in enumerate(tri):
        p = pos[corners].astype(np.float64)
        matrix = p[:, [0, 1, 3]].T
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        edges = rays @ np.linalg.inv(matrix).T  # barycentric coordinates over w
        total = edges.sum(-1)
        z = edges @ p[:, 2]
        seen = (edges >= 0).all(-1) & (total > 0) & (abs(z) <= 1) & (z < depth)
        depth[seen] = z[seen]
        rast[seen, :2] = edges[seen, :2] / total[seen, None]
        rast[seen, 2], rast[seen, 3] = z[seen], face + 1
    return rast
