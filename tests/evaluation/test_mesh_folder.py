"""The first mesh of a folder of true meshes: its texture lies where the data say, and what is missing is named."""

import shutil

import numpy as np
import pytest
import torch

from evaluation import mesh_folder
from evaluation.mesh_folder import TEXTURE, read_first_mesh
from evaluation.sequences import FACES
from tests.evaluation.release_folder import EXAMPLES, write_meshes
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.gltf import read_glb

EXAMPLE = "walking_dino"


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock") / "pcds"
    write_meshes(folder, EXAMPLE, [0, 5])
    return folder


@pytest.fixture
def folder(stock, tmp_path):
    shutil.copytree(stock, tmp_path / "pcds")
    return tmp_path / "pcds"


def face_colors(mesh) -> torch.Tensor:
    """The texture's colour at the centre of every face's UVs, (F, 3); row 0 of the texture is v = 0."""
    centres = mesh.uvs[mesh.faces if mesh.uv_faces is None else mesh.uv_faces].mean(1)
    height, width = mesh.texture.shape[:2]
    return mesh.texture[(centres[:, 1] * height).long(), (centres[:, 0] * width).long()]


def test_the_first_mesh_has_the_truths_shape_and_colours(folder, tmp_path):
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{EXAMPLE}.npz")
    assert mesh_folder.main([str(folder), str(tmp_path / "first.glb")]) == 0
    mesh = read_glb(tmp_path / "first.glb")
    torch.testing.assert_close(mesh.bounds(), read_first_mesh(folder).bounds())
    corners = mesh.vertices[mesh.faces]
    torch.testing.assert_close(corners, truth.positions()[0][torch.from_numpy(truth.faces.astype(np.int64))])
    expected = torch.from_numpy(truth.colors[truth.faces].mean(1).round() / 255).float()
    torch.testing.assert_close(face_colors(mesh), expected, atol=1 / 255, rtol=0)


@pytest.mark.parametrize("name", [FACES, TEXTURE])
def test_a_missing_file_is_named(folder, caplog, name):
    (folder / name).unlink()
    assert mesh_folder.main([str(folder), str(folder / "first.glb")]) == 1
    assert f"{folder / name}: no such file" in caplog.text
    assert not (folder / "first.glb").exists()


def test_a_broken_texture_is_refused(folder):
    (folder / TEXTURE).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not readable as face_uvs and texture_array"):
        read_first_mesh(folder)
    texture = np.zeros((4, 4, 3), np.uint8)
    np.savez(folder / TEXTURE, face_uvs=np.zeros((7, 3, 2)), texture_array=texture)
    with pytest.raises(ValueError, match=r"face_uvs of 7 faces, but faces.npy has 9620"):
        read_first_mesh(folder)
    np.savez(folder / TEXTURE, face_uvs=np.zeros((7, 3)), texture_array=texture)
    with pytest.raises(ValueError, match=r"expected shape \(F, 3, 2\), got \(7, 3\)"):
        read_first_mesh(folder)
    np.savez(folder / TEXTURE, face_uvs=np.zeros((7, 3, 2)), texture_array=texture[0])
    with pytest.raises(ValueError, match=r"texture_array: expected shape"):
        read_first_mesh(folder)
