"""Video files: containers and codecs, alpha, streams, time stamps, orientation, pixel shape, damage."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.v2m4.io.video_documents import SIZE, centre, disc, disc_rgba, encode, moving
from v2m4.config import FramesConfig
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations
from v2m4.io.video import frame_count, is_video, read_video, write_video


def decoded(path, max_side=0):
    return read_video(path, max_side, 30.0)


CONTAINERS = {
    "a.mp4": {},
    "a.MOV": {},
    "a.m4v": {},
    "a.mkv": {},
    "a.flv": {},
    "a.3gp": {},
    "a.ts": {},
    "a.mts": {"format": "mpegts"},
    "a.webm": {"codec": "libvpx-vp9"},
    "b.webm": {"codec": "libvpx"},
    "a.ogv": {"codec": "libvpx"},
    "a.mpg": {"codec": "mpeg1video", "fps": 25},
    "a.mpeg": {"codec": "mpeg2video", "fps": 25},
    "a.wmv": {"codec": "wmv2", "fps": 25},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "b.avi": {"codec": "mpeg4", "fps": 12},
    "b.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "b.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "x265-params": "log-level=none"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_and_codecs(tmp_path, name):
    options = CONTAINERS[name]
    encode(tmp_path / name, moving(), **options)
    (source,) = find_animations(tmp_path)
    clip = read_clip(source, FramesConfig())
    fps = options.get("fps", 10)
    assert len(clip.frames) == 6
    assert clip.fps == pytest.approx(fps)
    np.testing.assert_allclose(clip.seconds, np.arange(6) / fps, atol=1e-9)
    assert centre(clip.frames[5].rgba) - centre(clip.frames[0].rgba) == pytest.approx(15, abs=2)
    np.testing.assert_allclose(clip.frames[0].rgba[56, 44, :3], (200, 120, 60), atol=8)


WITH_ALPHA = {
    "vp9.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"},
    "vp9.mkv": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"},
    "vp8.webm": {"codec": "libvpx", "pix_fmt": "yuva420p", "auto-alt-ref": 0},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "profile": 4},
    "animation.mov": {"codec": "qtrle", "pix_fmt": "argb"},
    "png.mov": {"codec": "png", "pix_fmt": "rgba"},
    "ffv1.mkv": {"codec": "ffv1", "pix_fmt": "yuva420p"},
}


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_alpha_is_read(tmp_path, name):
    def alpha_mode(stream):
        stream.metadata["alpha_mode"] = "1"

    frames = [disc_rgba(3 * index) for index in range(4)]
    encode(tmp_path / name, frames, setup=alpha_mode, **WITH_ALPHA[name])
    for image, true in zip(decoded(tmp_path / name).images, frames, strict=True):
        assert image.shape == (*SIZE, 4)
        assert np.abs(image[..., 3].astype(int) - true[..., 3]).mean() < 3


def test_alpha_that_is_zero_everywhere_is_none(tmp_path):
    frames = [np.dstack([frame, np.zeros(SIZE, np.uint8)]) for frame in moving(3)]
    encode(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb")
    assert decoded(tmp_path / "a.mov").images[0].shape == (*SIZE, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_variable_frame_rates_keep_their_times(tmp_path, name):
    times = [0, 0.033, 0.067, 0.1, 0.6, 0.667]
    tick = Fraction(1, 90000) if name == "a.ts" else None
    encode(tmp_path / name, moving(), times=times, tick=tick, fps=30)
    result = decoded(tmp_path / name)
    np.testing.assert_allclose(result.times, times, atol=1e-3)
    assert result.fps == pytest.approx(5 / 0.667, rel=1e-3)


def test_an_edit_list_that_skips_the_start_is_kept_to(tmp_path):
    encode(tmp_path / "a.mp4", moving(8), g=1, bf=0)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"elst") + 12
    timescale = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    duration, start = struct.unpack(">II", data[at : at + 8])
    data[at : at + 8] = struct.pack(">II", duration * 5 // 8, start + 3 * timescale // 10)
    (tmp_path / "a.mp4").write_bytes(data)
    result = decoded(tmp_path / "a.mp4")
    np.testing.assert_allclose(result.times, np.arange(len(result.images)) / 10)
    assert len(result.images) == 5
    assert np.abs(result.images[0].astype(int) - disc(9)).mean() < 2


def two_streams(path, first, second, disposition=None):
    """A file with two video streams: (codec, pix_fmt, frames) each."""
    with av.open(str(path), "w") as container:
        streams = []
        for codec, pix_fmt, frames in (first, second):
            stream = container.add_stream(codec, rate=10)
            stream.pix_fmt = pix_fmt
            stream.height, stream.width = frames[0].shape[:2]
            streams.append(stream)
        if disposition is not None:
            streams[0].disposition = disposition.value
        for stream, (*_, frames) in zip(streams, (first, second), strict=True):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))


@pytest.mark.parametrize(("name", "disposition"), [("a.mp4", Disposition.attached_pic), ("a.mkv", None)])
def test_a_cover_picture_before_the_video_is_passed_over(tmp_path, name, disposition):
    cover = disc(size=(192, 256), background=(250, 10, 10))
    still = ("png", "rgb24") if disposition else ("mjpeg", "yuvj444p")
    two_streams(tmp_path / name, (*still, [cover]), ("libx264", "yuv420p", moving()), disposition)
    result = decoded(tmp_path / name)
    assert len(result.images) == 6
    assert result.images[0].shape == (*SIZE, 3)


def test_the_largest_stream_is_read(tmp_path):
    small = [frame[:48, :64] for frame in moving()]
    two_streams(tmp_path / "a.mkv", ("libx264", "yuv420p", small), ("libx264", "yuv420p", moving()))
    assert decoded(tmp_path / "a.mkv").images[0].shape == (*SIZE, 3)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="there is no video in it"):
        decoded(tmp_path / "a.mp4")
    assert not is_video(tmp_path / "a.mp4")


MATRICES = [(a, b, c, d) for a, b, c, d in [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]]
MATRICES += [(-a, b, -c, d) for a, b, c, d in MATRICES]  # mirrored


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_display_matrix_is_applied(tmp_path, matrix):
    """The track header's matrix (a, b, c, d) maps (x, y) to (a x + c y, b x + d y), y down (ISO 14496-12)."""
    a, b, c, d = matrix
    upright = disc()
    inverse = np.array([[a, c], [b, d]]).T  # of a rotation or reflection
    columns, rows = SIZE[::-1] if a else SIZE
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    forward = np.array([[a, c], [b, d]])
    shown = np.einsum("ij,jhw->ihw", forward, np.stack([x, y]))
    shown -= shown.min(axis=(1, 2), keepdims=True)
    stored = upright[shown[1], shown[0]]
    assert np.array_equal(inverse @ forward, np.eye(2))
    write_video(tmp_path / "a.mp4", [stored] * 3, 10)
    data = (tmp_path / "a.mp4").read_bytes()
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    at = data.index(plain, data.index(b"tkhd"))
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(data[:at] + turned + data[at + len(plain) :])
    image = decoded(tmp_path / "a.mp4").images[0]
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(4, 3), (96, 171)), (Fraction(1, 2), (192, 128)), (1, SIZE)])
def test_pixels_become_square(tmp_path, aspect, shape):
    def set_aspect(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)

    encode(tmp_path / "a.mkv", moving(3), setup=set_aspect)
    assert decoded(tmp_path / "a.mkv").images[0].shape == (*shape, 3)
    assert max(decoded(tmp_path / "a.mkv", 64).images[0].shape) == 64


