from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from generators import base
from generators.prior import generator
from generators.prior.network import Prior
from generators.prior.weights import write_weights
from v2m4.config import FAST
from v2m4.frame import Frame
from v2m4.weights import Unavailable

CONFIG = replace(FAST, max_faces=2000, generation=replace(FAST.generation, grid=64, texture_size=128))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    network = Prior()
    torch.nn.init.normal_(network.head.weight, std=0.02)
    path = tmp_path / "weights.safetensors"
    write_weights(path, network.state_dict())
    monkeypatch.setattr(generator, "FILE", path)
    return path


@pytest.fixture
def frame() -> Frame:
    rgba = np.zeros((160, 160, 4), np.uint8)
    cv2.ellipse(rgba, (80, 70), (30, 50), 20, 0, 360, (200, 120, 40, 255), -1)
    return Frame("frame", 0, rgba)


def test_mesh_of_the_registered_generator_is_closed_and_deterministic(weights: Path, frame: Frame) -> None:
    made = base.create("Prior", CONFIG)
    assert made.name == "Prior"
    first, second = made.generate(frame), made.generate(frame)
    mesh = trimesh.Trimesh(first.mesh.vertices.numpy(), first.mesh.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert first.mesh.texture is not None
    assert torch.equal(first.mesh.vertices, second.mesh.vertices)


def test_result_depends_on_the_version_of_the_weights(weights: Path) -> None:
    before = generator.Prior(CONFIG).version
    state = Prior().state_dict()
    write_weights(weights, state, {"note": "longer header, other size" * 10})
    assert generator.Prior(CONFIG).version != before


def test_a_picture_of_no_body_gives_the_mesh_of_inflate(
    weights: Path, frame: Frame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(generator, "MIN_BODY_LOGIT", 1.0)
    with caplog.at_level("INFO"):
        asset = generator.Prior(CONFIG).generate(frame)
    assert "Inflate takes over" in caplog.text
    expected = base.create("Inflate", CONFIG).generate(frame)
    assert torch.allclose(asset.mesh.vertices, expected.mesh.vertices, atol=1e-5)


def cloud(seed: int, size: int = 192) -> Frame:
    """A grey patch with a fractal outline and fractal brightness."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency[None]) + 1 / size

    def noise() -> np.ndarray:
        values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / radius**1.8).real
        return values / values.std()

    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    label = cv2.connectedComponents((1.6 * (0.6 - np.hypot(x, 1.3 * y)) + 0.5 * noise() > 0).astype(np.uint8))[1]
    mask = label == np.bincount(label[label > 0]).argmax()
    grey = (200 + 40 * noise()).clip(0, 255)
    return Frame("cloud", 0, np.dstack([grey, grey, grey, 255 * mask]).astype(np.uint8))


def test_the_shipped_network_tells_a_cloud_from_the_example(caplog: pytest.LogCaptureFixture) -> None:
    made = base.create("Prior", CONFIG)
    with caplog.at_level("INFO"):
        made.generate(cloud(0))
    assert "Inflate takes over" in caplog.text
    caplog.clear()
    path = sorted((Path(__file__).parents[3] / "examples").glob("*/*.png"))[0]
    rgba = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    with caplog.at_level("INFO"):
        made.generate(Frame("body", 0, rgba))
    assert "Inflate takes over" not in caplog.text


def test_missing_weights_are_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "FILE", tmp_path / "none.safetensors")
    with pytest.raises(Unavailable, match="use --model Inflate"):
        base.create("Prior", CONFIG)


def test_empty_frame_names_the_frame(weights: Path) -> None:
    with pytest.raises(base.GenerationError, match="frame empty"):
        base.create("Prior", CONFIG).generate(Frame("empty", 0, np.zeros((64, 64, 4), np.uint8)))


def test_clip_of_empty_frames_names_the_frame(weights: Path) -> None:
    empty = Frame("empty", 0, np.zeros((64, 64, 4), np.uint8))
    with pytest.raises(base.GenerationError, match="frame empty"):
        generator.Prior(CONFIG).of_clip([empty]).generate(empty)


def test_single_frame_clip_gives_the_mesh_of_the_frame(weights: Path, frame: Frame) -> None:
    alone = generator.Prior(CONFIG).generate(frame)
    assert torch.equal(generator.Prior(CONFIG).of_clip([frame]).generate(frame).mesh.vertices, alone.mesh.vertices)
