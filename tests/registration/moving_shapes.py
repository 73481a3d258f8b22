"""A textured body of known motion, looked at from still cameras, for the tests of tracking."""

from __future__ import annotations

import math

import numpy as np
import torch
import trimesh

from tests.registration.shapes import tensors
from v2m4.mesh import Mesh, PosedAsset

AWAY = torch.tensor([0.1, -0.05, 3.0])


def speckled(subdivisions: int = 4, radius: float = 0.4) -> Mesh:
    """An ellipsoid about the origin with colours of fine, smooth noise."""
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))
    draw = np.random.default_rng(0)
    waves = torch.from_numpy(draw.normal(0, 9, (3, 24))).float()
    phases = torch.from_numpy(draw.uniform(0, 2 * np.pi, 24)).float()
    colors = torch.sin(vertices / radius @ waves + phases).reshape(-1, 3, 8).mean(2)
    return Mesh(vertices * torch.tensor([1.0, 1.2, 0.8]), faces, colors=(0.5 + 0.9 * colors).clamp(0, 1))


def motion(time: float, turn: float = 5.0, step: float = 0.02) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotation (3, 3) about y by ``turn`` degrees a frame, and translation (3,) by ``step`` a frame."""
    angle = math.radians(turn * time)
    sin, cos = math.sin(angle), math.cos(angle)
    rotation = torch.tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    return rotation, AWAY + time * step * torch.tensor([1.0, 0.4, -0.3])


def at(mesh: Mesh, time: float, **options: float) -> Mesh:
    """The mesh of a frame, in the video camera's space."""
    rotation, translation = motion(time, **options)
    return mesh.with_vertices(mesh.vertices @ rotation.T + translation)


def shuffled(mesh: Mesh, seed: int) -> Mesh:
    """The same surface with vertices and faces in another order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(mesh.vertices), generator=generator)
    turns = torch.randperm(len(mesh.faces), generator=generator)
    colors = None if mesh.colors is None else mesh.colors[order]
    return Mesh(mesh.vertices[order], torch.argsort(order)[mesh.faces][turns], colors=colors)


def clip(frames: int, **options: float) -> list[PosedAsset]:
    """One mesh for each frame, each with an order of its own; the first has the order of ``speckled()``."""
    mesh, upright = speckled(), torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    meshes = [at(mesh, 0.0, **options)]
    meshes += [shuffled(at(mesh, time, **options), time) for time in range(1, frames)]
    return [PosedAsset(found, upright) for found in meshes]
