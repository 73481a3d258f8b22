from itertools import pairwise

import cv2
import numpy as np
import pytest

from v2m4 import optical_flow
from v2m4.frame import Frame
from v2m4.image_window import object_box, window_around
from v2m4.optical_flow import (
    FAST,
    MEDIUM,
    FlowField,
    FlowFields,
    FlowSettings,
    dense_flow,
    flow_between,
    mask_motion,
    track,
)


def moved_frame(index: int, shift: tuple[float, float], size: int = 200) -> Frame:
    """A textured disc of radius 50 about the middle, shifted."""
    noise = np.random.default_rng(0).random((size, size, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 3)
    noise = (noise - noise.min()) / np.ptp(noise)
    y, x = np.mgrid[:size, :size]
    alpha = (np.hypot(x - size / 2, y - size / 2) < 50).astype(np.float32)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    picture = cv2.warpAffine(np.dstack([noise, alpha]), matrix, (size, size))
    return Frame(str(index), index, (picture * 255).round().astype(np.uint8))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [moved_frame(index, (4.0 * index, 1.5 * index)) for index in range(4)]


@pytest.fixture(scope="module")
def flows(frames):
    return [flow_between(first, second) for first, second in pairwise(frames)]


def inside(count: int = 100) -> np.ndarray:
    draw = np.random.default_rng(1)
    angle, radius = 2 * np.pi * draw.random(count), 40 * np.sqrt(draw.random(count))
    return (100 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)) / 200


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (3, 0), (1, 2)])
def test_points_are_followed_either_way_in_time(flows, start, stop) -> None:
    shift = np.array([4.0, 1.5]) / 200
    points = inside() + start * shift
    tracks = track(points, start, stop, flows)
    assert tracks.positions.shape == (abs(stop - start) + 1, 100, 2)
    error = 200 * np.linalg.norm(tracks.positions[-1] - points - (stop - start) * shift, axis=1)
    assert np.median(error) < 0.3
    assert np.median(tracks.confidence[-1]) > 0.8


def test_standing_still_needs_no_flow(flows) -> None:
    tracks = track(inside(), 2, 2, flows)
    assert np.array_equal(tracks.positions[0], inside())
    assert tracks.confidence.min() == 1.0


def test_no_points_are_followed_to_no_points(flows) -> None:
    tracks = track(np.zeros((0, 2)), 0, 2, flows)
    assert tracks.positions.shape == (3, 0, 2)
    assert tracks.confidence.shape == (3, 0)


def test_points_beside_the_object_are_not_trusted(flows) -> None:
    assert track(np.array([[0.1, 0.1]]), 0, 1, flows).confidence[-1] < 0.01


def test_box_and_window() -> None:
    box = object_box(moved_frame(0, (0, 0)))
    assert np.allclose(box, (51 / 200, 51 / 200, 150 / 200, 150 / 200), atol=0.006)
    wide = (0.2, 0.4, 0.6, 0.5)
    x0, y0, x1, y1 = window_around([wide], aspect=2.0, margin=0.0, square=True)
    assert (x1 - x0) * 2.0 == pytest.approx(y1 - y0)
    assert (x0, x1) == pytest.approx((0.2, 0.6))
    x0, y0, x1, y1 = window_around([wide, (0.1, 0.1, 0.2, 0.2)], aspect=1.0, margin=0.1)
    assert (x0, y0, x1, y1) == pytest.approx((0.05, 0.05, 0.65, 0.55))


def test_a_frame_without_foreground_is_looked_at_whole() -> None:
    assert object_box(Frame("0", 0, np.zeros((4, 6, 4), np.uint8))) == (0.0, 0.0, 1.0, 1.0)


def test_motion_faster_than_the_flow_reaches_is_followed_from_the_masks() -> None:
    fast = [moved_frame(0, (-45.0, 0.0)), moved_frame(1, (45.0, 10.0))]
    shift = np.array([90.0, 10.0]) / 200
    points = inside() - np.array([45.0, 0.0]) / 200
    tracks = track(points, 0, 1, [flow_between(*fast)])
    error = 200 * np.linalg.norm(tracks.positions[-1] - points - shift, axis=1)
    assert np.median(error) < 1.0
    assert np.median(tracks.confidence[-1]) > 0.5


def test_masks_alone_give_shift_and_stretch() -> None:
    first, second = np.zeros((100, 120), np.float32), np.zeros((100, 120), np.float32)
    first[20:40, 10:50] = 1.0
    second[40:80, 60:80] = 1.0
    motion = mask_motion(first, second)
    corners = np.array([[10, 20], [49, 39]])
    there = corners + motion[corners[:, 1], corners[:, 0]]
    assert np.allclose(there, [[60, 40], [79, 79]], atol=0.6)
    assert not mask_motion(np.zeros_like(first), second).any()


@pytest.mark.parametrize("settings", [FAST, MEDIUM, FlowSettings(MEDIUM.preset, 12, 5, 16)])
def test_dense_flow_finds_a_shift_and_leaves_its_start_alone(settings: FlowSettings) -> None:
    pictures = [moved_frame(index, (3.0 * index, -2.0 * index)).rgba[..., 0] for index in range(2)]
    start = np.ones((200, 200, 2), np.float32)
    inner = np.s_[70:130, 70:130]
    for found in (dense_flow(*pictures, settings), dense_flow(*pictures, settings, start)):
        assert found.shape == (200, 200, 2)
        assert found.dtype == np.float32
        assert np.abs(found[inner] - [3.0, -2.0]).max() < 0.5
    assert (start == 1).all()


def test_dense_flow_settings_reach_the_search() -> None:
    pictures = [moved_frame(index, (3.0 * index, -2.0 * index)).rgba[..., 0] for index in range(2)]
    plain = dense_flow(*pictures, MEDIUM)
    assert np.array_equal(plain, dense_flow(*pictures, FlowSettings(MEDIUM.preset, 8, 3, 25)))  # the preset's own
    for changed in ({"patch_size": 12}, {"patch_stride": 5}, {"descent_steps": 2}):
        assert not np.array_equal(plain, dense_flow(*pictures, FlowSettings(MEDIUM.preset, **changed)))


def test_fields_are_computed_when_they_are_asked_for_and_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    frames = []
    for index in range(6):
        rgba = np.zeros((48, 48, 4), np.uint8)
        rgba[10:40, 10:40] = rng.integers(0, 255, (30, 30, 4), np.uint8)
        rgba[10:40, 10:40, 3] = 255
        frames.append(Frame(str(index), index, rgba))
    asked = []

    def counted(first: Frame, second: Frame) -> FlowField:
        asked.append(first.index)
        return flow_between(first, second)

    monkeypatch.setattr(optical_flow, "flow_between", counted)
    monkeypatch.setattr(optical_flow, "AT_ONCE", 2)
    monkeypatch.setattr(optical_flow.threads, "count", lambda: 2)  # with one, fields are computed one at a time
    fields = FlowFields(frames)
    assert len(fields) == 5
    np.testing.assert_array_equal(fields[2].forward, flow_between(frames[2], frames[3]).forward)
    assert sorted(asked) == [2, 3]
    assert fields[-1] is fields[4]
    assert [field is fields[index] for index, field in enumerate(fields[1:3], 1)] == [True, True]
    monkeypatch.setattr(optical_flow, "KEPT_BYTES", 1)
    again = FlowFields(frames)
    for index in (0, 2, 4, 0):
        np.testing.assert_array_equal(again[index].backward, flow_between(frames[index], frames[index + 1]).backward)
    with pytest.raises(IndexError):
        fields[5]
