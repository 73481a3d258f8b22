"""Animated pictures: every frame as it is shown, with its transparency and its time."""

import numpy as np
import pytest
from PIL import Image

from tests.v2m4.io.video_documents import SIZE, disc_rgba, moving, save, save_animated
from v2m4.config import FramesConfig
from v2m4.io.animated import animated_count, read_animated
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations

FRAMES = [disc_rgba(3 * index) for index in range(5)]
KINDS = {
    "a.gif": {"disposal": 2},
    "a.png": {"format": "PNG"},
    "a.apng": {"format": "PNG", "disposal": 1},
    "A.WEBP": {"lossless": True},
    "a.avif": {"quality": 90},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_read_with_its_transparency(tmp_path, name):
    save_animated(tmp_path / name, FRAMES, 40, **KINDS[name])
    assert animated_count(tmp_path / name) == 5
    result = read_animated(tmp_path / name, 0)
    assert result.fps == pytest.approx(25)
    np.testing.assert_allclose(result.times, np.arange(5) / 25)
    for image, true in zip(result.images, FRAMES, strict=True):
        assert image.shape == (*SIZE, 4)
        assert np.abs(image[..., 3].astype(int) - true[..., 3]).mean() < 3
    clip = read_clip(find_animations(tmp_path / name)[0], FramesConfig())
    assert clip.foreground == "alpha"
    assert len(clip.frames) == 5


def test_durations_are_kept(tmp_path):
    save_animated(tmp_path / "a.gif", FRAMES, [50, 100, 50, 400, 50], disposal=2)
    result = read_animated(tmp_path / "a.gif", 0)
    np.testing.assert_allclose(result.times, [0, 0.05, 0.15, 0.2, 0.6])


def test_a_gif_without_durations_is_shown_as_browsers_do(tmp_path):
    save_animated(tmp_path / "a.gif", moving(4), 0)
    np.testing.assert_allclose(read_animated(tmp_path / "a.gif", 64).times, np.arange(4) / 10)


def test_a_default_picture_of_an_apng_is_no_frame(tmp_path):
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], default_image=True, duration=40)
    result = read_animated(tmp_path / "a.png", 0)
    assert len(result.images) == 4
    assert np.abs(result.images[0].astype(int)[..., 3] - FRAMES[1][..., 3]).max() == 0


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_damaged_one_gives_the_frames_before_the_damage(tmp_path, caplog, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 255, (12, *SIZE, 3)).astype(np.uint8)
    save_animated(path, noise, 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    result = read_animated(path, 0)
    assert 4 <= len(result.images) < 12
    assert any(f"{len(result.images)} of" in line and "damaged" in line for line in caplog.messages)


def test_still_pictures_and_other_files_are_not_animated(tmp_path):
    save(tmp_path / "a.png", FRAMES[0])
    save(tmp_path / "a.gif", moving(1)[0])
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "a.txt").write_text("x")
    assert [animated_count(tmp_path / name) for name in ("a.png", "a.gif", "b.gif", "a.txt")] == [0, 0, 0, 0]
