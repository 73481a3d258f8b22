"""Video files that are broken, empty or not videos."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.bad_input.table import ANY, Case, clip, nothing, picture, run
from tests.v2m4.io.video_documents import encode


def frames(count: int = 6) -> list[np.ndarray]:
    return [np.ascontiguousarray(picture(index % 12 - 6, 64)[..., :3]) for index in range(count)]


def video(name: str, count: int = 6, keep: float = 1.0, **options: object) -> Callable[[Path], None]:
    """A writer of a video, of which a share of the bytes is kept."""

    def write(root: Path) -> None:
        encode(root / name, frames(count), **options)
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(keep * len(data))])

    return write


def file(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(data)


def sound_only(root: Path) -> None:
    with av.open(str(root / "clip.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_frames(root: Path) -> None:
    """An AVI with the header of a video and nothing behind it."""
    encode(root / "clip.avi", frames(), codec="mpeg4")
    data = (root / "clip.avi").read_bytes()
    (root / "clip.avi").write_bytes(data[: data.index(b"movi") + 4])


def of_noise(root: Path) -> None:
    """A video the data of whose frames is noise, between a whole header and a whole end."""
    encode(root / "clip.mp4", frames())
    data = (root / "clip.mp4").read_bytes()
    start = data.index(b"mdat") + 4
    length = struct.unpack(">I", data[start - 8 : start - 4])[0] - 8
    noise = np.random.default_rng(0).integers(0, 255, length).astype(np.uint8).tobytes()
    (root / "clip.mp4").write_bytes(data[:start] + noise + data[start + length :])


def playlist(root: Path) -> None:
    (root / "clip.mp4").write_text(f"ffconcat version 1.0\nfile {clip(root, 3, '.hidden')}/0.png\n")


CASES = [
    Case("an empty video", file("clip.mp4", b""), 1, r"clip\.mp4: cannot be read as a video: the file is empty \(0"),
    Case("a video of zeros", file("clip.mp4", bytes(9000)), 1, "the file begins with zeros"),
    Case("a text called video", file("clip.mp4", b"a text\n" * 99), 1, "it is a text file; give a video or a folder"),
    Case("a web page called video", file("clip.mp4", b"<!DOCTYPE html><html>404</html>"), 1, "it is a web page"),
    Case("an archive called video", file("clip.mov", b"PK\x03\x04" + bytes(99)), 1, "it is an archive"),
    Case("noise called video", file("clip.webm", bytes(range(256)) * 9), 1, "damaged or of an unknown format; convert"),
    Case("a list of files called video", playlist, 1, "cannot be read as a video"),
    Case("a video without its index", video("clip.mp4", keep=0.5), 1, "the download or recording is not complete"),
    Case(
        "a video whose end is broken",
        video("clip.mkv", 40, 0.8),
        0,
        "the file is cut short: .* and are used",
        frames=ANY,
    ),
    Case("a video of noise", of_noise, 1, "no frame of it decodes"),
    Case("a video of sound alone", sound_only, 1, "clip.mp4: cannot be read as a video"),
    Case("a video without frames", no_frames, 1, "clip.avi: cannot be read as a video"),
    Case("a video of one frame", video("clip.mp4", 1), 0, frames=1),
    Case(
        "a video with another suffix",
        lambda root: (video("a.mp4")(root), (root / "a.mp4").rename(root / "clip.gif")),
        0,
        frames=6,
    ),
    Case(
        "a GIF that is cut off at once",
        file("clip.gif", b"GIF89a\x10\x00"),
        2,
        "clip.gif: cannot be read as a picture",
        ("--video", "{root}/clip.gif"),
    ),
    Case("no such video", nothing, 2, "gone.mp4: no such folder", ("--video", "{root}/gone.mp4")),
    Case("a text as --video", file("a.mp3", b"x"), 2, "a.mp3: not a video file", ("--video", "{root}/a.mp3")),
    Case("several animations as --video", clip, 2, "--video .*: 2 animations in it; give one", ("--video", "{root}")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_videos(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(case, tmp_path, monkeypatch, capsys)
