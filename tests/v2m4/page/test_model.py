"""The animation inside of the page: the file itself, or a smaller copy that says so."""

import base64
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.v2m4.page.results import make_result
from v2m4.export import ANIMATION
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh
from v2m4.page.model import EmbeddedModel, _smaller_mesh, embedded_model, embedded_skeleton
from v2m4.page.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("model") / "ball"
    make_result(folder, 31)
    return Run.read(folder)


def unpacked(model: EmbeddedModel) -> bytes:
    return gzip.decompress(base64.b64decode(model.text))


def test_what_fits_is_embedded_as_it_is(run: Run) -> None:
    model = embedded_model(run, 10**7)
    assert unpacked(model) == (run.folder / ANIMATION).read_bytes()
    assert model.note == ""


def test_a_smaller_copy_moves_the_same_way(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2m4.page.model.FACES", (600, 300))
    monkeypatch.setattr("v2m4.page.model.POSE_RATE", 5.0)
    whole = len(embedded_model(run, 10**7).text)
    model = embedded_model(run, whole // 2)
    assert len(model.text) <= whole // 2
    assert "one pose in 2 frames" in model.note
    assert "about 600 faces" in model.note
    (tmp_path / "copy.glb").write_bytes(unpacked(model))
    copy = read_animation(tmp_path / "copy.glb", times=run.times)
    original = read_animation(run.folder / ANIMATION, times=run.times)
    assert 300 < len(copy.mesh.faces) <= 600
    centres = [(each.vertices.amin(1) + each.vertices.amax(1)) / 2 for each in (copy, original)]
    torch.testing.assert_close(centres[0], centres[1], atol=0.02, rtol=0)
    assert copy.mesh.colors is not None
    assert np.ptp(copy.mesh.colors.numpy(), axis=0).min() > 0.1


def test_what_never_fits_is_an_error(run: Run) -> None:
    with pytest.raises(ValueError, match="not even a decimated copy"):
        embedded_model(run, 1000)


def test_a_large_texture_is_reduced() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]), uvs=vertices[:, :2], texture=torch.rand(64, 128, 3))
    small, source = _smaller_mesh(mesh, 0, 32)
    assert small.texture is not None
    assert small.texture.shape == (16, 32, 3)
    assert source.tolist() == [0, 1, 2]


def test_without_a_rig_there_is_no_skeleton(run: Run) -> None:
    assert embedded_skeleton(run) is None
