"""Colours of video frames: matrix, range, HDR and wide gamuts."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from tests.v2m4.io.video_documents import encode
from v2m4.io.color import EXACT, KNEE, soft_clip, to_srgb
from v2m4.io.srgb import srgb_to_linear
from v2m4.io.video import read_video

COLORS = [(255, 255, 255), (200, 120, 60), (40, 60, 200), (30, 140, 70), (0, 0, 0)]
FROM_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087


def bars(size=(64, 160)):
    """One stripe of each colour."""
    image = np.zeros((*size, 3), np.uint8)
    for index, color in enumerate(COLORS):
        image[:, index * size[1] // 5 : (index + 1) * size[1] // 5] = color
    return image


def hlg(light):
    """Signal of scene light (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)


def pq(nits):
    """Signal of display light, cd/m^2 (BT.2100, table 4)."""
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hdr_frame(image, transfer):
    """A 10-bit frame of BT.2020 whose reference white is the picture's 255."""
    light = np.maximum(srgb_to_linear(image / 255) @ FROM_BT709.T, 0)
    signal = hlg(light * 0.26496) if transfer == 18 else pq(light * 203)
    red, green, blue = np.moveaxis(signal, 2, 0)
    luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
    planes = [64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746]
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((image.shape[0], plane.line_size // 2), np.uint16)
        rows[:, : image.shape[1]] = np.round(values)
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = 9, ColorRange.MPEG
    frame.color_primaries, frame.color_trc = ColorPrimaries.BT2020, transfer
    return frame


@pytest.mark.parametrize("transfer", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084])
def test_hdr_has_the_colours_of_its_sdr_original(transfer):
    image = bars()
    result = to_srgb(hdr_frame(image, int(transfer)), 1.0, 0)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    middle = result[32, 16::32]
    np.testing.assert_allclose(middle, COLORS, atol=4)
    assert middle[0].min() >= 252


def test_an_hdr_file_is_mapped(tmp_path, caplog):
    caplog.set_level("INFO")
    frames = [hdr_frame(bars(), 18) for _ in range(3)]

    def flags(stream):
        context = stream.codec_context
        context.color_trc, context.color_primaries = 18, 9
        context.colorspace, context.color_range = 9, ColorRange.MPEG

    encode(
        tmp_path / "a.mov",
        frames,
        codec="libx265",
        pix_fmt="yuv444p10le",
        setup=flags,
        **{"x265-params": "log-level=0"},
    )
    image = read_video(tmp_path / "a.mov", 0, 30.0).images[0]
    np.testing.assert_allclose(image[32, 16::32], COLORS, atol=8)
    assert any("HDR video" in line for line in caplog.messages)


def test_highlights_keep_their_hue_and_order():
    light = np.linspace(0, 5, 500)[:, None, None] * np.array([1.0, 0.5, 0.25])
    clipped = soft_clip(light)
    assert clipped.max() <= 1
    assert (np.diff(clipped[:, 0, 0]) > -1e-12).all()
    np.testing.assert_allclose(clipped[1:, 0, 1] / clipped[1:, 0, 0], 0.5)
    small = light[:, 0, 0] <= KNEE
    np.testing.assert_allclose(clipped[small], light[small])
    assert (soft_clip(np.full((1, 1, 3), -0.1)) == 0).all()


@pytest.mark.parametrize(("space", "full"), [(1, False), (1, True), (5, False), (5, True), (2, False)])
def test_matrix_and_range_are_those_of_the_flags(space, full):
    kr, kb = (0.2126, 0.0722) if space == 1 else (0.299, 0.114)
    red, green, blue = np.array([200, 120, 60]) / 255
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    differences = ((blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr))
    codes = [255 * luma if full else 16 + 219 * luma] + [128 + (255 if full else 224) * each for each in differences]
    frame = av.VideoFrame.from_ndarray(
        np.stack([np.full((32, 48), round(code), np.uint8) for code in codes]), format="yuv444p"
    )
    frame.colorspace, frame.color_range = space, 2 if full else 1
    np.testing.assert_allclose(to_srgb(frame, 1.0, 0)[10, 10], (200, 120, 60), atol=3)


def test_unflagged_hd_is_bt709():
    codes = [105, 100, 170]
    frames = {}
    for height, flag in [(720, 2), (720, 1), (480, 2), (480, 5)]:
        planes = np.stack([np.full((height, 64), code, np.uint8) for code in codes])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        frame.colorspace = flag
        frames[height, flag] = to_srgb(frame, 1.0, 0)[10, 10]
    np.testing.assert_array_equal(frames[720, 2], frames[720, 1])
    np.testing.assert_array_equal(frames[480, 2], frames[480, 5])
    assert np.abs(frames[720, 2].astype(int) - frames[480, 2]).max() > 4


def test_display_p3_becomes_srgb():
    """P3's (0.5, 0.5, 0.5) stays; its pure green is outside of sRGB, and clipped to it."""
    image = np.zeros((16, 32, 4), np.uint16)
    image[..., 3] = 65535
    image[:, :16, :3] = 32768
    image[:, 16:, 1] = 65535
    frame = av.VideoFrame.from_ndarray(image, format="rgba64le")
    frame.color_primaries = ColorPrimaries.SMPTE432
    result = to_srgb(frame, 1.0, 0)
    np.testing.assert_allclose(result[8, 8], (128, 128, 128), atol=1)
    assert result[8, 24, 1] >= 250
    assert result[8, 24, [0, 2]].max() <= 2


@pytest.mark.parametrize("width", [81, 82, 84, 97, 100, 164])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuva420p", "yuv420p10le"])
def test_no_column_is_left_unset_at_odd_widths(width, pix_fmt):
    plain = np.dstack([np.full((48, width, 3), 100, np.uint8), np.full((48, width), 255, np.uint8)])
    frame = av.VideoFrame.from_ndarray(plain, format="rgba").reformat(format=pix_fmt, interpolation=EXACT)
    for transfer in (ColorTrc.UNSPECIFIED, ColorTrc.ARIB_STD_B67):
        frame.color_trc = transfer
        result = to_srgb(frame, 1.0, 0).astype(int)
        assert result.shape == (48, width, 3)
        assert np.ptp(result, axis=(0, 1)).max() <= 2
