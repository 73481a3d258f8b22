"""Clips: what is on disk comes in whatever form it has; what is broken says so."""

import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.v2m4.io.video_documents import centre, disc, encode, moving, save
from v2m4.config import FramesConfig
from v2m4.io import picture as picture_files
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations

CONFIG = FramesConfig()


def picture(size=(48, 40), shift=0):
    """A disc on black, (H, W, 3) uint8."""
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (20 + shift, 24), 12, (200, 120, 60), -1)
    return image


def read_one(folder):
    return read_clip(find_animations(folder)[0], CONFIG)


def test_a_clip_is_read_in_order_with_alpha(tmp_path):
    for index in range(11):
        save(tmp_path / f"{index}.png", picture(shift=index))
    clip = read_one(tmp_path)
    assert [frame.name for frame in clip.frames] == [str(index) for index in range(11)]
    assert [frame.index for frame in clip.frames] == list(range(11))
    assert clip.fps == CONFIG.fps
    assert clip.foreground.startswith("key #000000")
    for frame in clip.frames:
        assert frame.rgba.shape == (48, 40, 4)
        assert frame.rgba.dtype == np.uint8
        _, xs = np.nonzero(frame.rgba[..., 3] > 127)
        assert abs(xs.mean() - (20 + frame.index)) < 1.5


def test_the_source_follows_contents_and_options(tmp_path):
    for index in range(2):
        save(tmp_path / f"{index}.png", picture(shift=index))
    source = find_animations(tmp_path)[0]
    first = read_clip(source, CONFIG).source
    assert read_clip(source, CONFIG).source == first
    assert read_clip(source, replace(CONFIG, foreground="key")).source != first
    os.rename(tmp_path / "1.png", tmp_path / "2.png")
    assert read_one(tmp_path).source != first


def test_a_frame_without_object_is_named(tmp_path):
    save(tmp_path / "0.png", picture())
    save(tmp_path / "7.png", picture() * 0)
    with pytest.raises(ValueError, match="the object is seen in 1 of 2 frames"):
        read_one(tmp_path)


def test_odd_names_become_safe(tmp_path):
    save(tmp_path / 'a: "b"?.png', picture())
    save(tmp_path / "日本 1.png", picture())
    assert {frame.name for frame in read_one(tmp_path).frames} == {"a_ _b__", "日本 1"}


def test_large_pictures_are_reduced(tmp_path):
    save(tmp_path / "0.png", cv2.resize(picture(), (400, 480)))
    clip = read_clip(find_animations(tmp_path)[0], replace(CONFIG, max_side=120))
    assert clip.frames[0].rgba.shape == (120, 100, 4)


def fading(count=8):
    """A disc on white that fades in from black, and is gone at the end and in the middle."""
    frames = [disc(3 * index, background=(255, 255, 255)) for index in range(count)]
    frames[0] = frames[0] * 0
    frames[1] = (frames[1] * 0.4).astype(np.uint8)
    frames[4][:] = frames[7][:] = 255
    return frames


def test_frames_that_do_not_show_the_object_are_left_out_and_times_kept(tmp_path, caplog):
    encode(tmp_path / "a.mp4", fading(), fps=10)
    clip = read_clip(find_animations(tmp_path / "a.mp4")[0], CONFIG)
    assert [frame.name for frame in clip.frames] == ["2", "3", "5", "6"]
    assert [frame.index for frame in clip.frames] == [0, 1, 2, 3]
    np.testing.assert_allclose(clip.seconds, [0.2, 0.3, 0.5, 0.6])
    assert [(frame.name, round(frame.time, 6)) for frame in clip.absent] == [("4", 0.4)]
    assert clip.foreground.startswith("key #ffffff")
    assert clip.fps == 10
    assert centre(clip.frames[2].rgba) == pytest.approx(55, abs=1)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.split(": ", 1)[1] for line in warnings] == [
        "frames 0 to 1 do not show the object (empty, faded or left): the animation starts at 0.200 s",
        "frame 4 does not show the object (empty, faded or left): the motion is interpolated",
        "frame 7 does not show the object (empty, faded or left): the animation ends at 0.600 s",
    ]


def test_numbers_of_a_folders_frames_are_their_times(tmp_path):
    for index, frame in enumerate(fading()):
        save(tmp_path / f"{index}.png", frame)
    clip = read_clip(find_animations(tmp_path)[0], replace(CONFIG, fps=20.0))
    np.testing.assert_allclose(clip.seconds, [0.1, 0.15, 0.25, 0.3])
    assert clip.absent[0].time == pytest.approx(0.2)


def test_an_object_that_is_hardly_seen_is_an_error(tmp_path):
    frames = [frame * (index == 3) for index, frame in enumerate(moving(8))]
    for index, frame in enumerate(frames):
        save(tmp_path / f"{index}.png", frame)
    with pytest.raises(ValueError, match="the object is seen in 1 of 8 frames; all others are blank or faded"):
        read_one(tmp_path)


def test_uniform_frames_have_the_times_of_their_rate(tmp_path):
    for index in range(5):
        save(tmp_path / f"{index}.png", disc(index))
    clip = read_clip(find_animations(tmp_path)[0], replace(CONFIG, fps=24.0))
    np.testing.assert_array_equal(clip.seconds, np.arange(5) / 24)
    assert clip.is_uniform


def test_frames_stored_in_different_orientations_are_turned_alike(tmp_path, caplog):
    """One frame of a phone held upright has lost its EXIF orientation."""
    for index in range(4):
        exif = Image.Exif()
        exif[0x0112] = 6 if index != 2 else 1
        stored = np.rot90(disc(2 * index, (128, 96)), 1)
        save(tmp_path / f"{index}.jpg", np.ascontiguousarray(stored), exif=exif, quality=98)
    clip = read_one(tmp_path)
    assert all(frame.rgba.shape == (128, 96, 4) for frame in clip.frames)
    assert [centre(frame.rgba) for frame in clip.frames] == pytest.approx([40, 42, 44, 46], abs=1)
    assert any("different orientations" in line for line in caplog.messages)


def test_heic_without_its_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "_heif_is_there", lambda: False)
    (tmp_path / "0.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"0\.heic: HEIC needs another package: pip install pillow-heif"):
        read_one(tmp_path)
