"""Clips kept on disk: every frame's foreground, made once, the same bytes read back."""

import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from v2m4.camera import DEFAULT_FOV
from v2m4.config import FAST, Config, FramesConfig
from v2m4.io import clip as clips
from v2m4.io import salient, segmentation
from v2m4.io._frame_store import FrameStore
from v2m4.io.clip import open_clip
from v2m4.io.foreground import remove_background
from v2m4.io.read import content_hash, read_clip
from v2m4.io.sources import find_animations
from v2m4.io.video import write_video
from v2m4.stored_picture import encoded, read_png
from v2m4.workspace import Redo, Workspace

NETWORK = replace(FAST, frames=FramesConfig(foreground="sam2"))


@dataclass
class Counting:
    """Finds the red disc, and counts the pictures that it was shown."""

    identity: str = "weights 1"
    shown: list[int] = field(default_factory=list)

    def __str__(self):
        return "counting"

    def alphas(self, pictures, store=None):
        for index, picture in enumerate(pictures):
            self.shown.append(index)
            yield np.where(picture[..., 0] > 180, 255, 0).astype(np.uint8)


def picture(index: int, side: int = 64) -> np.ndarray:
    """A red disc that moves before a wall of noise."""
    image = np.random.default_rng(5).integers(20, 120, (side, side, 3)).astype(np.uint8)
    cv2.circle(image, (20 + 4 * index, 30), 12, (210, 40, 30), -1)
    return image


@pytest.fixture
def source(tmp_path):
    (tmp_path / "clips" / "disc").mkdir(parents=True)
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / "clips" / "disc" / f"{index}.png")
    return find_animations(tmp_path / "clips")[0]


def opened(source, folder: Path, config: Config = FAST, segmenter=None):
    return open_clip(source, Workspace(folder), config, segmenter)


def same(first, second) -> bool:
    pairs = zip(first.frames, second.frames, strict=True)
    return all(a.name == b.name and a.index == b.index and np.array_equal(a.rgba, b.rgba) for a, b in pairs)


def test_every_frame_lies_on_disk_as_it_is_returned(source, tmp_path):
    found, expected = opened(source, tmp_path / "out"), read_clip(source, FAST.frames)
    assert same(found, expected)
    for part in ("name", "fps", "source", "foreground"):
        assert getattr(found, part) == getattr(expected, part)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [*(f"{index}_rmbg.png" for index in range(4)), "manifest.json"]
    for frame in found.frames:
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / f"{frame.name}_rmbg.png")), frame.rgba)
    clear = found.frames[0].rgba[found.frames[0].rgba[..., 3] == 0]
    assert clear[:, :3].any()  # colours under transparent pixels, which the stages sample


@pytest.mark.parametrize("foreground", ["sam2", "grabcut"])
def test_nothing_is_segmented_or_decoded_again(source, tmp_path, monkeypatch, foreground):
    network, config = Counting(), replace(FAST, frames=FramesConfig(foreground=foreground))
    segmenter = network if foreground == "sam2" else None
    first = opened(source, tmp_path / "out", config, segmenter)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    monkeypatch.setattr(clips, "read_clip", lambda *_: pytest.fail("read again"))
    (tmp_path / "out" / "frames_partial" / "decoded").mkdir(parents=True)  # the run was killed before it removed them
    again = opened(source, tmp_path / "out", config, segmenter)
    assert same(again, first) and again == replace(first, frames=again.frames)
    assert len(network.shown) == (4 if foreground == "sam2" else 0)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert len(times) == 4
    assert not (tmp_path / "out" / "frames_partial").exists()


@pytest.mark.parametrize("change", ["weights", "foreground", "max_side", "contents", "fewer", "lost", "code"])
def test_another_input_or_option_redoes_it(source, tmp_path, monkeypatch, change):
    network, config = Counting(), NETWORK
    opened(source, tmp_path / "out", config, network)
    assert len(network.shown) == 4
    match change:
        case "weights":
            network.identity = "weights 2"
        case "foreground":
            config = replace(FAST, frames=FramesConfig(foreground="rembg"))
        case "max_side":
            config = replace(FAST, frames=replace(NETWORK.frames, max_side=32))
        case "contents":
            Image.fromarray(picture(2)[:, ::-1]).save(source.path / "2.png")
        case "fewer":
            (source.path / "3.png").unlink()
        case "lost":
            (tmp_path / "out" / "1_rmbg.png").unlink()
        case "code":
            monkeypatch.setattr(clips, "folder_version", lambda _: "another")
    found = opened(source, tmp_path / "out", config, network)
    assert len(network.shown) == (7 if change == "fewer" else 8)
    assert same(found, read_clip(source, config.frames, Counting()))
    for frame in found.frames:
        np.testing.assert_array_equal(read_png(tmp_path / "out" / f"{frame.name}_rmbg.png"), frame.rgba)


