"""An asset's copy is brighter by the exposure, and otherwise the same."""

from pathlib import Path

import pytest
import torch
import trimesh

from evaluation.exposed_asset import write_exposed
from v2m4.io.gltf import read_glb, write_glb
from v2m4.io.srgb import srgb_to_linear
from v2m4.mesh import Mesh


def _box(path: Path, color: float) -> Path:
    box = trimesh.creation.box((1, 1, 1))
    box.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[color, color, color, 1.0])
    )
    box.export(path)
    return path


def test_base_colours_are_multiplied(tmp_path: Path) -> None:
    write_exposed(_box(tmp_path / "a.glb", 0.1), tmp_path / "b.glb", 1.0)
    before, after = read_glb(tmp_path / "a.glb"), read_glb(tmp_path / "b.glb")
    torch.testing.assert_close(after.vertices, before.vertices)
    assert before.colors is not None
    assert after.colors is not None
    linear = [srgb_to_linear(mesh.colors.numpy()).mean() for mesh in (before, after)]
    assert linear[1] == pytest.approx(2 * linear[0], rel=0.02)


def test_without_exposure_the_copy_is_equal(tmp_path: Path) -> None:
    source = _box(tmp_path / "a.glb", 0.1)
    write_exposed(source, tmp_path / "folder" / "b.glb", 0.0)
    assert (tmp_path / "folder" / "b.glb").read_bytes() == source.read_bytes()


def test_what_cannot_be_brightened_is_refused(tmp_path: Path) -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2]])
    textured = Mesh(corners, faces, corners[:, :2], faces, torch.rand(4, 4, 3))
    write_glb(tmp_path / "a.glb", textured)
    with pytest.raises(ValueError, match="has a texture"):
        write_exposed(tmp_path / "a.glb", tmp_path / "b.glb", 2.0)
    (tmp_path / "c.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="only a GLB"):
        write_exposed(tmp_path / "c.obj", tmp_path / "d.glb", 2.0)
