"""The comparison of segmentations: clips with true masks, figures, and the command's table."""

import json

import numpy as np
import pytest

from evaluation import foreground
from evaluation.foreground import flicker, main, scored
from evaluation.foreground_clips import ForegroundClip, TrueClip, make_clip
from evaluation.foreground_suite import CLIPS

CLIP = ForegroundClip("robot", "examples/waving_robot", "grass", size=(96, 80), height=0.9, group="test")


def test_a_clip_shows_the_object_where_its_mask_is(tmp_path):
    clip = make_clip(CLIP, tmp_path)
    empty = make_clip(ForegroundClip("robot", "examples/bouncing_jelly", "grass", size=(96, 80), height=0.9), tmp_path)
    assert len(clip.pictures) == len(clip.alphas) == 16
    assert all(picture.shape == (80, 96, 3) and picture.dtype == np.uint8 for picture in clip.pictures)
    outside = (clip.alphas[0] == 0) & (empty.alphas[0] == 0)
    assert outside.mean() > 0.5
    np.testing.assert_array_equal(clip.pictures[0][outside], empty.pictures[0][outside])
    solid = clip.alphas[0] == 255
    assert np.abs(clip.pictures[0][solid].astype(int) - empty.pictures[0][solid]).mean() > 20


@pytest.mark.parametrize("camera", ["pan", "zoom", "jitter"])
def test_a_moving_camera_moves_the_background_only(camera, tmp_path):
    still = make_clip(CLIP, tmp_path)
    moving = make_clip(ForegroundClip("robot", "examples/waving_robot", "grass", None, camera, (96, 80), 0.9), tmp_path)
    np.testing.assert_array_equal(still.alphas, moving.alphas)
    outside = (moving.alphas[0] == 0) & (moving.alphas[15] == 0)
    change = [np.abs(c.pictures[15].astype(int) - c.pictures[0])[outside].mean() for c in (still, moving)]
    assert change[0] < 4 < change[1]


def test_the_same_clip_has_the_same_bytes_and_compression_changes_them(tmp_path):
    first, again = make_clip(CLIP, tmp_path), make_clip(CLIP, tmp_path)
    np.testing.assert_array_equal(first.pictures, again.pictures)
    rough = make_clip(
        ForegroundClip("robot", "examples/waving_robot", "grass", size=(96, 80), height=0.9, quality=40), tmp_path
    )
    assert np.abs(rough.pictures[0].astype(int) - first.pictures[0]).mean() > 3


def test_a_missing_character_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody\.glb: no such file; give the folder of the data with --data"):
        make_clip(ForegroundClip("nobody", "nobody.glb", "grass"), tmp_path)


def test_flicker_is_zero_for_steady_growth_and_not_for_a_lost_limb():
    growing = [np.arange(100) < area for area in (50, 52, 54, 56)]
    assert flicker(growing) == 0
    growing[2] = np.arange(100) < 40
    assert flicker(growing) > 0.3
    assert flicker(growing[:2]) == 0


def test_scores_of_the_truth_and_of_half_of_it():
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 255
    clip = TrueClip([np.zeros((8, 8, 3), np.uint8)] * 3, [alpha] * 3)

    def half(pictures):
        return [np.dstack([picture, np.where(np.arange(8) < 4, alpha, 0)]) for picture in pictures]

    score, frames = scored(half, clip)
    assert score.iou == score.least_iou == 0.5 and score.flicker == 0 and len(frames) == 3


def test_names_are_unique_and_no_character_is_in_two_groups():
    assert len({clip.name for clip in CLIPS}) == len(CLIPS) >= 28
    groups = {group: {clip.character for clip in CLIPS if clip.group == group} for group in ("tuning", "held out")}
    assert not groups["tuning"] & groups["held out"]


def test_the_command_prints_every_method_and_writes_its_figures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(foreground, "CLIPS", (CLIP,))
    assert main(["--data", str(tmp_path), "--methods", "grabcut", "--frames", "3", "--output", str(tmp_path)]) == 0
    assert "grabcut IoU" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "foreground.json").read_text("utf-8"))
    assert 0 <= row["grabcut"]["iou"] <= 1 and row["clip"] == "robot"
    assert (tmp_path / "robot_grabcut.png").is_file()


@pytest.mark.parametrize("wrong", [["--methods", "magic"], ["--clips", "nowhere"], ["--frames", "0"]])
def test_bad_usage_is_refused(wrong, tmp_path):
    assert main(["--data", str(tmp_path), *wrong]) == 2
