"""Decode video files through FFmpeg (PyAV), and write them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace

from v2m4.io._frame_store import DECODED, FrameList, FrameStore, LazyFrames
from v2m4.io._video_frames import decoded_frames, pixel_aspect, seconds, upright
from v2m4.io.color import is_hdr, to_srgb
from v2m4.io.picture import check_size
from v2m4.io.timing import frame_times
from v2m4.io.video_errors import CONVERT, cut_short, diagnosis, no_video
from v2m4.workspace import atomic

log = logging.getLogger(__name__)

TEXT_FORMATS = frozenset({"tty", "srt", "ass", "webvtt", "concat", "hls", "lrc", "sdp"})  # of files that name others
SAME_SHAPE = 0.02  # relative difference of two pictures' aspects
# Tags that are no UTF-8 are of no interest: PyAV 19 (Python 3.12 on) always reads them, older ones fail without this.
OPEN_OPTIONS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
WRITTEN_TICK = Fraction(1, 90000)  # seconds: unit of the time stamps of a written video of variable rate


@dataclass(frozen=True)
class Decoded:
    """The frames of a video.

    Attributes:
        images: (H, W, 3 or 4) uint8 sRGB each, straight alpha, upright, square pixels.
        times: (T,) float64 seconds from 0, strictly ascending.
        fps: mean rate, frames per second.
    """

    images: Sequence[np.ndarray]
    times: np.ndarray
    fps: float


def frame_count(path: Path) -> int:
    """Number of a video's frames by its header; 0 where it does not tell or the file cannot be read."""
    try:
        with _opened(path) as container:
            stream = video_streams(container)[0]
            if stream.frames:
                return int(stream.frames)
            seconds = container.duration / av.time_base if container.duration else 0.0
            return round(seconds * float(stream.guessed_rate or 0))
    except (OSError, FFmpegError, ValueError, IndexError):
        return 0


def is_video(path: Path) -> bool:
    """Whether a file of any name has a video stream."""
    try:
        with _opened(path) as container:
            return bool(video_streams(container))
    except (OSError, FFmpegError, ValueError):
        return False


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams of a container without its cover pictures, the most likely one first."""
    streams = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]  # timed thumbnails and still pictures that are not marked as covers have one packet
    return sorted(
        streams,
        key=lambda stream: (
            stream.codec_context is None,
            stream.frames == 1,
            bool(stream.disposition & Disposition.timed_thumbnails),
            -_area(stream),
            not stream.disposition & Disposition.default,
            stream.index,
        ),
    )


def _area(stream: av.VideoStream) -> int:
    return stream.width * stream.height if stream.codec_context is not None else 0


def _opened(path: Path) -> av.container.InputContainer:
    """Open a video file.

    Raises:
        ValueError: it holds a format that names other files or is a text.
        FFmpegError: it cannot be opened.
    """
    container = av.open(str(path), **OPEN_OPTIONS)
    if TEXT_FORMATS & set(container.format.name.split(",")):
        container.close()
        raise no_video(path)
    return container


def read_video(path: Path, max_side: int, default_fps: float, store: FrameStore | None = None) -> Decoded:
    """Decode a video file; what cannot be decoded of a damaged one is left out with a warning.

    Args:
        path: of any format that FFmpeg reads.
        max_side: longer side of the frames at most, pixels; 0 keeps the size.
        default_fps: frames per second, where the file does not tell.
        store: of the frames; None keeps them in memory.

    Raises:
        ValueError: nothing in it can be decoded; one line with the reason and what to do.
    """
    try:
        with _opened(path) as container:
            stream = _chosen_stream(path, container)
        with _opened(path) as container:
            images = FrameList(store or FrameStore(), DECODED)
            return _decoded(path, container, container.streams[stream], images, max_side, default_fps)
    except (OSError, FFmpegError, IndexError) as error:
        raise no_video(path) from error


def _chosen_stream(path: Path, container: av.container.InputContainer) -> int:
    """Index of the stream to decode: where there are several, one with more than one packet.

    Raises:
        ValueError: there is none.
    """
    streams = video_streams(container)
    if not streams:
        what = "only sound" if container.streams.audio else "no pictures that move"
        raise no_video(path, f"there is no video in it ({what}); give a file with a video stream")
    if len(streams) == 1:
        return streams[0].index
    packets = dict.fromkeys((stream.index for stream in streams), 0)
    try:
        for packet in container.demux(streams):
            packets[packet.stream.index] += packet.size > 0
    except FFmpegError:
        pass  # of a damaged file; the decoder tells
    return next((stream.index for stream in streams if packets[stream.index] > 1), streams[0].index)


def _decoded(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    images: FrameList,
    max_side: int,
    default_fps: float,
) -> Decoded:
    if stream.codec_context is None:
        raise no_video(path, f"its codec is not known here; {CONVERT.format(name=path.name)}")
    try:
        check_size(stream.width, stream.height)
    except ValueError as error:
        raise no_video(path, str(error)) from error
    stamps: list[float | None] = []
    damaged = 0
    size: tuple[int, ...] | None = None
    hdr, transparent = False, True
    tick = float(stream.time_base or 0)
    for frame in decoded_frames(container, stream):
        if frame is None:
            damaged += 1
            continue
        picture = upright(to_srgb(frame, pixel_aspect(stream), max_side), frame)
        if frame.is_corrupt and not _follows(picture, images):
            damaged += 1
            continue
        size, hdr = size or picture.shape[:2], hdr or is_hdr(frame)
        picture = _of_size(picture, size, path)
        transparent = transparent and picture.shape[2] == 4 and not picture[..., 3].any()
        images.append(picture)
        stamps.append(seconds(frame, tick))
    if not images:
        raise no_video(path, _why_nothing(path, stream))
    if hdr:
        log.info("%s: HDR video, mapped to sRGB (reference white of ITU-R BT.2408)", path)
    rates = [float(rate or 0) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate)]
    times, fps = frame_times(stamps, [*rates, default_fps], tick)
    _warn_of_damage(path, container, stream, times, fps, damaged)
    return Decoded(_without_alpha(images) if transparent else images, times, fps)


def _of_size(picture: np.ndarray, size: tuple[int, ...], path: Path) -> np.ndarray:
    """A picture at the size of the first one: players scale where a recording changes its resolution.

    Raises:
        ValueError: its shape is another.
    """
    if picture.shape[:2] == size:
        return picture
    if abs(picture.shape[1] * size[0] / (picture.shape[0] * size[1]) - 1) > SAME_SHAPE:
        raise no_video(path, f"its picture changes its shape; {CONVERT.format(name=path.name)}")
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))


def _follows(picture: np.ndarray, images: Sequence[np.ndarray]) -> bool:
    """Whether a frame of a damaged packet differs from its predecessor no more than theirs did from each other."""
    if not images or picture.shape[:2] != images[-1].shape[:2]:
        return False
    small = [cv2.resize(image[..., :3], (16, 16), interpolation=cv2.INTER_AREA) for image in [*images[-8:], picture]]
    steps = [float(cv2.absdiff(first, second).max()) for first, second in pairwise(small)]
    return steps[-1] <= max(32.0, 2 * max(steps[:-1], default=0.0))


def _without_alpha(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The frames without alpha channels, which some encoders leave 0 everywhere in all frames."""
    return LazyFrames(len(images), lambda index: np.ascontiguousarray(images[index][..., :3]))


