"""Shapes that many tests of stage 3 share."""

from __future__ import annotations

import pytest
import trimesh
from torch import Tensor

from tests.registration.shapes import tensors


@pytest.fixture(scope="session")
def sphere() -> tuple[Tensor, Tensor]:
    return tensors(trimesh.creation.icosphere(subdivisions=3, radius=0.5))


@pytest.fixture(scope="session")
def capsule() -> tuple[Tensor, Tensor]:
    """Upright along y, about the origin, 1 long and 0.3 thick, of well-shaped faces."""
    vertices, faces = tensors(trimesh.creation.icosphere(subdivisions=3, radius=0.15))
    stretched = vertices.clone()
    stretched[:, 1] = vertices[:, 1] * 0.5 / 0.15
    return stretched, faces
