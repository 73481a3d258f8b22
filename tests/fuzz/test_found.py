"""Files that fuzzing found to be read wrongly, each as small as it can be."""

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fuzz.child import fault
from tests.fuzz.readers import read_frames, read_mesh, read_moving, read_record
from v2m4.io.picture import read_picture

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[[Path], object]


def archive(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(name, b"v 0 0 0\n")
    return stream.getvalue()


def nameless() -> bytes:
    """An archive with an entry whose name has no letters."""
    data = bytearray(archive("a"))
    directory = data.rindex(b"PK\x01\x02")
    struct.pack_into("<HH", data, directory + 28, 0, 1)
    return bytes(data)


def before_its_beginning() -> bytes:
    """An archive whose entry begins before the file."""
    data = bytearray(archive("a.obj"))
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<I", data, end + 16, struct.unpack_from("<I", data, end + 16)[0] + 1000)
    return bytes(data)


def chunk_of_four_gibibytes() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    struct.pack_into(">I", data, data.index(b"IDAT") - 4, 0xFFFFFFF0)
    return bytes(data)


def gif_cut_in_a_frame() -> bytes:
    stream = io.BytesIO()
    images = [Image.new("L", (8, 8), value) for value in (0, 255)]
    images[0].save(stream, "GIF", save_all=True, append_images=images[1:])
    data = stream.getvalue()
    return data[: data.rindex(b",\0\0") + 3]


def big_tiff_with_a_far_tag() -> bytes:
    """A BigTIFF of 4 x 4 pixels, with a description at an offset that no signed number of 64 bits holds."""
    numbers = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 300), (278, 4), (279, 16)]
    entries = [struct.pack("<HHQQ", tag, 3, 1, value) for tag, value in numbers]
    entries.append(struct.pack("<HHQQ", 270, 2, 100, (1 << 63) + 5))
    header = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(entries))
    return header + b"".join(entries) + bytes(400)


def cameras_of_three_columns() -> bytes:
    frames = [{"name": "0", "extrinsics": np.eye(4)[:, :3].tolist()}]
    return json.dumps({"fov": 0.7, "aspect": 1.0, "fps": 10, "frames": frames}).encode()


def picture_of_a_hundred_million_pixels() -> bytes:
    """A TIFF of 24 rows that declares 3,735,556."""
    stream = io.BytesIO()
    Image.new("RGBA", (28, 24)).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    height = next(at for at in range(8, len(data)) if struct.unpack_from("<HxxI", data, at) == (257, 1))
    struct.pack_into("<HHII", data, height, 257, 4, 1, 3_735_556)
    return bytes(data)


FOUND: dict[str, tuple[str, bytes, Call]] = {
    "a corner of four indices": ("a.obj", b"v 0 0 0\nf 1/1/1/1 1 1\n", read_mesh),
    "a corner of four indices from the end": ("a.obj", b"v 0 0 0\nf 1 1 -1/-1/-1/-1\n", read_mesh),
    "an entry of an archive without a name": ("a.zip", nameless(), read_mesh),
    "an entry that begins before its archive": ("a.zip", before_its_beginning(), read_mesh),
    "a chunk that declares 4 GiB": ("a.png", chunk_of_four_gibibytes(), read_picture),
    "a BigTIFF with a tag beyond any file": ("a.tif", big_tiff_with_a_far_tag(), read_picture),
    "a GIF that ends in the head of a frame": ("a.gif", gif_cut_in_a_frame(), read_moving),
    "an AVI of its first letters": ("a.avi", b"RIFF\x01", read_frames),
    "a FLV of its first letters": ("a.flv", b"FLV", read_frames),
    "cameras whose matrices have three columns": ("cameras.json", cameras_of_three_columns(), read_record),
}


def test_a_large_picture_takes_little_more_than_its_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(picture_of_a_hundred_million_pixels())
    code = (
        "import sys; from pathlib import Path; from tests.fuzz import child; from v2m4.io.picture import read_picture\n"
        "child.MEMORY = 3 << 29; child.limit_memory(); print(read_picture(Path(sys.argv[1])).shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "(3735556, 28, 4)\n", done.stderr


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file, data, call = FOUND[name]
    (tmp_path / file).write_bytes(data)
    assert fault(call, tmp_path / file) is None
