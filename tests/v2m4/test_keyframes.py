"""Key frames: as many as asked for, where the motion turns."""

from itertools import combinations, pairwise

import cv2
import numpy as np
import pytest

from v2m4.frame import Clip, Frame
from v2m4.keyframes import choose_key_frames, foreground_window, shortest_path


def swinging(offsets: list[float]) -> Clip:
    """A textured bar whose x offset is given per frame."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8), (0, 0), 2)
    still = np.zeros((128, 128, 4), np.uint8)
    still[30:100, 40:80, :3] = texture[30:100, 40:80]
    still[30:100, 40:80, 3] = 255
    frames = []
    for index, offset in enumerate(offsets):
        matrix = np.array([[1, 0, offset], [0, 1, 0]], dtype=np.float64)
        frames.append(Frame(str(index), index, cv2.warpAffine(still, matrix, (128, 128))))
    return Clip("swing", frames, 30.0, "")


def zigzag(turns: list[int], height: float) -> list[float]:
    """Straight lines between alternating extremes at the turns."""
    values = [height * (index % 2) for index in range(len(turns))]
    return list(np.interp(range(turns[-1] + 1), turns, values))


def test_turning_points_are_found_with_no_more_key_frames() -> None:
    turns = [0, 3, 8, 13, 18, 20]
    clip = swinging(zigzag(turns, 16.0))
    chosen = choose_key_frames(clip, 4)
    assert len(chosen) == len(clip.key_indices(4))
    assert all(min(abs(turn - key) for key in chosen) == 0 for turn in turns)


@pytest.mark.parametrize("offsets", [[0.0] * 16, [2.0 * index for index in range(16)]])
def test_still_and_straight_motions_get_even_key_frames(offsets: list[float]) -> None:
    clip = swinging(offsets)
    assert choose_key_frames(clip, 5) == clip.key_indices(5)


def test_gaps_stay_bounded_and_ends_are_kept() -> None:
    clip = swinging([0.0] * 12 + [10.0, 0.0] * 5)
    chosen = choose_key_frames(clip, 5)
    assert chosen[0] == 0
    assert chosen[-1] == 21
    assert np.diff(chosen).max() <= 10


@pytest.mark.parametrize(("count", "skip"), [(1, 5), (2, 5), (6, 5), (7, 1)])
def test_short_clips_and_skip_one_are_as_even(count: int, skip: int) -> None:
    clip = swinging([float(index) for index in range(count)])
    assert choose_key_frames(clip, skip) == clip.key_indices(skip)


def test_shortest_path_agrees_with_trying_all() -> None:
    cost = np.triu(np.random.default_rng(1).random((9, 9)), 1)
    cost[cost == 0] = np.inf
    ways = [(0, *middle, 8) for middle in combinations(range(1, 8), 3)]
    best = min(ways, key=lambda way: sum(cost[a, b] for a, b in pairwise(way)))
    assert shortest_path(cost, 5) == list(best)
    with pytest.raises(ValueError, match="no path"):
        shortest_path(np.full((4, 4), np.inf), 3)


def test_window_holds_the_object_of_every_frame() -> None:
    x0, y0, x1, y1 = foreground_window(swinging([0.0, 20.0]).frames, margin=0.0)
    assert (x0 * 128, y0 * 128, x1 * 128, y1 * 128) == pytest.approx((40, 30, 100, 100))
    with pytest.raises(ValueError, match="foreground"):
        foreground_window([Frame("0", 0, np.zeros((4, 4, 4), np.uint8))])
