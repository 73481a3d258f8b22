"""Hashes of input files, and of everything that a clip's pictures depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from v2m4.config import FramesConfig
from v2m4.io.segmenter import Segmenter


def file_content(file: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); check the file") from error


def picture_hash(file: Path, data: bytes) -> bytes:
    """Hash of a picture file's name and content."""
    return hashlib.sha256(file.name.encode("utf-8", "surrogateescape") + b"\0" + data).digest()


def folder_hash(pictures: Iterable[bytes]) -> str:
    """Hash of a folder: of the hashes of its pictures, in order."""
    return hashlib.sha256(b"".join(pictures)).hexdigest()


def video_hash(path: Path) -> str:
    """Hash of a video file's content, read in chunks."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def input_hash(content: str, config: FramesConfig, segmenter: Segmenter | None = None) -> str:
    """Hash of everything that a clip's pictures depend on: the input's content, the options, the network."""
    follows = f"{content} {config.foreground} {config.max_side}"
    if segmenter is not None:
        follows += f" {segmenter.identity}"
    return hashlib.sha256(follows.encode()).hexdigest()
