"""Frames that do not show the object: blank, faded, or without foreground."""

import cv2
import numpy as np
import pytest

from tests.v2m4.io.video_documents import SIZE, disc, disc_rgba, moving
from v2m4.io.empty import blank_or_faded, runs, without_object

WHITE = (255, 255, 255)


def flagged(flags):
    return np.flatnonzero(flags).tolist()


def faded(frame, gain, to=(0, 0, 0)):
    return np.round(gain * frame + (1 - gain) * np.array(to)).astype(np.uint8)


@pytest.mark.parametrize("background", [(0, 0, 0), WHITE, (90, 170, 80)])
@pytest.mark.parametrize("to", [(0, 0, 0), WHITE])
def test_fades_at_both_ends_are_found(background, to):
    frames = [disc(2 * index, background=background) for index in range(12)]
    gains = [0, 0.3, 0.6, 0.85, *[1] * 6, 0.5, 0]
    clip = [faded(frame, gain, to) for frame, gain in zip(frames, gains, strict=True)]
    assert flagged(blank_or_faded(clip)) == [0, 1, 2, 3, 10, 11]


def test_blank_frames_and_fades_within_are_found():
    frames = moving(12)
    for index, gain in {4: 0.5, 5: 0, 6: 0.02, 7: 0.6}.items():
        frames[index] = faded(frames[index], gain)
    assert flagged(blank_or_faded(frames)) == [4, 5, 6, 7]


def test_fading_alpha_is_a_fade():
    frames = [disc_rgba(2 * index) for index in range(8)]
    for index, gain in {0: 0, 1: 0.4, 2: 0.8}.items():
        frames[index][..., 3] = np.round(frames[index][..., 3] * gain)
    assert flagged(blank_or_faded(frames)) == [0, 1, 2]


def turning(count=10):
    """An object whose bright side turns away, before a still background."""
    noise = cv2.resize(np.random.default_rng(0).integers(0, 200, (12, 16, 3)).astype(np.uint8), SIZE[::-1])
    frames = []
    for index in range(count):
        image = noise.copy()
        cv2.circle(image, (40 + 3 * index, 46), 20, (255 - 12 * index,) * 3, -1)
        frames.append(image)
    return frames


def walking_out():
    return [disc(shift, background=(90, 170, 80)) for shift in (0, 20, 40, 60, 80, 95)]


@pytest.mark.parametrize("frames", [moving(), turning(), turning()[::-1], walking_out(), [disc()], [disc()] * 4])
def test_objects_that_move_or_change_are_not_faded(frames):
    assert not blank_or_faded(frames).any()


def alphas(*areas, x=20):
    result = []
    for area in areas:
        alpha = np.zeros(SIZE, np.uint8)
        side = round(area**0.5)
        alpha[20 : 20 + side, x : x + side] = 255
        result.append(alpha)
    return result


def test_frames_without_foreground_are_found():
    assert flagged(without_object(alphas(0, 900, 0, 900, 16, 900, 1))) == [0, 2, 4, 6]
    assert flagged(without_object(alphas(900, 400, 100))) == []  # a far object is small
    assert without_object(alphas(0, 0)).all()


def test_a_part_that_leaves_the_picture_is_left_out_at_the_ends_only():
    leaving = [*alphas(900, 900, 900), *alphas(200, x=0), *alphas(900), *alphas(300, 100, x=0)]
    assert flagged(without_object(leaving)) == [5, 6]
    assert flagged(without_object(leaving[::-1])) == [0, 1]


def test_runs():
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 1), (3, 3), (6, 6)]
    assert runs(np.zeros(3, bool)) == []


def test_of_long_fades_only_the_full_frames_are_left():
    frames = [disc(index, background=(90, 170, 80)) for index in range(60)]
    gains = [min(1, index / 25, (59 - index) / 25) for index in range(60)]
    found = blank_or_faded([faded(frame, gain) for frame, gain in zip(frames, gains, strict=True)])
    left = np.flatnonzero(~found)
    assert np.array_equal(left, np.arange(left[0], left[-1] + 1))
    assert min(gains[index] for index in left) >= 0.96
    assert len(left) >= 10


def test_an_object_that_comes_near_is_seen_from_the_start():
    assert not without_object(alphas(36, 100, 400, 900, 1200, 1400)).any()
