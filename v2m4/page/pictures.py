"""Pictures as data URIs: the video's frames, at a size that keeps the page small, and pictures of the stages."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from v2m4.io.picture import resized
from v2m4.page.run import PICTURE_SIDE, Run
from v2m4.threads import in_runs

LEVELS = (
    (PICTURE_SIDE, 80),
    (400, 75),
    (320, 70),
    (256, 65),
    (192, 55),
    (128, 45),
    (96, 30),
)  # longer side, WebP quality
SAMPLES = 6  # frames by which a level's size is estimated
ESTIMATE_MARGIN = 1.15


@dataclass(frozen=True)
class FramePictures:
    """The frames of the video as the page holds them.

    Attributes:
        uris: of every ``step``-th frame; empty text for a frame without a picture.
        longer: longer side, pixels.
        step: frames that share one picture.
    """

    uris: list[str]
    longer: int
    step: int = 1


def encode_webp(pixels: np.ndarray, quality: int) -> bytes:
    """A picture (H, W, 3 or 4) uint8 as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def data_uri(data: bytes, mime: str = "image/webp") -> str:
    """The bytes as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def picture_uri(pixels: np.ndarray, longer: int, quality: int = 82) -> str:
    """A picture (H, W, 3 or 4) uint8 as the data URI of a WebP whose longer side is at most ``longer`` pixels."""
    return data_uri(encode_webp(resized(pixels, longer), quality))


def frame_pictures(run: Run, budget: int) -> FramePictures:
    """The frames' pictures in the best quality that fits.

    Args:
        run: the animation.
        budget: bytes that all data URIs together may take.

    Raises:
        ValueError: a picture is damaged, or not even the smallest pictures fit.
    """
    count = len(run.names)
    samples = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).round().astype(int)).tolist()
    for step in (1, 2, 4, 8, 16, 32):
        for longer, quality in LEVELS if step == 1 else LEVELS[3:]:
            sizes = [len(uri) for uri in _encoded(run, samples, longer, quality)]
            if ESTIMATE_MARGIN * float(np.mean(sizes)) * -(-count // step) > budget:
                continue
            stored = _encoded(run, list(range(0, count, step)), longer, quality)
            if sum(map(len, stored)) <= budget:
                return FramePictures(stored, longer, step)
    raise ValueError(f"{run.folder}: the pictures of {count} frames do not fit into the page")


def _encoded(run: Run, indices: Sequence[int], longer: int, quality: int) -> list[str]:
    def encode(index: int) -> str:
        pixels = run.picture(run.names[index])
        return "" if pixels is None else picture_uri(pixels, longer, quality)

    return list(in_runs(encode, indices))
