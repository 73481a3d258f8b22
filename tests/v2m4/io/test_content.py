"""Hashes of inputs: names, contents, options and weights tell them apart; nothing is decoded."""

from types import SimpleNamespace

import pytest

from v2m4.config import FramesConfig
from v2m4.io.content import file_content, folder_hash, input_hash, picture_hash, video_hash


def test_pictures_differ_by_name_content_and_order(tmp_path):
    first, second = tmp_path / "0.png", tmp_path / "1.png"
    hashes = [picture_hash(first, b"a"), picture_hash(first, b"b"), picture_hash(second, b"a")]
    assert len(set(hashes)) == 3
    assert picture_hash(first, b"a") == hashes[0]
    assert folder_hash(hashes) == folder_hash(iter(hashes)) != folder_hash(hashes[::-1])


def test_a_large_video_is_hashed_as_a_whole(tmp_path):
    (tmp_path / "a.mp4").write_bytes(bytes(3 << 20) + b"a")
    (tmp_path / "b.mp4").write_bytes(bytes(3 << 20) + b"b")
    assert video_hash(tmp_path / "a.mp4") != video_hash(tmp_path / "b.mp4")


def test_options_and_weights_are_part_of_the_input():
    plain = FramesConfig()
    network = [SimpleNamespace(identity=name) for name in ("weights 1", "weights 2")]
    hashes = {
        input_hash("content", plain),
        input_hash("other", plain),
        input_hash("content", FramesConfig(foreground="key")),
        input_hash("content", FramesConfig(max_side=0)),
        *(input_hash("content", plain, segmenter) for segmenter in network),
    }
    assert len(hashes) == 6
    assert input_hash("content", FramesConfig(fps=12)) == input_hash("content", plain)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"0\.png: cannot be read"):
        file_content(tmp_path / "0.png")
