"""Clips: what is on disk comes in whatever form it has; what is broken says so."""

import io
import os
import struct
from dataclasses import replace

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from v2m4.config import FramesConfig
from v2m4.io.names import natural_key, safe_name
from v2m4.io.picture import read_picture
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations
from v2m4.io.video import write_video

CONFIG = FramesConfig()


def picture(size=(48, 40), shift=0):
    """A disc on black, (H, W, 3) uint8."""
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (20 + shift, 24), 12, (200, 120, 60), -1)
    return image


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def names(root):
    return [source.name for source in find_animations(root)]


def test_natural_order():
    given_names = ["10.png", "9.png", "b2a10", "b2a9", "B1", "été2", "été10", "٣", "img-2", "img-10", "007", "7"]
    ordered = sorted(given_names, key=natural_key)
    for low, high in [("9.png", "10.png"), ("b2a9", "b2a10"), ("B1", "b2a9"), ("été2", "été10"), ("img-2", "img-10")]:
        assert ordered.index(low) < ordered.index(high)
    assert ordered.index("٣") < ordered.index("7")


@given(st.lists(st.text(), max_size=6))
def test_natural_order_takes_any_names_and_never_ties(texts):
    ordered = sorted(texts, key=natural_key)
    assert sorted(reversed(texts), key=natural_key) == ordered


@given(st.text(st.characters()))
def test_safe_names_are_safe_and_stay(text):
    safe = safe_name(text)
    safe.encode("utf-8")
    assert safe
    assert not set(safe) & set('<>:"/\\|?*\x00\n')
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert safe_name(safe) == safe


def test_folders_and_videos_are_animations(tmp_path):
    save(tmp_path / "clip 10" / "0.png", picture())
    save(tmp_path / "clip 9" / "0.png", picture())
    save(tmp_path / ".hidden" / "0.png", picture())
    (tmp_path / "notes.txt").write_text("x")
    write_video(tmp_path / "baby.mp4", [picture(shift=i) for i in range(4)], 10)
    sources = find_animations(tmp_path)
    assert [(source.name, source.kind, source.count) for source in sources] == [
        ("baby", "video", 4),
        ("clip 9", "folder", 1),
        ("clip 10", "folder", 1),
    ]


def test_a_folder_of_pictures_or_a_video_is_one_animation(tmp_path):
    save(tmp_path / "walk" / "0.png", picture())
    save(tmp_path / "walk" / ".thumb.png", picture())
    assert [(s.name, s.count) for s in find_animations(tmp_path / "walk")] == [("walk", 1)]
    write_video(tmp_path / "fox.mp4", [picture()] * 3, 10)
    assert names(tmp_path / "fox.mp4") == ["fox"]


def test_folders_of_other_things_are_passed_over_but_empty_ones_are_not(tmp_path):
    save(tmp_path / "walk" / "0.png", picture())
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "walk.npz").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["empty", "walk"]


def test_one_name_twice_is_told_apart(tmp_path):
    save(tmp_path / "fox" / "0.png", picture())
    write_video(tmp_path / "fox.mp4", [picture()] * 2, 10)
    assert names(tmp_path) == ["fox", "fox_mp4"]


def test_a_missing_or_empty_input_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no animation"):
        find_animations(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_animations(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="not a video"):
        find_animations(tmp_path / "a.txt")


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


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def test_every_kind_of_picture_reads_the_same(tmp_path):
    true = picture()
    grey = true[..., 0]
    mask = (grey > 0).astype(np.uint8) * 255
    file = tmp_path / "x"
    image = Image.fromarray(true)
    np.testing.assert_array_equal(read_picture(file, encoded(image, format="PNG")), true)
    np.testing.assert_array_equal(read_picture(file, encoded(image.quantize(16), format="PNG")), true)
    rgba = np.dstack([true, mask])
    np.testing.assert_array_equal(read_picture(file, encoded(Image.fromarray(rgba), format="PNG")), rgba)
    np.testing.assert_array_equal(
        read_picture(file, encoded(Image.fromarray(grey), format="PNG")), np.repeat(grey[..., None], 3, 2)
    )
    grey_alpha = np.dstack([grey, grey, grey, mask])
    np.testing.assert_array_equal(
        read_picture(file, encoded(Image.fromarray(np.dstack([grey, mask]), "LA"), format="PNG")), grey_alpha
    )
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(file, encoded(wide, format="PNG")), np.repeat(grey[..., None], 3, 2))
    for name, array in {"rgb": true[..., ::-1], "rgba": rgba[..., [2, 1, 0, 3]]}.items():
        ok, data = cv2.imencode(".png", array.astype(np.uint16) * 257)
        assert ok
        expected = true if name == "rgb" else rgba
        np.testing.assert_array_equal(read_picture(file, data.tobytes()), expected)
    cmyk = read_picture(file, encoded(image.convert("CMYK"), format="JPEG", quality=100))
    assert np.abs(cmyk.astype(int) - true).mean() < 3