@pytest.mark.parametrize("change", [{"fov": 25.0}, {"frames": replace(NETWORK.frames, fps=12.0)}, {"seed": 1}])
def test_what_no_picture_follows_from_redoes_none(source, tmp_path, change):
    network = Counting()
    opened(source, tmp_path / "out", NETWORK, network)
    found = opened(source, tmp_path / "out", replace(NETWORK, **change), network)
    assert len(network.shown) == 4
    assert found.fps == (12.0 if "frames" in change else 30.0)
    assert found.fov == pytest.approx(math.radians(change.get("fov", 40)))


def test_a_run_that_was_killed_while_writing_goes_on(source, tmp_path, monkeypatch):
    whole = opened(source, tmp_path / "whole", NETWORK, Counting())
    count = 0

    def killed(image):
        nonlocal count
        count += 1
        if count > 2:
            raise KeyboardInterrupt
        return encoded(image)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(clips, "encoded", killed)
        opened(source, tmp_path / "out", NETWORK, Counting())
    assert same(opened(source, tmp_path / "out", NETWORK, Counting()), whole)


@pytest.mark.parametrize("foreground", ["sam2", "grabcut", "key", "salient"])
def test_a_run_that_was_killed_while_segmenting_goes_on(source, tmp_path, monkeypatch, foreground):
    config = replace(FAST, frames=FramesConfig(foreground=foreground))
    if foreground == "salient":
        segmenter = stand_in_salient(monkeypatch)
    else:
        segmenter = Counting() if foreground == "sam2" else None
    if foreground == "key":
        for index in range(4):
            Image.fromarray(np.where(picture(index) > 130, picture(index), 0)).save(source.path / f"{index}.png")
    whole = opened(source, tmp_path / "whole", config, segmenter)
    write, writes, kills = FrameStore.write, 0, 0

    def killed(*arguments, **options):
        nonlocal writes
        writes -= 1
        if writes < 0:
            raise KeyboardInterrupt
        write(*arguments, **options)

    monkeypatch.setattr(FrameStore, "write", killed)
    while True:
        writes = 6  # the decoded frames, which every run begins with, and two more
        try:
            found = opened(source, tmp_path / "out", config, segmenter)
            break
        except KeyboardInterrupt:
            kills += 1
            assert (tmp_path / "out" / "frames_partial").is_dir()
    assert kills
    assert same(found, whole)
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert not (tmp_path / "out" / "frames_partial").exists()


def stand_in_salient(monkeypatch) -> salient.Salient:
    """The method for any background, its network replaced by one that finds what is red."""
    monkeypatch.setattr(
        salient, "SaliencyNetwork", lambda _: lambda picture: (picture[..., 0] > 180).astype(np.float32)
    )
    monkeypatch.setattr(salient.Salient, "identity", "red")
    return salient.Salient(Path("none"))


@pytest.mark.parametrize("change", ["option", "input", "overwrite"])
def test_parts_of_another_run_are_not_taken(source, tmp_path, monkeypatch, change):
    config = replace(FAST, frames=FramesConfig(foreground="grabcut"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(clips, "encoded", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        opened(source, tmp_path / "out", config)
    cut_outs = tmp_path / "out" / "frames_partial" / "cut_outs"
    assert len(list(cut_outs.iterdir())) == 4
    redo = None
    if change == "option":
        config = replace(FAST, frames=FramesConfig(foreground="grabcut", max_side=32))
    elif change == "input":
        Image.fromarray(picture(2)[:, ::-1]).save(source.path / "2.png")
    else:
        redo = Redo("--overwrite")
    calls = []
    monkeypatch.setattr(segmentation, "remove_background", lambda *given: calls.append(1) or remove_background(*given))
    found = open_clip(source, Workspace(tmp_path / "out", redo=redo), config)
    assert len(calls) == 4
    assert same(found, read_clip(source, config.frames))


def test_a_video_knows_its_pace_without_being_decoded(tmp_path, monkeypatch):
    write_video(tmp_path / "disc.mp4", [picture(index) for index in range(3)], 12.5)
    source = find_animations(tmp_path / "disc.mp4")[0]
    first = opened(source, tmp_path / "out", NETWORK, Counting())
    monkeypatch.setattr(clips, "read_clip", lambda *_: pytest.fail("decoded again"))
    again = opened(source, tmp_path / "out", NETWORK, Counting())
    assert same(again, first)
    assert again.fps == first.fps == 12.5
    assert [frame.name for frame in again.frames] == ["0", "1", "2"]


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 96)])
def test_pngs_keep_every_value(tmp_path, shape):
    rgba = np.random.default_rng(0).integers(0, 256, (*shape, 4)).astype(np.uint8)
    rgba[: shape[0] // 2, :, 3] = 0
    (tmp_path / "ä b.png").write_bytes(encoded(rgba))
    np.testing.assert_array_equal(read_png(tmp_path / "ä b.png"), rgba)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "ä b.png")), rgba)
    (tmp_path / "opaque.png").write_bytes(encoded(rgba | np.array([0, 0, 0, 255], np.uint8)))
    assert read_png(tmp_path / "opaque.png").shape == (*shape, 4)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\nno", "three channels"])
