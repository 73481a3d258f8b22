"""Animations found on disk, however they are put there."""

import numpy as np
import pytest

from tests.v2m4.io.video_documents import disc, disc_rgba, encode, moving, save, save_animated
from v2m4.config import FramesConfig
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations
from v2m4.io.video import write_video


def names(root):
    return [source.name for source in find_animations(root)]


def test_folders_and_videos_are_animations(tmp_path):
    save(tmp_path / "clip 10" / "0.png", disc())
    save(tmp_path / "clip 9" / "0.png", disc())
    save(tmp_path / ".hidden" / "0.png", disc())
    (tmp_path / "notes.txt").write_text("x")
    write_video(tmp_path / "baby.mp4", [disc(shift=i) for i in range(4)], 10)
    sources = find_animations(tmp_path)
    assert [(source.name, source.kind, source.count) for source in sources] == [
        ("baby", "video", 4),
        ("clip 9", "folder", 1),
        ("clip 10", "folder", 1),
    ]


def test_a_folder_of_pictures_or_a_video_is_one_animation(tmp_path):
    save(tmp_path / "walk" / "0.png", disc())
    save(tmp_path / "walk" / ".thumb.png", disc())
    assert [(s.name, s.count) for s in find_animations(tmp_path / "walk")] == [("walk", 1)]
    write_video(tmp_path / "fox.mp4", [disc()] * 3, 10)
    assert names(tmp_path / "fox.mp4") == ["fox"]


def test_folders_of_other_things_are_passed_over_but_empty_ones_are_not(tmp_path):
    save(tmp_path / "walk" / "0.png", disc())
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "walk.npz").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["empty", "walk"]


def test_one_name_twice_is_told_apart(tmp_path):
    save(tmp_path / "fox" / "0.png", disc())
    write_video(tmp_path / "fox.mp4", [disc()] * 2, 10)
    assert names(tmp_path) == ["fox", "fox_mp4"]


def test_animated_pictures_are_videos(tmp_path):
    save_animated(tmp_path / "wave.gif", moving(), 40)
    (tmp_path / "spin").mkdir()
    save_animated(tmp_path / "spin" / "x.webp", [disc_rgba(), disc_rgba(3)], 40)
    encode(tmp_path / "CLIP.MKV", moving())
    assert [(source.name, source.kind, source.count) for source in find_animations(tmp_path)] == [
        ("CLIP", "video", 6),
        ("spin", "video", 2),
        ("wave", "video", 6),
    ]
    assert find_animations(tmp_path / "wave.gif")[0].name == "wave"


def test_previews_and_posters_are_passed_over(tmp_path, caplog):
    for index in range(3):
        save(tmp_path / "frames" / f"{index}.png", disc(index))
    save_animated(tmp_path / "frames" / "preview.gif", moving(), 40)
    save(tmp_path / "gif" / "poster.jpg", disc())
    save_animated(tmp_path / "gif" / "b.gif", moving(), 40)
    (tmp_path / "frames" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "frames" / "desktop.ini").write_text("x")
    assert [(s.name, s.kind, s.count) for s in find_animations(tmp_path)] == [
        ("frames", "folder", 3),
        ("gif", "video", 6),
    ]
    assert [(s.name, s.kind) for s in find_animations(tmp_path / "frames")] == [("frames", "folder")]
    assert [(s.name, s.kind) for s in find_animations(tmp_path / "gif")] == [("b", "video")]
    assert any("1 pictures beside the animations" in line for line in caplog.messages)


@pytest.mark.parametrize("parts", ["walk/images", "walk/frames", "walk/RGB"])
def test_frames_in_a_folder_of_their_own_have_the_animations_name(tmp_path, parts):
    for index in range(3):
        save(tmp_path / parts / f"{index}.png", disc(index))
        save(tmp_path / "walk" / "depth" / f"{index}.png", disc(index))
    save(tmp_path / "walk" / "poster.png", disc())
    save(tmp_path / "run" / "0.png", disc())
    assert [(s.name, s.path) for s in find_animations(tmp_path)] == [
        ("run", tmp_path / "run"),
        ("walk", tmp_path / parts),
    ]


