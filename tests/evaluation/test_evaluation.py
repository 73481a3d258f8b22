"""The evaluation command: pairing, backgrounds, masks, exit codes, and published figures."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.evaluation import expand_metrics, main
from evaluation.learned_metrics import Backbones
from evaluation.videos import MASKS, RENDERED, find_videos, load_video, pair_frames
from v2m4.io.video import write_video

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT.parent / "shared" / "data" / "published"


def rgba(shift=0, size=96):
    picture = np.zeros((size, size, 4), np.uint8)
    cv2.circle(picture, (40 + shift, 48), 22, (200, 90, 40, 255), -1)
    return picture


def on(picture, grey):
    alpha = picture[..., 3:] / 255
    return (picture[..., :3] * alpha + grey * (1 - alpha)).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def run(truth, result, *more):
    output = truth.parent / "figures.json"
    code = main(["--gt_videos_path", str(truth), "--result_videos_path", str(result), "--output", str(output), *more])
    return code, json.loads(output.read_text("utf-8")) if output.exists() else None


def test_input_folders_against_renderings(tmp_path):
    """RGBA and black inputs against RGB on white: the same picture, so nearly nothing is lost."""
    for index in range(3):
        save(tmp_path / "in" / "given" / f"{index}.png", rgba(index))
        save(tmp_path / "in" / "black" / f"{index}.png", on(rgba(index), 0))
        for name in ("given", "black"):
            save(tmp_path / "out" / name / RENDERED / f"{index}.png", on(rgba(index), 255))
            save(tmp_path / "out" / name / f"{index}_rmbg.png", rgba(20))  # not what is to be compared
    code, figures = run(tmp_path / "in", tmp_path / "out", "--size", "96")
    assert code == 0
    assert set(figures["animations"]) == {"given", "black"}
    for entry in figures["animations"].values():
        assert entry["compared_frames"] == 3
        assert entry["psnr"] > 35
        assert entry["iou"] > 0.99
    assert figures["mean"]["iou"] == np.mean([entry["iou"] for entry in figures["animations"].values()])


def test_videos_of_equal_names(tmp_path):
    for folder, offset in (("in", 0), ("out", 3)):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "fox.mp4", [on(rgba(i + offset), 255) for i in range(4)], 10)
    code, figures = run(tmp_path / "in", tmp_path / "out", "--metrics", "iou")
    entry = figures["animations"]["fox"]
    assert code == 0
    assert "psnr" not in entry
    assert entry["mask_rule"] == "darkest channel < 235"
    assert 0.75 < entry["iou"] < 0.92


def test_different_frame_counts_are_noted(tmp_path):
    for index in range(4):
        save(tmp_path / "in" / "fox" / f"{index}.png", rgba(index))
        if index != 1:
            save(tmp_path / "out" / "fox" / f"{index}.png", rgba(index))
    code, figures = run(tmp_path / "in", tmp_path / "out", "--size", "96")
    entry = figures["animations"]["fox"]
    assert code == 0
    assert entry["note"] == "4 true and 3 result frames: 3 compared, paired by name"
    assert entry["iou"] == 1
    assert entry["mask_rule"] == "alpha > 0.5"


def test_frames_are_paired_by_name_else_by_order():
    assert pair_frames(["a", "b"], ["a", "b"]) == ([(0, 0), (1, 1)], "")
    assert pair_frames(["0", "1"], ["000", "001"]) == ([(0, 0), (1, 1)], "")
    assert pair_frames(["a", "b"], ["b"])[0] == [(1, 0)]
    assert pair_frames(["a", "b"], ["x"]) == ([(0, 0)], "2 true and 1 result frames: 1 compared, paired by order")


def test_a_missing_or_unrendered_result_fails_alone(tmp_path):
    for name in ("fox", "robot", "walk"):
        save(tmp_path / "in" / name / "0.png", rgba())
    save(tmp_path / "out" / "fox" / RENDERED / "0.png", on(rgba(), 255))
    (tmp_path / "out" / "walk").mkdir()
    (tmp_path / "out" / "walk" / "manifest.json").write_text("{}")
    code, figures = run(tmp_path / "in", tmp_path / "out", "--size", "96")
    assert code == 1
    assert figures["animations"]["robot"]["error"].startswith("no result of this name")
    assert "not rendered yet" in figures["animations"]["walk"]["error"]
    assert figures["mean"]["psnr"] == figures["animations"]["fox"]["psnr"]


def test_one_result_of_many_truths(tmp_path):
    for name in ("fox", "robot"):
        save(tmp_path / "in" / name / "0.png", rgba())
    save(tmp_path / "out" / "fox" / RENDERED / "0.png", on(rgba(), 255))
    assert [source.name for source in find_videos(tmp_path / "out" / "fox")] == ["fox"]
    code, figures = run(tmp_path / "in", tmp_path / "out" / "fox")
    assert code == 0
    assert set(figures["animations"]) == {"fox"}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--metrics", "x"), "unknown"),
        (("--every", "0"), "at least 1"),
        (("--metrics", "lpips", "--weights_dir", "nowhere"), "no such folder"),
    ],
)
def test_a_wrong_option_is_told_in_one_line_and_exits_with_2(tmp_path, caplog, more, line):
    save(tmp_path / "in" / "fox" / "0.png", rgba())
    code, _ = run(tmp_path / "in", tmp_path / "in", *more)
    assert code == 2
    assert len(caplog.records) == 1
    assert line in caplog.text


def test_missing_metrics_are_named_and_others_computed(tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "weights").mkdir()
    for index in range(3):
        save(tmp_path / "in" / "fox" / f"{index}.png", rgba(index))
    more = ("--metrics", "psnr", "fvd", "lpips", "iou", "--weights_dir", str(tmp_path / "weights"), "--size", "64")
    code, figures = run(tmp_path / "in", tmp_path / "in", *more)
    assert code == 1
    assert set(figures["missing"]) == {"fvd", "lpips"}
    assert "put i3d_torchscript.pt from https://www.dropbox.com" in figures["missing"]["fvd"]
    assert f"fvd is missing: {figures['missing']['fvd']}" in caplog.text
    entry = figures["animations"]["fox"]
    assert (entry["psnr"], entry["iou"]) == (100, 1)
    assert not {"fvd", "lpips"} & (set(entry) | set(figures["mean"]))
    printed = capsys.readouterr().out
    assert printed.split().count("missing") == 4  # two cells in each of two rows
    assert "missing: fvd, lpips" in printed


class Networks:
    """Stand-ins for the learned networks, by the same signatures, with figures that can be worked out."""

    def __init__(self, metrics, weights_dir, device, clip_model):
        self.asked = tuple(metrics), clip_model

    def backbones(self):
        def gap(truth, result):
            return (truth - result).abs().mean((1, 2, 3))

        frames = {"lpips": gap, "dreamsim": lambda a, b: 2 * gap(a, b), "clip": lambda a, b: 1 - gap(a, b)}
        frames = {name: metric for name, metric in frames.items() if name in self.asked[0]}
        videos = (lambda clips: clips.mean((3, 4)).flatten(1)) if "fvd" in self.asked[0] else None
        return Backbones(torch.device("cpu"), frames, videos, {})


def grey_videos(folder, levels, frames):
    for name, level in levels.items():
        for index in range(frames[name]):
            save(folder / name / f"{index}.png", np.full((64, 64, 3), level, np.uint8))


def test_learned_metrics_of_a_set(tmp_path, monkeypatch, capsys):
    """Grey videos: 70 frames are two clips, 20 are padded to one; FVD over three clips, means over clips."""
    monkeypatch.setattr("evaluation.backbones.load_backbones", lambda *arguments: Networks(*arguments).backbones())
    frames = {"long": 70, "short": 20}
    grey_videos(tmp_path / "in", {"long": 250, "short": 240}, frames)
    grey_videos(tmp_path / "out", {"long": 240, "short": 245}, frames)
    code, figures = run(tmp_path / "in", tmp_path / "out", "--metrics", "all", "--size", "64")
    assert code == 0
    assert figures["missing"] == {}
    long, short = figures["animations"]["long"], figures["animations"]["short"]
    assert (long["clips"], short["clips"]) == (2, 1)
    assert "leave out the last 6 of 70 frames" in long["note"]
    assert short["note"] == "20 frames padded by reversal to a clip of 32"
    assert long["lpips"] == pytest.approx(10 / 255, abs=1e-6)
    assert short["dreamsim"] == pytest.approx(2 * 5 / 255, abs=1e-6)
    assert figures["mean"]["clip"] == pytest.approx(1 - (2 * 10 + 5) / 3 / 255, abs=1e-6)
    assert figures["mean"]["psnr"] == np.mean([entry["psnr"] for entry in (long, short)])
    truth, result = np.array([250, 250, 240]) / 255, np.array([240, 240, 245]) / 255  # each feature is the grey level
    spread = (truth.std(ddof=1) - result.std(ddof=1)) ** 2
    assert figures["fvd"]["clips"] == 3
    assert figures["fvd"]["between_means"] == pytest.approx(96 * (truth.mean() - result.mean()) ** 2, abs=1e-6)
    assert figures["fvd"]["between_covariances"] == pytest.approx(96 * spread, abs=1e-6)
    assert "fvd" not in long
    assert figures["protocol"]["clip_frames"] == 32
    assert "over 3 clips of 32 frames" in capsys.readouterr().out


def test_fvd_of_one_clip_says_that_it_has_no_covariance(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("evaluation.backbones.load_backbones", lambda *arguments: Networks(*arguments).backbones())
    grey_videos(tmp_path, {"in": 250, "out": 240}, {"in": 3, "out": 3})
    code, figures = run(tmp_path / "in", tmp_path / "out", "--metrics", "fvd", "--size", "64")
    assert code == 0
    assert figures["fvd"]["value"] == figures["fvd"]["between_means"] == pytest.approx(96 * (10 / 255) ** 2, rel=1e-4)
    assert figures["fvd"]["clips"] == 1
    printed = capsys.readouterr().out
    assert "over 1 clip of 32 frames: the squared distance of its features alone" in printed


def test_all_expands_to_every_metric_once():
    assert expand_metrics(["all"]) == ("psnr", "ssim", "iou", "flicker", "fvd", "lpips", "dreamsim", "clip")
    assert expand_metrics(["clip", "psnr", "clip"]) == ("clip", "psnr")
    assert expand_metrics(["clip", "all"])[:2] == ("clip", "psnr")


def test_a_result_folder_that_is_missing_exits_with_2(tmp_path):
    save(tmp_path / "in" / "fox" / "0.png", rgba())
    assert run(tmp_path / "in", tmp_path / "missing")[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", "evaluation", "/tmp"])
def test_runs_from_any_folder(tmp_path, folder):
    save(tmp_path / "in" / "fox" / "0.png", rgba())
    command = [sys.executable, str(ROOT / "evaluation" / "evaluation.py")]
    command += ["--gt_videos_path", str(tmp_path / "in"), "--result_videos_path", str(tmp_path / "in")]
    done = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "100.00" in done.stdout
    assert (tmp_path / "in" / "evaluation.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs ../shared/data/published")
@pytest.mark.parametrize(
    ("name", "psnr", "ssim", "iou"),
    [("dancing_spiderman", 19.68, 0.870, 0.914), ("run_backwards", 19.92, 0.937, 0.726)],
)
def test_published_figures_of_v2m4(tmp_path, name, psnr, ssim, iou):
    """FINDINGS, input-view fidelity: the result's left half, without its frame of 5 black pixels, every 4th frame."""
    for side, file in (("in", "input"), ("out", "Ours")):
        for index, picture in enumerate(iio.imiter(PUBLISHED / name / f"{file}.mp4", plugin="pyav")):
            save(tmp_path / side / name / f"{index}.png", picture[5:-5, 5:517])
    code, figures = run(tmp_path / "in", tmp_path / "out", "--every", "4")
    entry = figures["animations"][name]
    assert code == 0
    assert entry["mask_rule"] == "darkest channel < 235"
    assert entry["psnr"] == pytest.approx(psnr, abs=0.05)
    assert entry["ssim"] == pytest.approx(ssim, abs=0.003)
    assert entry["iou"] == pytest.approx(iou, abs=0.001)


