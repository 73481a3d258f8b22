"""Networks for the foreground: asked for by name, refused in one line, one clip through any of them."""

import importlib.util
import sys
from contextlib import suppress
from dataclasses import dataclass, replace

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

from v2m4.config import FAST, FramesConfig
from v2m4.io.foreground import cut_out
from v2m4.io.read import read_clip
from v2m4.io.segmenter import open_segmenter
from v2m4.io.sources import find_animations
from v2m4.preflight.foreground import require_segmenter
from v2m4.weights import Unavailable


def asking(**options):
    return replace(FAST, frames=FramesConfig(**options))


@dataclass
class Circles:
    """Knows where the disc of each frame is."""

    identity: str = "weights 1"

    def __str__(self):
        return "circles"

    def alphas(self, pictures, store=None):
        for index, picture in enumerate(pictures):
            assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
            alpha = np.zeros(picture.shape[:2], np.uint8)
            cv2.circle(alpha, (20 + 4 * index, 24), 12, 255, -1)
            yield alpha


@pytest.fixture
def frames(tmp_path):
    """Three frames of a red disc that moves right before a chequered wall."""
    wall = np.kron(np.indices((12, 16)).sum(0) % 2, np.ones((4, 4), int))[..., None] * 90 + np.array([20, 60, 90])
    for index in range(3):
        picture = wall.astype(np.uint8)
        cv2.circle(picture, (20 + 4 * index, 24), 12, (210, 40, 30), -1)
        (tmp_path / "disc").mkdir(exist_ok=True)
        iio.imwrite(tmp_path / "disc" / f"{index}.png", picture)
    return find_animations(tmp_path)[0]


@pytest.mark.parametrize("network", ["rembg", "sam2"])
def test_a_clip_is_cut_out_as_the_network_says(frames, network):
    clip = read_clip(frames, FramesConfig(foreground=network), Circles())
    assert clip.foreground == "circles"
    for index, frame in enumerate(clip.frames):
        truth = np.zeros((48, 64), np.uint8)
        cv2.circle(truth, (20 + 4 * index, 24), 12, 255, -1)
        np.testing.assert_array_equal(frame.rgba[..., 3], truth)
        assert (frame.rgba[truth > 0][:, :3] == (210, 40, 30)).all()


def test_other_weights_are_another_input(frames):
    config = FramesConfig(foreground="rembg")
    first, again = (read_clip(frames, config, Circles()).source for _ in range(2))
    assert first == again != read_clip(frames, config, Circles("weights 2")).source


def test_a_network_without_its_segmenter_is_an_error(frames):
    with pytest.raises(ValueError, match="disc: foreground sam2: needs its network"):
        read_clip(frames, FramesConfig(foreground="sam2"))


@pytest.mark.parametrize("mode", ["alpha", "key", "grabcut"])
def test_ways_without_weights_need_no_network(mode):
    require_segmenter(asking(foreground=mode))
    assert open_segmenter(asking(foreground=mode)) is None


@pytest.mark.parametrize(
    ("network", "command"), [("rembg", r'pip install "rembg\[cpu\]"'), ("sam2", r'pip install "transformers>=4\.56"')]
)
def test_what_is_not_installed_is_told_with_its_command(monkeypatch, network, command):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    for ask in (require_segmenter, open_segmenter):
        with pytest.raises(Unavailable, match=f"is not installed; {command}"):
            ask(asking(foreground=network))


@pytest.mark.parametrize("network", ["rembg", "sam2"])
def test_a_wrong_folder_of_weights_is_told(tmp_path, network):
    with pytest.raises(Unavailable, match="nowhere: no such folder"):
        require_segmenter(replace(asking(foreground=network), weights_dir=tmp_path / "nowhere"))


def test_asking_imports_no_network():
    before = {name for name in sys.modules if name.split(".")[0] in ("rembg", "transformers", "onnxruntime")}
    for network in ("rembg", "sam2"):
        with suppress(Unavailable):
            require_segmenter(asking(foreground=network))
    after = {name for name in sys.modules if name.split(".")[0] in ("rembg", "transformers", "onnxruntime")}
    assert after == before


def test_a_soft_alpha_takes_the_background_out_of_the_colour():
    alpha = np.repeat(np.clip((np.arange(64) - 28) / 8, 0, 1)[None], 48, 0)
    colour, behind = np.array([200.0, 60, 40]), np.array([30.0, 160, 90])
    picture = np.round(colour * alpha[..., None] + behind * (1 - alpha[..., None])).astype(np.uint8)
    result = cut_out(picture, np.round(255 * alpha).astype(np.uint8))
    edge = (alpha > 0.3) & (alpha < 0.9)
    assert np.abs(picture[edge].astype(float) - colour).max() > 60
    assert np.abs(result[edge][:, :3] - colour).max() < 4