def _why_nothing(path: Path, stream: av.VideoStream) -> str:
    if cut_short(path):
        return "the download is not complete, and no frame of it decodes; download it again"
    if stream.frames == 0 and stream.duration in (None, 0) and not stream.codec_context.width:
        return diagnosis(path)
    name = stream.codec_context.name
    return f"no frame of it decodes (codec {name}); {CONVERT.format(name=path.name)}"


def _warn_of_damage(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    times: np.ndarray,
    fps: float,
    damaged: int,
) -> None:
    """Warn where frames are missing of those that the file announces."""
    count, announced = len(times), stream.frames
    length = times[-1] + 1 / fps
    if cut_short(path) or (announced and container.format.name == "avi" and announced > round(length * fps) + 1):
        of = f" of {announced}" if announced > count else ""
        log.warning("%s: the file is cut short: %d%s frames decode and are used", path, count, of)
    elif damaged:
        log.warning("%s: the file is damaged: %d frames decode, %d do not and are left out", path, count, damaged)
    elif len(container.streams) == 1 and container.duration:
        whole = container.duration / av.time_base
        if length < 0.9 * whole - 2 / fps:
            log.warning(
                "%s: the file is cut short: %d frames decode, %.2f of %.2f seconds, and are used",
                path, count, length, whole,
            )  # fmt: skip


def write_video(
    path: Path, frames: Iterable[np.ndarray], fps: float, times: Sequence[float] | np.ndarray | None = None
) -> None:
    """Write pictures as H.264 (yuv420p, .mp4), atomically; odd sizes are padded to even ones, as yuv420p requires.

    Args:
        path: ends in .mp4.
        frames: (H, W, 3) uint8 sRGB each, all of one size; taken one at a time.
        fps: frames per second; with ``times``, the mean rate.
        times: seconds of each frame, ascending from 0, for a variable rate.

    Raises:
        ValueError: no frames, or frames of different size.
    """
    size: tuple[int, ...] | None = None
    with atomic(Path(path)) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(65535))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        if times is not None:
            stream.codec_context.time_base = WRITTEN_TICK
        for index, frame in enumerate(frames):
            if size is not None and frame.shape != size:
                raise ValueError(f"{path}: a frame of shape {frame.shape} after frames of shape {size}")
            if size is None:
                stream.height, stream.width = frame.shape[0] + frame.shape[0] % 2, frame.shape[1] + frame.shape[1] % 2
            size = frame.shape
            padding = [(0, size[0] % 2), (0, size[1] % 2), (0, 0)]
            picture = np.ascontiguousarray(np.pad(frame, padding, mode="edge"))
            encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                encoded.pts, encoded.time_base = round(times[index] / WRITTEN_TICK), WRITTEN_TICK
            container.mux(stream.encode(encoded))
        if size is None:
            raise ValueError(f"{path}: no frames to write as a video")
        container.mux(stream.encode(None))
