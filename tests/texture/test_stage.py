from dataclasses import replace

import numpy as np
import pytest
import torch

import texture
from v2m4.config import FAST
from v2m4.workspace import Workspace

OPTIONS = replace(FAST.texture, size=128, views=6, view_size=128)
CONFIG = replace(FAST, device="cpu", texture=OPTIONS)


@pytest.fixture(scope="module")
def inputs(all_round):
    positions = all_round.positions()
    truth = np.clip(0.5 + 0.8 * positions, 0, 1)
    first = all_round.textured(truth).with_vertices(all_round.sequence.vertices[0])
    return all_round.frames(truth), all_round.sequence, first, truth


def test_stage_returns_the_textured_mesh_and_writes_its_files(inputs, all_round, tmp_path):
    frames, sequence, first, truth = inputs
    mesh = texture.run(frames, sequence, first, Workspace(tmp_path), CONFIG)
    assert torch.equal(mesh.vertices, sequence.mesh.vertices) and torch.equal(mesh.faces, sequence.mesh.faces)
    assert mesh.texture.shape == (128, 128, 3) and mesh.texture.min() >= 0 and mesh.texture.max() <= 1
    valid = all_round.texels.valid
    assert np.abs(mesh.texture.numpy() - truth)[valid].mean() < 0.01
    names = {file.name for file in (tmp_path / "4_texture").iterdir()}
    assert names == {"uvs.npz", "texture.npz", "observed.png", "comparison.png"}


def test_second_run_reads_the_files_and_a_changed_option_solves_again(inputs, tmp_path, monkeypatch):
    frames, sequence, first, _ = inputs
    mesh = texture.run(frames, sequence, first, Workspace(tmp_path), CONFIG)
    monkeypatch.setattr("texture.stage.least_squares", None)  # any call fails
    again = texture.run(frames, sequence, first, Workspace(tmp_path), CONFIG)
    assert torch.equal(mesh.texture, again.texture) and torch.equal(mesh.uvs, again.uvs)
    other = replace(CONFIG, texture=replace(OPTIONS, smoothness=1.0))
    with pytest.raises(TypeError):
        texture.run(frames, sequence, first, Workspace(tmp_path), other)


def test_changed_frames_solve_again(inputs, tmp_path):
    frames, sequence, first, _ = inputs
    mesh = texture.run(frames, sequence, first, Workspace(tmp_path), CONFIG)
    dark = [replace(frame, picture=frame.rgba // np.array([2, 2, 2, 1], np.uint8)) for frame in frames]
    other = texture.run(dark, sequence, first, Workspace(tmp_path), CONFIG)
    assert float(other.texture.mean()) < 0.75 * float(mesh.texture.mean())


def test_adam_recovers_the_texture(inputs, all_round, tmp_path):
    frames, sequence, first, truth = inputs
    config = replace(CONFIG, texture=replace(OPTIONS, solver="adam", steps=100))
    mesh = texture.run(frames, sequence, first, Workspace(tmp_path), config)
    assert np.abs(mesh.texture.numpy() - truth)[all_round.texels.valid].mean() < 0.02


def test_numbers_of_frames_and_poses_must_match(inputs, tmp_path):
    frames, sequence, first, _ = inputs
    with pytest.raises(ValueError, match="15 frames, but 16 poses"):
        texture.run(frames[1:], sequence, first, Workspace(tmp_path), CONFIG)
