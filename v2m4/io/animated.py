"""Animated pictures (GIF, APNG, WebP, AVIF, HEIF sequences) as videos, by Pillow."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from v2m4.io._frame_store import DECODED, FrameList, FrameStore
from v2m4.io.picture import BROKEN, HEIF_SUFFIXES, as_array, opaque_as_rgb, opened_picture, resized
from v2m4.io.timing import frame_times
from v2m4.io.video import Decoded

log = logging.getLogger(__name__)

ANIMATED_SUFFIXES = frozenset({".gif", ".png", ".apng", ".webp", ".avif", ".avifs"}) | HEIF_SUFFIXES
PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
EBML = b"\x1a\x45\xdf\xa3"  # Matroska and WebM
SHORTEST, DEFAULT_DURATION = 11.0, 100.0  # milliseconds: browsers show frames of a shorter duration for the default
TICK = 0.5e-3  # seconds: durations are whole milliseconds or more


def animated_count(path: Path) -> int:
    """Number of frames of a picture file of any name that is animated; 0 for a still picture or another file."""
    if not _begins_as_picture(path):
        return 0
    try:
        with opened_picture(path) as picture:
            count = int(getattr(picture, "n_frames", 1)) if getattr(picture, "is_animated", False) else 0
            return count if count > 1 and picture.format != "MPO" else 0
    except ValueError:
        return 0


def is_misnamed_video(path: Path) -> bool:
    """Whether a file has the suffix of an animated picture but is an MP4, MOV, Matroska or WebM file."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    head = _head(path)
    return head.startswith(EBML) or (head[4:8] == b"ftyp" and not _begins_as_picture(path))


def _begins_as_picture(path: Path) -> bool:
    """Whether a file begins as the formats of animated pictures do."""
    head = _head(path)
    if head[4:8] == b"ftyp":
        return head[8:12] in PICTURE_BRANDS
    return head.startswith((b"GIF8", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _head(path: Path) -> bytes:
    """The first bytes of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError:
        return b""


def read_animated(path: Path, max_side: int, store: FrameStore | None = None) -> Decoded:
    """Decode an animated picture; of a damaged one, the frames before the damage are used, with a warning.

    Args:
        path: the file.
        max_side: longer side of the frames at most, pixels; 0 keeps the size.
        store: of the frames; None keeps them in memory.

    Raises:
        ValueError: no frame of it can be read.
    """
    images = FrameList(store or FrameStore(), DECODED)
    durations: list[float] = []
    with opened_picture(path, whole=True) as picture:
        gif, count = picture.format == "GIF", int(getattr(picture, "n_frames", 1))
        first = 1 if count > 1 and getattr(picture, "default_image", False) else 0  # not part of the animation
        for index in range(first, count):
            try:
                picture.seek(index)
                picture.load()
            except BROKEN:
                if not images:
                    raise
                log.warning("%s: the file is damaged: %d of %d frames decode and are used", path, index, count)
                break
            duration = float(picture.info.get("duration") or 0)
            durations.append(duration if duration >= SHORTEST or not gif else DEFAULT_DURATION)
            frame = as_array(picture.convert("RGBA"))
            images.append(resized(np.ascontiguousarray(opaque_as_rgb(frame)), max_side))
    stamps = np.concatenate([[0.0], np.cumsum(durations)]) / 1000
    times, fps = frame_times(stamps[:-1].tolist(), [(len(durations) / stamps[-1]) if stamps[-1] > 0 else 10.0], TICK)
    return Decoded(images, times, fps)
