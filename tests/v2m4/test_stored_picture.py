import os
from pathlib import Path

import numpy as np
import pytest

from v2m4 import stored_picture
from v2m4.frame import Frame
from v2m4.stored_picture import StoredPicture, encoded, read_png


def stored(folder: Path, seed: int, size: int = 20) -> StoredPicture:
    picture = np.random.default_rng(seed).integers(0, 256, (size, size + 4, 4), np.uint8)
    path = folder / f"{seed}.png"
    path.write_bytes(encoded(picture))
    return StoredPicture(path, (size, size + 4, 4))


def test_pixels_are_those_of_the_file_and_read_only(tmp_path: Path) -> None:
    picture = stored(tmp_path, 1)
    np.testing.assert_array_equal(picture.pixels(), read_png(picture.path))
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels()[0, 0, 0] = 0
    frame = Frame("1", 0, picture)
    assert frame.aspect == pytest.approx(24 / 20)
    assert frame.rgba is picture.pixels()


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    picture = stored(tmp_path, 1)
    before = picture.pixels()
    picture.path.write_bytes(encoded(255 - before))
    os.utime(picture.path, ns=(1, 1))
    np.testing.assert_array_equal(picture.pixels(), 255 - before)


def test_only_the_last_pictures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [stored(tmp_path, seed) for seed in range(6)]
    size = pictures[0].pixels().nbytes
    kept = stored_picture._KeptPictures(3 * size)
    monkeypatch.setattr(stored_picture, "_kept", kept)
    for picture in pictures:
        picture.pixels()
        pictures[0].pixels()  # looked at all the time
        assert kept.bytes == sum(one.nbytes for one in kept.pictures.values()) <= 3 * size
    assert [version[0].stem for version in kept.pictures] == ["4", "5", "0"]


def test_broken_files_and_other_sizes_are_errors(tmp_path: Path) -> None:
    picture = stored(tmp_path, 1)
    with pytest.raises(ValueError, match="use --overwrite"):
        StoredPicture(picture.path, (9, 9, 4)).pixels()
    picture.path.write_bytes(picture.path.read_bytes()[:40])
    with pytest.raises(ValueError, match="not a picture"):
        picture.pixels()