def textured(count=40):
    """Frames that compress badly, so that a file can be cut between them."""
    noise = np.random.default_rng(0).integers(0, 90, (*SIZE, 3)).astype(np.uint8)
    return [np.maximum(noise, disc(index, color=(240, 200, 90))) for index in range(count)]


CUT = {
    "a.mp4": {"container_options": {"movflags": "faststart"}},
    "b.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "g": 8},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx"},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.flv": {},
    "a.ts": {},
    "a.mpg": {"codec": "mpeg1video", "fps": 25},
    "a.ogv": {"codec": "libvpx"},
}


@pytest.mark.parametrize("name", CUT)
def test_what_decodes_of_a_file_that_is_cut_short_is_used(tmp_path, caplog, name):
    path = tmp_path / name
    encode(path, textured(), **CUT[name])
    whole = decoded(path)
    assert len(whole.images) == 40
    assert not caplog.messages
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 62 // 100])
    cut = decoded(path)
    assert 3 <= len(cut.images) < 40
    assert any("is cut short" in line and f"{len(cut.images)}" in line for line in caplog.messages)
    np.testing.assert_array_equal(cut.images[1], whole.images[1])


def test_damage_within_a_file_is_passed_over(tmp_path, caplog):
    path = tmp_path / "a.mov"
    encode(path, textured(), codec="png", pix_fmt="rgb24")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    result = decoded(path)
    assert len(result.images) == 39
    assert np.diff(result.times).max() == pytest.approx(0.2)
    assert any("39 frames decode, 1 do not and are left out" in line for line in caplog.messages)


