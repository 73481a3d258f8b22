"""Say in plain words why a file cannot be read as a video, and whether a readable one is cut short."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

CONVERT = "convert it to H.264 (ffmpeg -i {name} -pix_fmt yuv420p out.mp4) or to a folder of pictures"
HEAD = 4096  # bytes at the beginning of a file from which its kind is recognised
SEGMENT = b"\x18\x53\x80\x67"  # of Matroska and WebM
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
TS_PACKET = 188  # bytes
TAIL = 1 << 20  # bytes at the end of a file that are looked at
ARCHIVES = (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")


def no_video(path: Path, why: str = "") -> ValueError:
    """The error of a file that cannot be read as a video, with the reason and what to do.

    Args:
        path: the file.
        why: the reason, followed by what to do, where it is known; else it is looked for in the file.
    """
    return ValueError(f"{path}: cannot be read as a video: {why or diagnosis(path)}")


def diagnosis(path: Path) -> str:
    """Why a file is no readable video, and what to do; in one line."""
    try:
        if path.is_dir():
            return "it is a folder"
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEAD)
            boxes = [kind for kind, *_ in iso_boxes(stream, size)] if is_iso_media(head) else []
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"it cannot be read ({error.strerror}); check the file"
    start = head[:1024].lstrip().lower()
    reasons = {
        "the file is empty (0 bytes); download or copy it again": size == 0,
        "the download or recording is not complete (its index, the moov box, is missing); download it again": (
            is_iso_media(head) and b"moov" not in boxes
        ),
        "the file begins with zeros, so the download is not complete; download it again": not head.strip(b"\0"),
        "it is a web page; download the video itself": start.startswith((b"<!doctype", b"<html", b"<?xml")),
        "it is an archive; extract the video from it": head.startswith(ARCHIVES),
        "it is a Git LFS pointer; fetch the file itself (git lfs pull)": head.startswith(b"version https://git-lfs"),
        "it is a text file; give a video or a folder of pictures": _is_text(head),
        "the download is not complete; download it again": size > 0 and cut_short(path),
    }
    unknown = f"it is damaged or of an unknown format; {CONVERT.format(name=path.name)}"
    return next((reason for reason, holds in reasons.items() if holds), unknown)


def cut_short(path: Path) -> bool:
    """Whether a video file ends before the data that its structure announces; False where that cannot be told."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        if is_iso_media(head):
            return any(start + length > size for _, start, length in iso_boxes(stream, size))
        stream.seek(max(0, size - TAIL))
        tail = stream.read()
    reader = next((reader for start, reader in ENDS.items() if head.startswith(start)), None)
    try:
        return reader is not None and reader(head, tail, size)
    except (struct.error, IndexError):  # it ends within its first structures
        return True


def _avi_cut(head: bytes, tail: bytes, size: int) -> bool:
    return struct.unpack("<I", head[4:8])[0] + 8 > size


def _asf_cut(head: bytes, tail: bytes, size: int) -> bool:
    at = head.find(ASF_FILE_PROPERTIES)
    return at >= 0 and struct.unpack("<Q", head[at + 40 : at + 48])[0] > size


def _flv_cut(head: bytes, tail: bytes, size: int) -> bool:
    length = struct.unpack(">I", tail[-4:])[0]  # of the last tag, which begins with its kind
    return not 11 <= length < len(tail) - 4 or tail[-4 - length] not in (8, 9, 18)


def _ogg_cut(head: bytes, tail: bytes, size: int) -> bool:
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4  # end of stream


def _program_stream_cut(head: bytes, tail: bytes, size: int) -> bool:
    last = max(tail.rfind(b"\x00\x00\x01" + kind) for kind in (b"\xe0", b"\xc0", b"\xbd", b"\xbe"))  # a packet
    return last >= 0 and last + 6 + int.from_bytes(tail[last + 4 : last + 6], "big") > len(tail)


def _transport_stream_cut(head: bytes, tail: bytes, size: int) -> bool:
    return head[TS_PACKET : TS_PACKET + 1] == b"G" and size % TS_PACKET != 0


def _matroska_cut(head: bytes, tail: bytes, size: int) -> bool:
    at = head.find(SEGMENT) + 4
    if at < 4 or at >= len(head) or head[at] == 0:
        return False
    width = 9 - head[at].bit_length()
    unknown = (1 << 7 * width) - 1  # of a live recording
    length = int.from_bytes(head[at : at + width], "big") & unknown
    return length != unknown and at + width + length > size


ENDS: dict[bytes, Callable[[bytes, bytes, int], bool]] = {
    b"\x1a\x45\xdf\xa3": _matroska_cut,
    b"RIFF": _avi_cut,
    ASF: _asf_cut,
    b"FLV": _flv_cut,
    b"OggS": _ogg_cut,
    b"\x00\x00\x01\xba": _program_stream_cut,
    b"G": _transport_stream_cut,
}


def is_iso_media(head: bytes) -> bool:
    """Whether a file begins as MP4 and MOV do."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def iso_boxes(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length in bytes of the outermost boxes of an MP4 or MOV file (ISO 14496-12, 4.2)."""
    start = 0
    while start + 8 <= size:
        stream.seek(start)
        length, kind = struct.unpack(">I4s", stream.read(8))
        if length == 1:
            length = int.from_bytes(stream.read(8), "big")
        elif length == 0:
            length = size - start
        if length < 8:
            return
        yield kind, start, length
        start += length


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not a character cut at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)