def test_deeper_folders_are_searched_where_nothing_else_is_found(tmp_path):
    save(tmp_path / "a" / "set" / "walk" / "0.png", disc())
    save(tmp_path / "a" / "set" / "run" / "0.png", disc())
    assert names(tmp_path) == ["run", "walk"]
    (tmp_path / "b" / "x").mkdir(parents=True)
    encode(tmp_path / "b" / "x" / "fox.mp4", moving())
    assert names(tmp_path / "b") == ["x"]  # the one video in its folder
    encode(tmp_path / "b" / "x" / "bear.mp4", moving())
    assert names(tmp_path / "b") == ["bear", "fox"]
    save(tmp_path / "here" / "0.png", disc())
    assert names(tmp_path) == ["here"]


def test_one_name_in_two_folders_is_told_apart(tmp_path):
    save(tmp_path / "a" / "set" / "walk" / "0.png", disc())
    save(tmp_path / "b" / "set" / "walk" / "0.png", disc())
    assert names(tmp_path) == ["set_walk", "walk"]


def test_a_file_of_any_name_is_judged_by_its_content(tmp_path):
    encode(tmp_path / "a.mkv", moving())
    (tmp_path / "a.mkv").rename(tmp_path / "download")
    assert [(s.name, s.kind) for s in find_animations(tmp_path / "download")] == [("download", "video")]
    save(tmp_path / "b.png", disc())
    with pytest.raises(FileNotFoundError, match=r"b\.png: not a video file but a still picture"):
        find_animations(tmp_path / "b.png")
    (tmp_path / "c.webp").write_bytes(b"RIFF1234WEBP")
    with pytest.raises(FileNotFoundError, match=r"c\.webp: cannot be read as a picture"):
        find_animations(tmp_path / "c.webp")


def test_typescript_is_no_video(tmp_path):
    save(tmp_path / "0.png", disc())
    (tmp_path / "main.ts").write_text("export {}")
    assert [source.kind for source in find_animations(tmp_path)] == ["folder"]


def test_folders_of_masks_are_no_animations(tmp_path):
    for index in range(2):
        save(tmp_path / "walk" / f"{index}.jpg", disc(index))
        save(tmp_path / "masks" / "walk" / f"{index}.png", np.where(disc(index)[..., 0] > 0, 255, 0).astype(np.uint8))
        save(tmp_path / "walk_mask" / f"{index}.png", np.where(disc(index)[..., 0] > 0, 1, 0).astype(np.uint8))
        save(
            tmp_path / "alpha" / f"{index}.jpg",
            np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8),
        )
    assert names(tmp_path) == ["alpha", "walk"]


def test_files_with_another_formats_name_are_read_by_content(tmp_path):
    encode(tmp_path / "a.mp4", moving())
    (tmp_path / "a.mp4").rename(tmp_path / "a.gif")
    save_animated(tmp_path / "b.gif", moving(4), 40)
    (tmp_path / "b.gif").rename(tmp_path / "b.mp4")
    save_animated(tmp_path / "c.webp", [disc_rgba(), disc_rgba(3)], 40)
    (tmp_path / "c.webp").rename(tmp_path / "c.gif")
    sources = find_animations(tmp_path)
    assert [(source.name, source.count) for source in sources] == [("a", 6), ("b", 4), ("c", 2)]
    assert [len(read_clip(source, FramesConfig()).frames) for source in sources] == [6, 4, 2]


def test_pictures_called_masks_beside_frames_are_never_the_animation(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    for index in range(3):
        save(tmp_path / "walk" / f"{index}.png", disc(index))
        save(tmp_path / "walk" / "masks" / f"{index}.png", noise)  # coloured overlays
    assert [(s.name, s.path) for s in find_animations(tmp_path / "walk")] == [("walk", tmp_path / "walk")]
    assert names(tmp_path) == ["walk"]
