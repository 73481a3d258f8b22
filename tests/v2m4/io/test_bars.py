"""Letterboxes and pillarboxes are found; plain backgrounds of objects are not taken for them."""

import numpy as np
import pytest

from tests.v2m4.io.video_documents import disc, encode, moving
from v2m4.config import FramesConfig
from v2m4.io.bars import MARGIN, Panel, find_panel
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations
from v2m4.io.video import read_video

GREY = (195, 208, 223)


def boxed(frames, top=0, bottom=0, left=0, right=0, color=(0, 0, 0)):
    """The frames with bars around them."""
    result = []
    for frame in frames:
        height, width = frame.shape[:2]
        image = np.full((height + top + bottom, width + left + right, 3), color, np.uint8)
        image[top : top + height, left : left + width] = frame
        result.append(image)
    return result


@pytest.mark.parametrize(
    "bars",
    [
        {"top": 30, "bottom": 30},
        {"left": 40, "right": 40},
        {"top": 20, "bottom": 40},
        {"bottom": 24},
        {"top": 30, "bottom": 30, "color": (255, 255, 255)},
        {"top": 8, "bottom": 8, "left": 10, "right": 10},
    ],
)
def test_bars_are_found(bars):
    frames = moving(background=GREY)
    height, width = frames[0].shape[:2]
    panel = find_panel(boxed(frames, **bars))
    top, left = bars.get("top", 0), bars.get("left", 0)
    assert panel == Panel(
        top + MARGIN * (top > 0),
        top + height - MARGIN * ("bottom" in bars),
        left + MARGIN * (left > 0),
        left + width - MARGIN * ("right" in bars),
    )


def test_bars_that_are_not_the_same_in_all_frames_are_none():
    frames = moving(background=GREY)
    wide = boxed(frames, top=30, bottom=30)
    changing = [image.copy() for image in wide]
    for image in changing[::3]:
        image[:60] = 0
    assert find_panel(wide) is not None
    assert find_panel(changing) is None


def test_bars_in_a_compressed_video_are_found(tmp_path):
    encode(tmp_path / "a.mp4", boxed(moving(background=GREY), top=32, bottom=32), crf=30)
    panel = find_panel(read_video(tmp_path / "a.mp4", 0, 30.0).images)
    assert panel is not None
    assert 32 <= panel.top <= 36
    assert 124 <= panel.bottom <= 128
    assert (panel.left, panel.right) == (0, 128)


def square(color, background):
    """A square that fills much of the picture, as a book or a screen does."""
    image = np.full((96, 128, 3), background, np.uint8)
    image[14:82, 24:104] = color
    return image


@pytest.mark.parametrize(
    "frames",
    [
        moving(),
        moving(background=(255, 255, 255)),
        moving(background=GREY),
        [disc(3 * index, radius=44) for index in range(6)],
        [square((200, 120, 60), (255, 255, 255))] * 4,
        [square((200, 120, 60), (0, 0, 0))] * 4,
        [np.zeros((96, 128, 3), np.uint8)] * 3,
        [np.dstack([frame, frame[..., 0]]) for frame in boxed(moving(background=GREY), top=30, bottom=30)],
    ],
    ids=["black", "white", "grey", "large", "square", "square_on_black", "blank", "alpha"],
)
def test_plain_backgrounds_are_no_bars(frames):
    assert find_panel(frames) is None


def test_nothing_of_bars_or_panel_is_the_object(tmp_path, caplog):
    caplog.set_level("INFO")
    encode(tmp_path / "a.mp4", boxed(moving(background=GREY), left=40, right=40))
    clip = read_clip(find_animations(tmp_path / "a.mp4")[0], FramesConfig())
    assert clip.foreground.startswith("key #")
    assert clip.frames[0].rgba.shape == (96, 208, 4)  # the camera is that of the whole picture
    for index, frame in enumerate(clip.frames):
        rows, columns = np.nonzero(frame.rgba[..., 3] > 127)
        assert columns.mean() == pytest.approx(80 + 3 * index, abs=1)
        assert rows.min() >= 24 and rows.max() <= 68
    assert any("bars around the picture" in line for line in caplog.messages)


def test_bars_around_a_dark_film_are_found():
    """A part of every edge of the panel is as black as the bars."""
    film = [disc(3 * index, background=(70, 60, 80)) for index in range(6)]
    for frame in film:
        frame[:, 40:100] //= 12
    panel = find_panel(boxed(film, top=30, bottom=30))
    assert panel == Panel(32, 124, 0, 128)