def test_palette_transparency_is_alpha(tmp_path):
    palette = Image.fromarray(picture()).quantize(8)
    index = palette.getpixel((0, 0))
    result = read_picture(tmp_path / "x", encoded(palette, format="PNG", transparency=index))
    assert result.shape[2] == 4
    assert result[0, 0, 3] == 0
    assert result[24, 20, 3] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_turned(tmp_path, orientation):
    true = Image.fromarray(picture())
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose that stores it turned
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = true if inverse is None else true.transpose(inverse)
    np.testing.assert_array_equal(read_picture(tmp_path / "x", encoded(stored, format="PNG", exif=exif)), picture())


def test_frames_of_other_size_are_named(tmp_path):
    save(tmp_path / "0.png", picture())
    save(tmp_path / "1.png", picture((48, 44)))
    with pytest.raises(ValueError, match=r"1\.png: 44 x 48 pixels, but 0\.png has 40 x 48"):
        read_one(tmp_path)


def test_a_broken_picture_is_named(tmp_path):
    save(tmp_path / "0.png", picture())
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1\.png: cannot be read as a picture"):
        read_one(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "full" / "0.png", picture())
    source = find_animations(tmp_path)[0]
    with pytest.raises(ValueError, match="empty: no pictures"):
        read_clip(source, CONFIG)


def test_a_frame_without_object_is_named(tmp_path):
    save(tmp_path / "0.png", picture())
    save(tmp_path / "7.png", picture() * 0)
    with pytest.raises(ValueError, match="the object is seen in 1 of 2 frames"):
        read_one(tmp_path)


def test_two_frames_of_one_name_are_refused(tmp_path):
    save(tmp_path / "0.png", picture())
    save(tmp_path / "0.jpg", picture())
    with pytest.raises(ValueError, match="same name"):
        read_one(tmp_path)


def test_odd_names_become_safe(tmp_path):
    save(tmp_path / 'a: "b"?.png', picture())
    save(tmp_path / "日本 1.png", picture())
    assert {frame.name for frame in read_one(tmp_path).frames} == {"a_ _b__", "日本 1"}


def test_large_pictures_are_reduced(tmp_path):
    save(tmp_path / "0.png", cv2.resize(picture(), (400, 480)))
    clip = read_clip(find_animations(tmp_path)[0], replace(CONFIG, max_side=120))
    assert clip.frames[0].rgba.shape == (120, 100, 4)


def test_video_round_trip(tmp_path):
    frames = [picture((47, 41), shift=index) for index in range(12)]
    write_video(tmp_path / "disc.mp4", iter(frames), 12.5)
    assert iio.improps(tmp_path / "disc.mp4", plugin="pyav").shape == (12, 48, 42, 3)
    clip = read_one(tmp_path)
    assert clip.fps == 12.5
    assert [frame.name for frame in clip.frames] == [f"{index:02d}" for index in range(12)]
    for frame, true in zip(clip.frames, frames, strict=True):
        found, expected = frame.rgba[:47, :41, 3] > 127, true.max(2) > 0
        assert (found & expected).sum() / (found | expected).sum() > 0.85


def test_writing_is_atomic(tmp_path):
    def frames():
        yield picture()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_video(tmp_path / "a.mp4", frames(), 10)
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], 10)
    with pytest.raises(ValueError, match="shape"):
        write_video(tmp_path / "a.mp4", [picture(), picture((50, 40))], 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_broken_video_is_named(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    source = find_animations(tmp_path)[0]
    assert source.count == 0
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video"):
        read_clip(source, CONFIG)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_video_held_sideways_is_turned(tmp_path, matrix, turns):
    """The track header's matrix (a, b, c, d) maps (x, y) to (a x + c y, b x + d y), y down (ISO 14496-12)."""
    upright = picture((64, 48))
    write_video(tmp_path / "a.mp4", [np.rot90(upright, -turns)] * 3, 10)
    data = (tmp_path / "a.mp4").read_bytes()
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    at = data.index(plain, data.index(b"tkhd"))
    (tmp_path / "a.mp4").write_bytes(
        data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + len(plain) :]
    )
    rgba = read_one(tmp_path).frames[0].rgba
    assert rgba.shape == (64, 48, 4)
    ys, xs = np.nonzero(rgba[..., 3] > 127)
    assert (ys.mean(), xs.mean()) == pytest.approx((24, 20), abs=1)
