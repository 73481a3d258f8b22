"""Files that are no videos: one plain line says what they are and what to do."""

import struct

import pytest

from tests.v2m4.io.video_documents import encode, moving
from v2m4.io.sources import find_animations
from v2m4.io.video import read_video
from v2m4.io.video_errors import cut_short, diagnosis, no_video

CONTENTS = {
    "the file is empty": b"",
    "it is a text file": "a text with ümlauts, no video\n".encode() * 400,
    "it is a web page": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "it is an archive": b"PK\x03\x04" + bytes(100),
    "begins with zeros": bytes(9000),
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "damaged or of an unknown format; convert it to H.264": bytes(range(256)) * 8,
    "the moov box, is missing": struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0" + struct.pack(">I4s", 999, b"mdat"),
}


@pytest.mark.parametrize("reason", CONTENTS)
def test_what_a_file_is_is_said_in_one_line(tmp_path, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENTS[reason])
    (source,) = find_animations(tmp_path)
    assert source.count == 0
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video: ") as caught:
        read_video(path, 0, 30.0)
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert "Errno" not in message and "Invalid data" not in message


def test_a_download_without_its_index_is_not_complete(tmp_path):
    path = tmp_path / "a.mp4"
    encode(path, moving())
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(ValueError, match="the download or recording is not complete"):
        read_video(path, 0, 30.0)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "no such file" in diagnosis(tmp_path / "a.mp4")
    assert "folder" in diagnosis(tmp_path)
    assert str(no_video(tmp_path, "why")) == f"{tmp_path}: cannot be read as a video: why"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("b.mkv", {"container_options": {"live": "1"}}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.flv", {}),
        ("a.ts", {}),
        ("a.wmv", {"codec": "wmv2"}),
        ("a.ogv", {"codec": "libvpx"}),
        ("a.mpg", {"codec": "mpeg1video", "fps": 25}),
        ("a.ivf", {"codec": "libvpx"}),
    ],
)
def test_whole_files_are_not_cut_short(tmp_path, name, options):
    encode(tmp_path / name, moving(12), **options)
    assert not cut_short(tmp_path / name)
    if options.get("container_options") or name == "a.ivf":
        return
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) - 60])
    assert cut_short(tmp_path / name)
