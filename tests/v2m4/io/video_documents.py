"""Small videos and pictures of many kinds, made for the tests of the readers."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

SIZE = (96, 128)  # rows, columns


def disc(shift=0, size=SIZE, background=(0, 0, 0), color=(200, 120, 60), radius=20):
    """A disc on a plain background, (H, W, 3) uint8; it moves to the right with ``shift`` pixels."""
    image = np.full((*size, 3), background, np.uint8)
    cv2.circle(image, (40 + shift, 46), radius, color, -1, cv2.LINE_AA)
    cv2.circle(image, (34 + shift, 40), 6, (40, 60, 200), -1, cv2.LINE_AA)
    return image


def disc_rgba(shift=0, size=SIZE):
    """The same with straight alpha, (H, W, 4) uint8; its background is transparent."""
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (40 + shift, 46), 20, 255, -1)
    return np.dstack([disc(shift, size, (200, 120, 60)), mask])


def moving(count=6, **options):
    """Frames of a disc that moves by 3 pixels a frame."""
    return [disc(3 * index, **options) for index in range(count)]


def encode(
    path: Path, frames, codec="libx264", pix_fmt="yuv420p", fps=10, times=None, tick=None, setup=None, **options
):
    """Encode frames (H, W, 3 or 4) uint8, or (H, W, 3) uint16, with PyAV.

    Args:
        path: of the video; its suffix decides the container.
        frames: pictures; as ``av.VideoFrame`` they are encoded as they are.
        codec: encoder.
        pix_fmt: pixel format.
        fps: frames per second.
        times: seconds of each frame, in place of ``fps``.
        tick: unit of the time stamps, seconds.
        setup: called with the stream before encoding.
        options: of the encoder; ``format`` names the container, ``container_options`` its muxer's options.
    """
    container = av.open(
        str(path), "w", format=options.pop("format", None), options=options.pop("container_options", {})
    )
    stream = container.add_stream(codec, rate=Fraction(fps), options={k: str(v) for k, v in options.items()})
    stream.pix_fmt = pix_fmt
    tick = Fraction(tick or (1 / Fraction(1000) if times is not None else 1 / Fraction(fps)))
    stream.codec_context.time_base = tick
    first = frames[0]
    stream.height, stream.width = (first.height, first.width) if hasattr(first, "height") else first.shape[:2]
    if setup is not None:
        setup(stream)
    for index, picture in enumerate(frames):
        if isinstance(picture, av.VideoFrame):
            frame = picture
        else:
            kind = {3: "rgb48le" if picture.dtype == np.uint16 else "rgb24", 4: "rgba"}[picture.shape[2]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
        frame.pts = round(times[index] / tick) if times is not None else index
        frame.time_base = tick
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()


def save_animated(path: Path, frames, durations, **options):
    """Write an animated picture (GIF, APNG, WebP, AVIF) by Pillow; durations in milliseconds."""
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, **options)


def save(path: Path, image, **options):
    """Write a still picture, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def centre(rgba):
    """Mean column of the foreground, pixels."""
    return float(np.nonzero(rgba[..., 3] > 127)[1].mean())
