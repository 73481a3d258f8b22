"""Small scenes for stage 4: a round object in front of the video's camera, textured, and its frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from texture.system import Seams
from texture.texels import TexelMap, seam_lookups, texel_map
from texture.unwrap import Atlas, unwrap
from v2m4.camera import DEFAULT_FOV, Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence
from v2m4.render import render_mesh

SIZE = 128  # texels
PIXELS = 160


@dataclass(frozen=True)
class Scene:
    """A mesh in the video camera's space, its poses, and what a solver may know about its atlas."""

    sequence: MeshSequence
    atlas: Atlas
    texels: TexelMap
    seams: Seams

    @property
    def mesh(self) -> Mesh:
        return self.sequence.mesh

    @property
    def faces(self) -> np.ndarray:
        return self.mesh.faces.numpy()

    def textured(self, texture: np.ndarray) -> Mesh:
        uvs, uv_faces = torch.from_numpy(self.atlas.uvs), torch.from_numpy(self.atlas.uv_faces)
        return replace(self.mesh, uvs=uvs, uv_faces=uv_faces, texture=torch.from_numpy(texture.astype(np.float32)))

    def positions(self) -> np.ndarray:
        """Rest positions (H, W, 3) of the texels, 0 outside the charts."""
        result = np.zeros((SIZE, SIZE, 3), dtype=np.float32)
        result[self.texels.valid] = self.texels.interpolate(self.mesh.vertices.numpy(), self.faces)
        return result

    def frames(self, texture: np.ndarray) -> list[Frame]:
        """The poses as the identity camera sees them, with hard outlines and colours that fit in 8 bits."""
        mesh = self.textured(texture)
        return [picture(mesh.with_vertices(pose), index) for index, pose in enumerate(self.sequence.vertices)]


def picture(mesh: Mesh, index: int = 0, fov: float = DEFAULT_FOV) -> Frame:
    shown = render_mesh(mesh, Camera.identity(fov), PIXELS, channels=("color",), antialias=False)
    rgba = torch.cat([shown.color[0], shown.mask[0]], -1)
    return Frame(str(index), index, (rgba * 255).round().to(torch.uint8).numpy(), fov)


def turned(vertices: Tensor, yaw: float) -> Tensor:
    """Turned about the object's own vertical axis, two units in front of the camera."""
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float32)
    return vertices @ rotation.T + torch.tensor([0.0, 0.0, 2.0])


def make_scene(yaws: np.ndarray) -> Scene:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    vertices = torch.from_numpy(np.asarray(ball.vertices, dtype=np.float32)) * torch.tensor([0.8, 1.0, 0.6])
    faces = torch.from_numpy(np.asarray(ball.faces, dtype=np.int64))
    poses = torch.stack([turned(vertices, yaw) for yaw in yaws])
    sequence = MeshSequence(poses, Mesh(vertices, faces), np.arange(len(yaws), dtype=np.float64))
    atlas = unwrap(vertices.numpy(), faces.numpy(), SIZE)
    return Scene(sequence, atlas, texel_map(atlas, SIZE), Seams(*seam_lookups(atlas, faces.numpy(), SIZE)))


@pytest.fixture(scope="session")
def all_round() -> Scene:
    """Sixteen poses that show every side (and the poles at a slant)."""
    return make_scene(np.arange(16) * np.pi / 8)


@pytest.fixture(scope="session")
def front_only() -> Scene:
    """Three poses that never show the back."""
    return make_scene(np.array([-0.2, 0.0, 0.2]))
