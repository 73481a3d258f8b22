"""Animated pictures (GIF, APNG, WebP, AVIF, HEIF sequences) as videos, by Pillow."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from v2m4.io.picture import BROKEN, HEIF_SUFFIXES, as_array, opaque_as_rgb, opened_picture, resized
from v2m4.io.timing import frame_times
from v2m4.io.video import Decoded

log = logging.getLogger(__name__)

ANIMATED_SUFFIXES = frozenset({".gif", ".png", ".apng", ".webp", ".avif", ".avifs"}) | HEIF_SUFFIXES
SHORTEST, DEFAULT_DURATION = 11.0, 100.0  # milliseconds: browsers show frames of a shorter duration for the default
TICK = 0.5e-3  # seconds: durations are whole milliseconds or more


def animated_count(path: Path) -> int:
    """Number of frames of a picture file that is animated; 0 for a still picture or another file."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return 0
    try:
        with opened_picture(path) as picture:
            count = int(getattr(picture, "n_frames", 1)) if getattr(picture, "is_animated", False) else 0
            return count if count > 1 and picture.format != "MPO" else 0
    except ValueError:
        return 0


def read_animated(path: Path, max_side: int) -> Decoded:
    """Decode an animated picture; of a damaged one, the frames before the damage are used, with a warning.

    Args:
        path: the file.
        max_side: longer side of the frames at most, pixels; 0 keeps the size.

    Raises:
        ValueError: no frame of it can be read.
    """
    images: list[np.ndarray] = []
    durations: list[float] = []
    with opened_picture(path) as picture:
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
