"""An FBX that Blender wrote of our animation is read back as the same motion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from tests.v2m4.io.blender_here import BLENDER, needs_blender
from v2m4.io.blender import export_with_blender
from v2m4.io.fbx import fbx_to_glb
from v2m4.io.gltf import write_animation_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh, MeshSequence


def tetrahedra(frames: int, fps: float) -> MeshSequence:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    poses = torch.stack(
        [corners * (1 + 0.1 * frame) + torch.tensor([0.0, 0.2, 0.0]) * frame for frame in range(frames)]
    )
    return MeshSequence(poses, Mesh(corners, faces), np.arange(frames) / fps)


@needs_blender
@pytest.mark.parametrize("fps", [24.0, 12.5])
def test_fbx_comes_back_as_the_same_motion(tmp_path: Path, fps: float) -> None:
    sequence = tetrahedra(5, fps)
    glb = tmp_path / "a.glb"
    write_animation_glb(glb, sequence)
    (fbx,) = export_with_blender(glb, BLENDER, fps=fps, frames=5, formats=(".fbx",))
    converted = fbx_to_glb(fbx, tmp_path / "b.glb", BLENDER)
    back = read_animation(converted)
    if fps.is_integer():
        assert len(back) == 5
        assert np.allclose(np.diff(back.times), 1 / fps, atol=1e-4)
    else:  # the keys are at a whole rate
        back = read_animation(converted, times=back.times[0] + np.arange(5) / fps)
    for index in range(5 if fps.is_integer() else 4):  # the last pose lies between two keys then
        distances, _ = cKDTree(back.vertices[index].numpy()).query(sequence.vertices[index].numpy())
        assert distances.max() < 1e-4


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.fbx: no such file"):
        fbx_to_glb(tmp_path / "none.fbx", tmp_path / "out.glb", tmp_path)
    (tmp_path / "a.fbx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no Blender executable"):
        fbx_to_glb(tmp_path / "a.fbx", tmp_path / "out.glb", tmp_path)