def test_white_backgrounds_are_left_as_they_are(tmp_path):
    save(tmp_path / "fox" / "0.png", on(rgba(), 255))
    video = load_video(find_videos(tmp_path)[0], 96)
    assert video.mask is None
    np.testing.assert_array_equal(video.pictures[0], on(rgba(), 255) / np.float32(255))


def test_rendered_masks_count_white_parts_of_the_object(tmp_path):
    truth = rgba()
    truth[40:56, 32:48, :3] = 255  # white eyes
    save(tmp_path / "in" / "fox" / "0.png", truth)
    save(tmp_path / "out" / "fox" / RENDERED / "0.png", on(truth, 255))
    _, without = run(tmp_path / "in", tmp_path / "out", "--size", "96")
    save(tmp_path / "out" / "fox" / MASKS / "0.png", truth[..., 3])
    _, with_masks = run(tmp_path / "in", tmp_path / "out", "--size", "96")
    assert without["animations"]["fox"]["mask_rule"] == "darkest channel < 235"
    assert with_masks["animations"]["fox"]["mask_rule"] == "alpha > 0.5"
    assert without["animations"]["fox"]["iou"] == with_masks["animations"]["fox"]["iou"] == 1
    save(tmp_path / "out" / "fox" / MASKS / "0.png", truth[..., 3] * (truth[..., 1] < 255))
    assert run(tmp_path / "in", tmp_path / "out", "--size", "96")[1]["animations"]["fox"]["iou"] < 0.9
