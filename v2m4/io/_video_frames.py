"""The frames of one stream of a video: decoded past damage, with alpha, progressive, and their orientation."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideData

log = logging.getLogger(__name__)

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these ignore alpha
MOST_ATTEMPTS = 20  # to go on behind damage in a container
LEAST_ASPECT = 0.2  # of a pixel, and its inverse the largest; others are errors of the file


def decoded_frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | None]:
    """Yield the frames of a stream in order of presentation; None for each packet that cannot be decoded.

    Interlaced frames are made progressive: one for each pair of fields.
    """
    progressive: _Deinterlacer | None = None
    for frame in _frames(container, stream):
        if frame is not None and progressive is None and frame.interlaced_frame:
            progressive = _Deinterlacer(frame)
        if frame is None or progressive is None:
            yield frame
        else:
            yield from progressive.push(frame)
    if progressive is not None:
        yield from progressive.push(None)


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | None]:
    decoder = _alpha_decoder(stream)
    if decoder is None:
        stream.thread_type = "SLICE"
        decoder = stream.codec_context
    packets = container.demux(stream)
    failed, attempts = False, MOST_ATTEMPTS
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            yield None
            attempts -= 1
            if attempts == 0:
                return
            failed, packets = True, container.demux(stream)  # goes on behind the damage
            continue
        ended = packet is None or (not packet.size and packet.dts is None)
        if packet is not None and not packet.size and not ended:
            continue  # AVI repeats a frame by an empty packet, which would end the decoding
        if ended and failed:
            return  # what the decoder still holds may be displayed after a frame that is missing
        try:
            yield from decoder.decode(None if ended else packet)
            failed = False
        except EOFError:
            return
        except FFmpegError:
            failed = True
            yield None
        if ended:
            return


def _alpha_decoder(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """A decoder that keeps the alpha of a VP8 or VP9 stream; None for other streams."""
    mode = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode", "0")
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    if mode in ("", "0") or name is None:
        return None
    try:
        decoder = av.CodecContext.create(name, "r")
    except FFmpegError:
        log.warning("%s is not in this PyAV: the video's alpha is ignored", name)
        return None
    if not isinstance(decoder, av.VideoCodecContext):
        return None
    decoder.extradata = stream.codec_context.extradata
    return decoder


class _Deinterlacer:
    """FFmpeg's bwdif filter, which leaves frames that are not marked as interlaced as they are."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self.graph = av.filter.Graph()
        source = self.graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        bwdif = self.graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = self.graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self.graph.configure()

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Yield the frames that are done once another one, or None for the end, is there."""
        self.graph.push(frame)
        while True:
            try:
                done = self.graph.pull()
            except (BlockingIOError, EOFError):
                return
            if isinstance(done, av.VideoFrame):
                yield done


def seconds(frame: av.VideoFrame, tick: float) -> float | None:
    """Presentation time of a frame; None where it has none.

    Args:
        frame: the frame.
        tick: unit of its stamp, seconds, where it has none of its own.
    """
    return None if frame.pts is None else frame.pts * float(frame.time_base or tick)


def pixel_aspect(stream: av.VideoStream) -> float:
    """Width / height of a pixel; 1 where it is not known or not credible."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if LEAST_ASPECT <= aspect <= 1 / LEAST_ASPECT else 1.0


def upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Apply the display matrix of a frame: rotations by multiples of 90 degrees, and reflections."""
    item = cast("Any", frame.side_data).get(SideData.DISPLAYMATRIX)  # not by iteration, which PyAV 19 changed
    data = b"" if item is None else bytes(item)
    if len(data) != 36:
        return np.ascontiguousarray(picture)
    a, b, _, c, d, *_ = struct.unpack("=9i", data)  # (x, y) to (a x + c y, b x + d y), y down
    if a * d - b * c < 0:  # reflected: mirror the columns first
        picture, a, b = picture[:, ::-1], -a, -b
    turns = round(math.degrees(math.atan2(b, a)) / 90)  # clockwise, as y points down
    return np.ascontiguousarray(np.rot90(picture, -turns))