def test_a_broken_picture_on_disk_is_named(tmp_path, data):
    if isinstance(data, str):
        data = cv2.imencode(".png", np.zeros((3, 3, 3), np.uint8))[1].tobytes()
    (tmp_path / "0_rmbg.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"0_rmbg\.png: .*--overwrite"):
        read_png(tmp_path / "0_rmbg.png")


def test_errors_of_the_input_stay_as_they_were(source, tmp_path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source.path / "1.png")
    for index in (2, 3):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source.path / f"{index}.png")
    with pytest.raises(ValueError, match="seen in 1 of 4 frames"):
        opened(source, tmp_path / "out", NETWORK, Counting())
    (source.path / "1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"1\.png: cannot be read as a picture"):
        opened(source, tmp_path / "out")
    for file in source.path.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="no pictures in it"):
        opened(source, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video"):
        opened(find_animations(tmp_path / "a.mp4")[0], tmp_path / "out")
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video"):
        content_hash(replace(source, kind="video", path=tmp_path / "a.mp4"))


def with_focal_length(folder: Path, millimetres: int) -> None:
    """Note a focal length, for 36 x 24 mm film, in the first picture."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769)[0xA405] = millimetres
    file = folder / "0.png"
    Image.open(file).save(file, exif=exif)


@pytest.mark.parametrize("millimetres", [None, 50, 600])
def test_fov_auto_takes_the_focal_length_where_there_is_one(source, tmp_path, caplog, millimetres):
    caplog.set_level(logging.INFO)
    if millimetres is not None:
        with_focal_length(source.path, millimetres)
    found = opened(source, tmp_path / "out", replace(FAST, fov="auto"))
    told = [line for line in caplog.messages if "field of view" in line]
    assert len(told) == 1
    if millimetres == 50:  # a square picture of the film's diagonal
        assert math.degrees(found.fov) == pytest.approx(
            2 * math.degrees(math.atan(43.2666 / math.sqrt(8) / 50)), abs=0.01
        )
        assert "EXIF" in told[0] and "34.0 degrees" in told[0]
    else:
        assert found.fov == DEFAULT_FOV
        assert "40 degrees assumed" in told[0]
        assert ("2.9 degrees" if millimetres else "no focal length") in told[0]
    assert {frame.fov for frame in found.frames} == {found.fov}


def test_a_video_file_has_no_exif(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_video(tmp_path / "disc.mp4", [picture(0)] * 2, 10)
    found = opened(
        find_animations(tmp_path / "disc.mp4")[0], tmp_path / "out", replace(NETWORK, fov="auto"), Counting()
    )
    assert found.fov == DEFAULT_FOV
    assert any("40 degrees assumed: no focal length" in line for line in caplog.messages)


def test_times_and_absent_frames_are_cached(tmp_path, monkeypatch):
    frames = [picture(index) for index in range(6)]
    frames[0] = frames[0] * 0
    frames[3] = frames[3] * 0
    write_video(tmp_path / "disc.mp4", frames, 4.0, [0, 0.1, 0.2, 0.5, 0.9, 1.25])
    source = find_animations(tmp_path / "disc.mp4")[0]
    first = opened(source, tmp_path / "out", NETWORK, Counting())
    assert [frame.name for frame in first.frames] == ["1", "2", "4", "5"]
    np.testing.assert_allclose(first.times, [0.1, 0.2, 0.9, 1.25], atol=1e-4)
    assert [(frame.name, round(frame.time, 3)) for frame in first.absent] == [("3", 0.5)]
    monkeypatch.setattr(clips, "read_clip", lambda *_: pytest.fail("decoded again"))
    again = opened(source, tmp_path / "out", NETWORK, Counting())
    assert same(again, first) and again == replace(first, frames=again.frames)


def test_absent_frames_of_a_folder_follow_its_rate(source, tmp_path):
    Image.fromarray(picture(1) * 0).save(source.path / "1.png")
    opened(source, tmp_path / "out", NETWORK, Counting())
    config = replace(NETWORK, frames=replace(NETWORK.frames, fps=10.0))
    found = opened(source, tmp_path / "out", config, Counting())
    assert found.times == pytest.approx((0, 0.2, 0.3))
    assert [(frame.name, frame.time) for frame in found.absent] == [("1", pytest.approx(0.1))]
