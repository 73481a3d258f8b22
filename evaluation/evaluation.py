"""Compare result videos with the true ones, animation by animation.

    python evaluation/evaluation.py --gt_videos_path ../shared/data/videos --result_videos_path results

Either path is a folder of videos (.mp4), of frame folders, or of animation results (with the
``output_final_rendering_images`` of ``rendering_video.py``), or one of these things itself. Animations are paired by
name, frames by name where both sides have the same names, else by order.

Frames are resized to 512 x 512 and composited on white: by their alpha where they have one, unchanged where their
background is white, else by the program's own foreground (black backgrounds). Masks follow one rule on both sides:
alpha > 0.5 where both sides have an alpha, otherwise the darkest channel below 235 of 255.

``--metrics all`` adds the learned metrics of V2M4's evaluation (``evaluation.learned_metrics`` has the protocol):
LPIPS, DreamSim and CLIP per animation, FVD of the whole set. They need packages and weights (``evaluation.backbones``
says which, and where they go); nothing is downloaded. A requested metric that is unavailable is listed as ``missing``
in the table, and in the JSON with what to install or which file to put where; all others are still computed, and the
exit code is 1.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import torch  # isort: skip
from evaluation.learned_metrics import (
    CLIP_FRAMES,
    FRAME_METRICS,
    LEARNED,
    Backbones,
    LearnedScores,
    mean_over_clips,
    score_clips,
    video_distance,
    window_note,
)
from evaluation.video_metrics import VideoScores, mask_on_white, score_video
from evaluation.videos import find_videos, load_video, pair_frames
from v2m4.command_line import end_with, parse_options
from v2m4.device import NoCuda, choose_device
from v2m4.io.names import natural_key
from v2m4.io.sources import Source
from v2m4.report import table
from v2m4.workspace import atomic

log = logging.getLogger("evaluation")

METRICS = tuple(field.name for field in fields(VideoScores))
ALL = (*METRICS, *LEARNED)
HEADERS = dict(psnr="PSNR", ssim="SSIM", iou="mask IoU", flicker="flicker")
HEADERS |= dict(fvd="FVD", lpips="LPIPS", dreamsim="DreamSim", clip="CLIP")
FORMATS = {"psnr": "{:.2f}", "fvd": "{:.1f}"}  # other metrics: 4 digits


@dataclass(frozen=True)
class VideoEvaluationOptions:
    """Compare result videos with the true ones: PSNR, SSIM, mask IoU, flicker; FVD, LPIPS, DreamSim, CLIP."""

    # The true videos: a folder of videos or of frame folders, or one of these.
    gt_videos_path: Path
    # The results: the same, or the folder that main.py and rendering_video.py wrote.
    result_videos_path: Path
    # Any of psnr ssim iou flicker and, learned, fvd lpips dreamsim clip; or all.
    metrics: tuple[str, ...] = METRICS
    # Where the figures are written as JSON; by default evaluation.json beside the results.
    output: Path | None = None
    # Frames are compared at this size (square), pixels.
    size: int = 512
    # Compare every n-th frame only.
    every: int = 1
    # The folder with the weights of learned metrics, beside the caches of their packages.
    weights_dir: Path | None = None
    # The CLIP model, by open_clip's name; figures of another than V2M4's do not compare with published ones.
    clip_model: str = "ViT-bigG-14"
    # Where learned metrics are computed.
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class VideoComparison:
    """The comparison of one animation; either ``scores`` or ``error`` is set."""

    name: str
    scores: VideoScores | None = None
    learned: LearnedScores | None = None
    truth_frames: int = 0
    result_frames: int = 0
    compared_frames: int = 0
    mask_rule: str = ""
    note: str = ""
    error: str = ""


def compare(
    truth_source: Source, result_source: Source, options: VideoEvaluationOptions, backbones: Backbones | None = None
) -> VideoComparison:
    """Score one animation, with learned metrics where ``backbones`` has networks.

    Raises:
        ValueError: a side cannot be read.
    """
    truth, result = load_video(truth_source, options.size), load_video(result_source, options.size)
    pairs, note = pair_frames(truth.names, result.names)
    notes = [note]
    if abs(truth.aspect / result.aspect - 1) > 0.02:
        notes.append(f"width / height {truth.aspect:.3f} and {result.aspect:.3f} differ")
    pairs = pairs[:: options.every]
    counts = len(truth.names), len(result.names), len(pairs)
    truth, result = truth.select([a for a, _ in pairs]), result.select([b for _, b in pairs])
    if truth.mask is not None and result.mask is not None:
        rule, masks = "alpha > 0.5", (truth.mask, result.mask)
    else:
        rule, masks = "darkest channel < 235", (mask_on_white(truth.pictures), mask_on_white(result.pictures))
    scores = score_video(truth.pictures, result.pictures, *masks)
    learned = None
    if backbones is not None and (backbones.frames or backbones.videos):
        learned = score_clips(truth.pictures, result.pictures, backbones)
        notes.append(window_note(len(pairs)))
    note = "; ".join(note for note in notes if note)
    return VideoComparison(truth_source.name, scores, learned, *counts, mask_rule=rule, note=note)


def pair_animations(options: VideoEvaluationOptions) -> list[tuple[Source, Source | None]]:
    """Every requested animation of the truth and its result, None where no result has its name.

    Raises:
        FileNotFoundError: a side holds nothing.
    """
    truths, results = find_videos(options.gt_videos_path), find_videos(options.result_videos_path)
    if len(truths) == len(results) == 1:
        return [(truths[0], results[0])]
    by_name = {source.name: source for source in results}
    pairs = [(truth, by_name.get(truth.name)) for truth in truths]
    unknown = sorted(set(by_name) - {truth.name for truth in truths}, key=natural_key)
    if unknown:
        log.warning("results without a true video are ignored: %s", ", ".join(unknown))
    if len(results) == 1 and any(result for _, result in pairs):  # a single result was named: only that one is compared
        pairs = [pair for pair in pairs if pair[1] is not None]
    return pairs


def evaluate(
    pairs: Sequence[tuple[Source, Source | None]], options: VideoEvaluationOptions, backbones: Backbones | None = None
) -> list[VideoComparison]:
    """Score the animations; failures are recorded in their comparison."""
    comparisons = []
    for truth, result in tqdm(pairs, unit="animation", dynamic_ncols=True):
        if result is None:
            comparisons.append(
                VideoComparison(truth.name, error=f"no result of this name in {options.result_videos_path}")
            )
            continue
        try:
            comparisons.append(compare(truth, result, options, backbones))
        except (ValueError, OSError) as error:
            comparisons.append(VideoComparison(truth.name, error=str(error)))
    return comparisons


def figures_of(comparison: VideoComparison, metrics: Sequence[str]) -> dict[str, float]:
    """The values of the metrics that an animation has."""
    values = {name: getattr(comparison.scores, name, None) for name in METRICS}
    values |= {name: getattr(comparison.learned, name, None) for name in FRAME_METRICS}
    return {name: value for name in metrics if (value := values.get(name)) is not None}


def summary(comparisons: Sequence[VideoComparison], metrics: Sequence[str]) -> dict[str, dict]:
    """All figures as plain values: per animation, their means over the animations that have them, and FVD of the set.

    The mean of learned metrics gives every clip of 32 frames equal weight, as in V2M4; others every animation.
    """
    animations = {}
    for comparison in comparisons:
        remarks = ("truth_frames", "result_frames", "compared_frames", "mask_rule", "note", "error")
        entry = {name: getattr(comparison, name) for name in remarks if getattr(comparison, name)}
        if comparison.learned is not None:
            entry["clips"] = comparison.learned.clips
        animations[comparison.name] = entry | figures_of(comparison, metrics)
    learned = [comparison.learned for comparison in comparisons if comparison.learned is not None]
    mean = {}
    for metric in metrics:
        if metric in FRAME_METRICS:
            value = mean_over_clips(learned, metric)
        else:
            values = [entry[metric] for entry in animations.values() if metric in entry]
            value = float(np.mean(values)) if values else None
        if value is not None:
            mean[metric] = value
    figures: dict[str, dict] = {"animations": animations, "mean": mean}
    distance = video_distance(learned) if "fvd" in metrics else None
    if distance is not None:
        figures["fvd"] = {
            "value": distance.value,
            "between_means": distance.means,
            "between_covariances": distance.covariances,
            "clips": distance.samples,
        }
    return figures


def _rows(
    comparisons: Sequence[VideoComparison], figures: dict[str, dict], metrics: Sequence[str], missing: Iterable[str]
) -> list[list[object]]:
    def cells(entry: dict) -> list[str]:
        placeholders = {metric: "missing" if metric in missing else "-" for metric in metrics}
        return [
            FORMATS.get(metric, "{:.4f}").format(entry[metric]) if metric in entry else placeholders[metric]
            for metric in metrics
        ]

    rows: list[list[object]] = []
    for comparison in comparisons:
        entry = figures["animations"][comparison.name]
        remarks = comparison.mask_rule, comparison.error or comparison.note
        rows.append([comparison.name, comparison.compared_frames, *cells(entry), *remarks])
    set_figures = dict(figures["mean"])
    if "fvd" in figures:
        set_figures["fvd"] = figures["fvd"]["value"]
    if set_figures:
        frames = sum(comparison.compared_frames for comparison in comparisons)
        rows.append(["mean", frames, *cells(set_figures), "", ""])
    return rows


def _fvd_line(fvd: dict[str, float]) -> str:
    line = f"FVD {fvd['value']:.1f} over {fvd['clips']} clip{'s' * (fvd['clips'] != 1)} of {CLIP_FRAMES} frames"
    if fvd["clips"] == 1:
        return f"{line}: the squared distance of its features alone, as V2M4's code does; one clip has no covariance"
    return f"{line}: {fvd['between_means']:.1f} between means, {fvd['between_covariances']:.1f} between covariances"


def expand_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """The requested metrics without duplicates, ``all`` expanded."""
    names = [name for metric in metrics for name in (ALL if metric == "all" else (metric,))]
    return tuple(dict.fromkeys(names))


def check(options: VideoEvaluationOptions) -> str | None:
    """The error in the options, in one line, or None."""
    metrics = expand_metrics(options.metrics)
    for metric in metrics:
        if metric not in ALL:
            return f"--metrics {metric}: unknown; choose from {' '.join(ALL)}, or all"
    if not metrics:
        return f"--metrics: name at least one of {' '.join(ALL)}, or all"
    if options.size < 16 or options.every < 1:
        return f"--size {options.size} --every {options.every}: size must be at least 16 and every at least 1"
    if options.weights_dir is not None and not options.weights_dir.is_dir():
        return f"--weights_dir {options.weights_dir}: no such folder"
    try:
        choose_device(options.device, rasteriser=False)
    except NoCuda as error:
        return str(error)
    return None


def _backbones(options: VideoEvaluationOptions, metrics: Sequence[str]) -> Backbones | None:
    """Load the networks of the requested learned metrics, None without any; missing ones are logged."""
    learned = [metric for metric in metrics if metric in LEARNED]
    if not learned:
        return None
    from evaluation.backbones import load_backbones  # imported only when needed: its packages take seconds

    device = torch.device(choose_device(options.device, rasteriser=False).name)
    backbones = load_backbones(learned, options.weights_dir, device, options.clip_model)
    for metric, reason in backbones.missing.items():
        log.error("%s is missing: %s", metric, reason)
    return backbones


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 on success; 1 when an animation could not be compared or a requested metric is missing; 2 on bad usage.
    """
    options = parse_options(VideoEvaluationOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    error_line = check(options)
    if error_line:
        log.error("%s", error_line)
        return 2
    metrics = expand_metrics(options.metrics)
    try:
        pairs = pair_animations(options)
    except (FileNotFoundError, NotADirectoryError) as error:
        log.error("%s", error)
        return 2
    backbones = _backbones(options, metrics)
    missing = backbones.missing if backbones is not None else {}
    comparisons = evaluate(pairs, options, backbones)
    figures = summary(comparisons, metrics)
    headers = ["animation", "frames", *(HEADERS[metric] for metric in metrics), "mask", "note"]
    print(table(_rows(comparisons, figures, metrics, missing), headers))
    if "fvd" in figures:
        print(_fvd_line(figures["fvd"]))
    protocol: dict[str, object] = {"size": options.size, "every": options.every, "background": "white"}
    if backbones is not None:
        protocol |= {"clip_frames": CLIP_FRAMES, "clip_model": options.clip_model, "device": str(backbones.device)}
        figures["missing"] = missing
    folder = options.result_videos_path if options.result_videos_path.is_dir() else options.result_videos_path.parent
    output = options.output or folder / "evaluation.json"
    with atomic(output) as temporary:
        temporary.write_text(json.dumps({"protocol": protocol, **figures}, indent=1, ensure_ascii=False), "utf-8")
    print(f"written to {output}")
    if missing:
        print(
            f"missing: {', '.join(missing)} (requested, not computed; what they need is logged above and in {output})"
        )
    return 1 if missing or any(comparison.error for comparison in comparisons) else 0


if __name__ == "__main__":
    end_with(main)
