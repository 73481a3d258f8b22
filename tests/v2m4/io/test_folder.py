"""Masks beside frames are found and used as alpha, wherever they lie; they are never frames."""

import numpy as np
import pytest

from tests.v2m4.io.video_documents import SIZE, disc, save, save_animated
from v2m4.config import FramesConfig
from v2m4.io.clip import content_hash
from v2m4.io.folder import frame_files
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations

COUNT = 4
NOISE = np.random.default_rng(0).integers(60, 200, (*SIZE, 3)).astype(np.uint8)


def mask(shift):
    return np.where(disc(shift).max(2) > 0, 255, 0).astype(np.uint8)


def frame(shift):
    """A disc before noise, which no method without a network can cut exactly."""
    return np.where(mask(shift)[..., None] > 0, disc(shift), NOISE)


LAYOUTS = {
    "suffix": ("walk/{}.png", "walk/{}_mask.png"),
    "dotted": ("walk/{}.jpg", "walk/{}.mask.png"),
    "prefix": ("walk/frame_{}.jpg", "walk/mask_{}.png"),
    "prefix_and_name": ("walk/img{}.jpg", "walk/mask_img{}.png"),
    "same_stem": ("walk/{}.jpg", "walk/{}.png"),
    "sub_folder": ("walk/{}.jpg", "walk/Masks/{}.png"),
    "alpha_folder": ("walk/images/{}.jpg", "walk/alpha/{}.png"),
    "matte_folder": ("walk/frames/{}.jpg", "walk/matte/{}.png"),
    "segmentation": ("walk/rgb/{}.jpg", "walk/segmentation/seg{}.png"),
    "beside_with_name": ("walk/{}.jpg", "walk_masks/{}.png"),
    "folder_of_folders": ("walk/{}.jpg", "mask/walk/{}.png"),
    "images_and_masks": ("images/walk/{}.jpg", "masks/walk/{}.png"),
    "davis": ("JPEGImages/480p/walk/{}.jpg", "Annotations/480p/walk/{}.png"),
    "davis_full": ("JPEGImages/Full-Resolution/walk/{}.jpg", "Annotations/480p/walk/{}.png"),
    "vos": ("JPEGImages/walk/{}.jpg", "Annotations/walk/{}.png"),
    "numbers": ("walk/images/rgb_{}.jpg", "walk/masks/m{}.png"),
}


def written(root, layout, count=COUNT):
    for index in range(count):
        save(root / layout[0].format(f"{index:04d}"), frame(3 * index), quality=95)
        save(root / layout[1].format(f"{index:04d}"), mask(3 * index))


@pytest.mark.parametrize("name", LAYOUTS)
def test_masks_are_alpha_and_never_frames(tmp_path, caplog, name):
    caplog.set_level("INFO")
    written(tmp_path, LAYOUTS[name])
    (source,) = find_animations(tmp_path)
    assert (source.name, source.count) == ("walk", COUNT)
    clip = read_clip(source, FramesConfig())
    assert clip.foreground == "masks"
    assert len(clip.frames) == COUNT
    for index, each in enumerate(clip.frames):
        np.testing.assert_array_equal(each.rgba[..., 3], mask(3 * index))
    assert sum("masks are used as alpha" in line for line in caplog.messages) == 1


def test_the_hash_follows_the_masks(tmp_path):
    written(tmp_path, LAYOUTS["sub_folder"])
    (source,) = find_animations(tmp_path)
    before = content_hash(source)
    assert before == read_hash(source)
    save(tmp_path / "walk" / "Masks" / "0001.png", mask(30))
    assert content_hash(source) != before
    assert content_hash(source) == read_hash(source)


def read_hash(source):
    from v2m4.io.read import read_pictures

    return read_pictures(source, FramesConfig()).digest


def test_pictures_with_such_names_that_are_no_masks_are_frames(tmp_path):
    for index in range(COUNT):
        save(tmp_path / "walk" / f"{index}.jpg", frame(index))
        save(tmp_path / "walk" / f"{index}_mask.jpg", NOISE)
    assert len(frame_files(tmp_path / "walk").pictures) == 2 * COUNT
    for index in range(COUNT):
        save(tmp_path / "run" / f"mask_{index}.png", mask(index))
    assert len(frame_files(tmp_path / "run").pictures) == COUNT


def test_an_asked_for_method_goes_before_masks(tmp_path, caplog):
    caplog.set_level("INFO")
    for index in range(COUNT):
        save(tmp_path / "walk" / f"{index}.png", disc(index))
        save(tmp_path / "walk" / f"{index}_mask.png", mask(index) * 0)
    clip = read_clip(find_animations(tmp_path)[0], FramesConfig(foreground="key"))
    assert clip.foreground.startswith("key")
    assert len(clip.frames) == COUNT
    assert any("are not used" in line for line in caplog.messages)


def test_frames_without_a_mask_are_segmented_with_a_warning(tmp_path, caplog):
    for index in range(COUNT):
        save(tmp_path / "walk" / f"{index}.png", disc(3 * index))
        if index != 2:
            save(tmp_path / "walk" / f"{index}_mask.png", mask(3 * index))
    clip = read_clip(find_animations(tmp_path)[0], FramesConfig())
    assert any("1 of 4 frames have no mask and are segmented" in line for line in caplog.messages)
    differs = np.mean((clip.frames[2].rgba[..., 3] > 127) != (mask(6) > 0))
    assert differs < 0.01


def test_masks_of_a_few_frames_are_not_used(tmp_path, caplog):
    for index in range(COUNT):
        save(tmp_path / "walk" / f"{index}.png", disc(3 * index))
    save(tmp_path / "walk" / "0_mask.png", mask(0))
    clip = read_clip(find_animations(tmp_path)[0], FramesConfig())
    assert clip.foreground.startswith("key")
    assert len(clip.frames) == COUNT
    assert any("only 1 of 4 frames have a mask" in line for line in caplog.messages)


def test_animated_pictures_beside_frames_are_no_frames(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", disc(index))
    save_animated(tmp_path / "preview.webp", [disc(), disc(3)], 40)
    assert [file.name for file in frame_files(tmp_path).pictures] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("suffix", ["tga", "avif", "jp2", "gif", "ppm", "TIF", "webp", "jfif"])
def test_formats_of_frames(tmp_path, suffix):
    for index in range(3):
        options = {"format": "JPEG"} if suffix == "jfif" else {}
        save(tmp_path / "walk" / f"{index}.{suffix}", disc(3 * index), **options)
    clip = read_clip(find_animations(tmp_path)[0], FramesConfig())
    assert len(clip.frames) == 3
    np.testing.assert_allclose(clip.frames[0].rgba[56, 44, :3], (200, 120, 60), atol=12)


def test_cut_outs_with_the_frames_name_are_masks(tmp_path):
    for index in range(COUNT):
        save(tmp_path / "walk" / f"{index}.jpg", frame(3 * index), quality=95)
        save(tmp_path / "walk" / f"{index}.png", np.dstack([frame(3 * index), mask(3 * index)]))
    clip = read_clip(find_animations(tmp_path)[0], FramesConfig())
    assert clip.foreground == "masks"
    np.testing.assert_array_equal(clip.frames[1].rgba[..., 3], mask(3))