def test_nothing_that_decodes_is_an_error(tmp_path):
    path = tmp_path / "a.mkv"
    encode(path, moving(), container_options={"reserve_index_space": "0"})
    data = path.read_bytes()
    at = data.index(b"V_MPEG4/ISO/AVC")
    path.write_bytes(data[:at] + b"V_UNKNOWN/CODEC" + data[at + 15 :])
    with pytest.raises(ValueError, match=r"a\.mkv: cannot be read as a video: .*convert it to H\.264"):
        decoded(path)


def test_a_text_is_no_video_though_ffmpeg_draws_it(tmp_path):
    (tmp_path / "a.txt").write_text("some text\n" * 50)
    assert not is_video(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="text file"):
        decoded(tmp_path / "a.txt")


def test_a_written_video_states_its_matrix(tmp_path):
    write_video(tmp_path / "a.mp4", [np.full((720, 64, 3), (200, 60, 30), np.uint8)] * 2, 10)
    np.testing.assert_allclose(decoded(tmp_path / "a.mp4").images[0][300, 30], (200, 60, 30), atol=3)


def test_a_video_round_trip(tmp_path):
    frames = [disc(index, (47, 81)) for index in range(12)]
    write_video(tmp_path / "disc.mp4", iter(frames), 12.5)
    assert frame_count(tmp_path / "disc.mp4") == 12
    result = decoded(tmp_path / "disc.mp4")
    assert result.fps == 12.5
    for image, true in zip(result.images, frames, strict=True):
        assert image.shape == (48, 82, 3)  # even sides
        assert np.abs(image[:47, :81].astype(int) - true).mean() < 3


def test_writing_is_atomic(tmp_path):
    def frames():
        yield disc()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_video(tmp_path / "a.mp4", frames(), 10)
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], 10)
    with pytest.raises(ValueError, match="shape"):
        write_video(tmp_path / "a.mp4", [disc(), disc(size=(50, 40))], 10)
    assert list(tmp_path.iterdir()) == []


def test_a_variable_rate_is_written(tmp_path):
    times = [0, 0.05, 0.4, 0.45, 1.2]
    write_video(tmp_path / "a.mp4", moving(5), 4 / 1.2, times)
    result = decoded(tmp_path / "a.mp4")
    np.testing.assert_allclose(result.times, times, atol=1e-4)
    assert len(result.images) == 5


def test_interlaced_frames_become_progressive(tmp_path):
    """Fields of two moments: the disc moves by 6 pixels between them, and bwdif removes the combs."""
    fields = [disc(6 * index) for index in range(12)]
    frames = []
    for first, second in zip(fields[::2], fields[1::2], strict=True):
        woven = first.copy()
        woven[1::2] = second[1::2]
        frames.append(woven)

    def interlaced(stream):
        stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion estimation

    encode(tmp_path / "a.mpg", frames, codec="mpeg2video", fps=25, setup=interlaced, top="1")
    result = decoded(tmp_path / "a.mpg")
    assert len(result.images) == 6
    np.testing.assert_allclose(result.times, np.arange(6) / 25)

    def combs(image):
        rows = image.astype(int).sum(2)
        return np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()

    for image, woven in zip(result.images, frames, strict=True):
        assert combs(image) < 0.5 * combs(woven)


def test_a_recording_that_changes_its_resolution_is_scaled(tmp_path):
    half = [np.ascontiguousarray(frame[::2, ::2]) for frame in moving(3)]
    encode(tmp_path / "a.ts", moving(3))
    encode(tmp_path / "b.ts", half)
    (tmp_path / "c.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    images = decoded(tmp_path / "c.ts").images
    assert len(images) >= 5
    assert {image.shape for image in images} == {(*SIZE, 3)}
