"""Frames that are broken, odd or not pictures at all."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.bad_input.table import Case, clip, picture, run, save, with_frame


def encoded(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def opaque(shift: int = 0) -> np.ndarray:
    """The disc on black, (H, W, 3) uint8."""
    return np.ascontiguousarray(picture(shift)[..., :3])


def declared(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + struct.pack(">I", 0) + b"IEND\xaeB`\x82"


def frames_of(make: Callable[[int], bytes], suffix: str = ".png", count: int = 3) -> Callable[[Path], None]:
    """A writer of a clip of encoded frames."""

    def write(root: Path) -> None:
        (root / "clip").mkdir()
        for index in range(count):
            (root / "clip" / f"{index}{suffix}").write_bytes(make(index))

    return write


def rgba_frames(*frames: np.ndarray) -> Callable[[Path], None]:
    return frames_of(lambda index: encoded(Image.fromarray(frames[index]), format="PNG"), count=len(frames))


def two_objects() -> np.ndarray:
    rgba = np.zeros((64, 64, 4), np.uint8)
    for x in (16, 46):
        cv2.circle(rgba, (x, 32), 9, (200, 90, 60, 255), -1)
    return rgba


def at_the_edge() -> np.ndarray:
    rgba = np.zeros((48, 48, 4), np.uint8)
    cv2.circle(rgba, (2, 24), 10, (200, 90, 60, 255), -1)
    return rgba


def deep(index: int) -> bytes:
    return cv2.imencode(".png", opaque(index)[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def palette(index: int) -> bytes:
    image = Image.fromarray(opaque(index)).quantize(8)
    return encoded(image, format="PNG", transparency=image.getpixel((0, 0)))


def animated(path: Path, count: int = 4) -> None:
    images = [Image.fromarray(picture(index)) for index in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)


def huge(root: Path) -> None:
    """One frame of 12,000 x 12,000 pixels, a disc on black."""
    pixels = np.zeros((12_000, 12_000), np.uint8)
    cv2.circle(pixels, (6000, 6000), 3000, 255, -1)
    (root / "clip").mkdir()
    assert cv2.imwrite(str(root / "clip" / "0.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])


PNG = encoded(Image.fromarray(picture()), format="PNG")
JPEG = encoded(Image.fromarray(opaque()), format="JPEG", quality=95)
NOISE = np.random.default_rng(0).integers(0, 255, (48, 48, 3)).astype(np.uint8)
BROKEN = r"clip[/\\]1\.\w+: cannot be read as a picture \(.+\); replace or remove it"

CASES = [
    Case("a PNG that is cut off", with_frame(PNG[: len(PNG) // 2]), 1, BROKEN),
    Case("a PNG of its first bytes", with_frame(PNG[:20]), 1, BROKEN),
    Case("a JPEG that is cut off", frames_of(lambda index: JPEG[: 400 if index == 1 else None], ".jpg"), 1, BROKEN),
    Case("an empty file", with_frame(b""), 1, BROKEN),
    Case("a file of zeros", with_frame(bytes(4096)), 1, BROKEN),
    Case("a text with a picture's name", with_frame(b"not a picture\n"), 1, BROKEN),
    Case("a web page with a picture's name", with_frame(b"<!doctype html><html></html>"), 1, BROKEN),
    Case("an SVG with a picture's name", with_frame(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 1, BROKEN),
    Case("a PNG whose data is damaged", with_frame(PNG[:60] + bytes(30) + PNG[90:]), 1, BROKEN),
    Case("a PNG of no pixels", with_frame(declared(0, 0)), 1, BROKEN),
    Case(
        "a PNG that declares 60,000 x 60,000 pixels",
        with_frame(declared(60_000, 60_000)),
        1,
        "it declares more than the 150 million",
    ),
    Case("a PNG that declares 13,000 x 13,000 pixels", with_frame(declared(13_000, 13_000)), 1, r"13000 x 13000 pixel"),
    Case("frames of 12,000 x 12,000 pixels", huge, 0, frames=1),
    Case("JPEGs called PNG", frames_of(lambda index: JPEG), 0, frames=3),
    Case("a picture without suffix", with_frame(PNG, "1"), 0, frames=3),
    Case("frames of 1 x 1 pixel", rgba_frames(*[np.full((1, 1, 4), 255, np.uint8)] * 2), 1, "clip: the object is seen"),
    Case("frames of 1 x 64 pixels", rgba_frames(*[np.full((64, 1, 4), 255, np.uint8)] * 2), 1, "clip: "),
    Case("frames of 64 x 1 pixels", rgba_frames(*[np.full((1, 64, 4), 255, np.uint8)] * 2), 1, "clip: "),
    Case(
        "grey of 16 bits",
        frames_of(lambda index: encoded(Image.fromarray(opaque(index)[..., 0].astype(np.uint16) * 257), format="PNG")),
        0,
        frames=3,
    ),
    Case("colours of 16 bits", frames_of(deep), 0, frames=3),
    Case(
        "CMYK",
        frames_of(lambda index: encoded(Image.fromarray(opaque(index)).convert("CMYK"), format="JPEG"), ".jpg"),
        0,
        frames=3,
    ),
    Case("a palette with transparency", frames_of(palette), 0, frames=3),
    Case(
        "black and white",
        frames_of(lambda index: encoded(Image.fromarray(picture(index)[..., 3]).convert("1"), format="PNG")),
        0,
        frames=3,
    ),
    Case("an animated PNG", lambda root: animated(root / "clip.png"), 0, frames=4),
    Case(
        "an animated PNG that is cut off",
        lambda root: (
            animated(root / "clip.png"),
            (root / "clip.png").write_bytes((root / "clip.png").read_bytes()[:-200]),
        ),
        0,
        "the file is damaged: ",
        frames=2,
    ),
    Case("an animated PNG among frames", lambda root: animated(clip(root) / "preview.png"), 0, frames=3),
    Case(
        "alpha that is 0 everywhere",
        rgba_frames(*[picture() * np.array([1, 1, 1, 0], np.uint8)] * 2),
        1,
        "clip: the object is seen in 0 of 2 frames",
    ),
    Case(
        "alpha that is 255 everywhere",
        rgba_frames(*[np.dstack([opaque(index), np.full((48, 48), 255, np.uint8)]) for index in range(2)]),
        0,
        frames=2,
    ),
    Case(
        "one colour everywhere",
        rgba_frames(*[np.full((48, 48, 3), 90, np.uint8)] * 3),
        1,
        "clip: the object is seen in 0 of 3",
    ),
    Case("two objects", rgba_frames(two_objects(), two_objects()), 0, frames=2),
    Case("an object that touches the edge", rgba_frames(at_the_edge(), at_the_edge()), 0, frames=2),
    Case("one frame", lambda root: clip(root, 1), 0, frames=1),
    Case("two equal frames", rgba_frames(picture(), picture()), 0, frames=2),
    Case(
        "sizes that change",
        lambda root: save(clip(root) / "1.png", picture(0, 60)),
        1,
        r"1\.png: 60 x 60 pixels, but 0\.png has 48 x 48",
    ),
    Case(
        "one name with two suffixes",
        lambda root: (frames_of(lambda index: JPEG, ".jpg")(root), (root / "clip" / "1.jpeg").write_bytes(JPEG)),
        1,
        "has the same name as 1",
    ),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest undoes the program's own filter
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_pictures(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(case, tmp_path, monkeypatch, capsys)
