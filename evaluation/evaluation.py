"""Compare result videos with the true ones, animation by animation.

    python evaluation/evaluation.py --gt_videos_path ../shared/data/videos --result_videos_path results

Either path is a folder of videos (.mp4), of frame folders, or of animation results (where ``rendering_video.py`` has
left ``output_final_rendering_images``), or one of these things itself. Animations are paired by name, frames by name
where both sides have the same names, else by order.

Frames are brought to 512 x 512 and laid on white: by their alpha where they have one, as they are where their
background is white, else by the program's own foreground (black backgrounds). Masks follow one rule on both sides:
alpha > 0.5 where both sides have an alpha, otherwise the darkest channel below 235 of 255.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.video_metrics import VideoScores, mask_on_white, score_video
from v2m4.config import FramesConfig
from v2m4.io.foreground import choose_method, has_alpha
from v2m4.io.names import natural_key
from v2m4.io.picture import read_picture
from v2m4.io.video import Source, find_animations, list_pictures, read_clip, read_pictures
from v2m4.report import table
from v2m4.workspace import MANIFEST, atomic

log = logging.getLogger("evaluation")

RENDERED, MASKS = "output_final_rendering_images", "output_final_rendering_masks"
METRICS = tuple(field.name for field in fields(VideoScores))
LEARNED = ("fvd", "lpips", "dreamsim", "clip")
HEADERS = {"psnr": "PSNR", "ssim": "SSIM", "iou": "mask IoU", "flicker": "flicker"}


@dataclass(frozen=True)
class Options:
    """Compare result videos with the true ones: PSNR, SSIM, mask IoU, temporal flicker."""

    # The true videos: a folder of videos or of frame folders, or one of these.
    gt_videos_path: Path
    # The results: the same, or the folder that main.py and rendering_video.py wrote.
    result_videos_path: Path
    # Any of psnr ssim iou flicker.
    metrics: tuple[str, ...] = METRICS
    # Where the figures are written as JSON; by default evaluation.json beside the results.
    output: Path | None = None
    # Frames are compared at this size (square), pixels.
    size: int = 512
    # Compare every n-th frame only.
    every: int = 1


@dataclass(frozen=True)
class Video:
    """One side of a comparison.

    Attributes:
        names: of the frames.
        pictures: (T, S, S, 3) float32 on white.
        mask: (T, S, S) bool from alpha, or None where there is none.
        aspect: width / height before it was made square.
    """

    names: list[str]
    pictures: np.ndarray
    mask: np.ndarray | None
    aspect: float

    def chosen(self, indices: Sequence[int]) -> Video:
        """Some of the frames."""
        mask = None if self.mask is None else self.mask[list(indices)]
        return replace(self, names=[self.names[i] for i in indices], pictures=self.pictures[list(indices)], mask=mask)


@dataclass(frozen=True)
class Comparison:
    """What came of one animation; either ``scores`` or ``error`` is there."""

    name: str
    scores: VideoScores | None = None
    truth_frames: int = 0
    result_frames: int = 0
    compared_frames: int = 0
    mask_rule: str = ""
    note: str = ""
    error: str = ""


def find_videos(path: Path) -> list[Source]:
    """The animations of one side, in natural order.

    Raises:
        FileNotFoundError: nothing there.
    """
    if (path / RENDERED).is_dir() or (path / MANIFEST).is_file():
        return [_result(path)]
    if path.is_dir():
        folders = [folder for folder in path.iterdir() if (folder / RENDERED).is_dir() or (folder / MANIFEST).is_file()]
        if folders:
            return [_result(folder) for folder in sorted(folders, key=lambda folder: natural_key(folder.name))]
    return find_animations(path)


def _result(folder: Path) -> Source:
    rendered = folder / RENDERED
    count = len(list_pictures(rendered)) if rendered.is_dir() else 0
    return Source(folder.resolve().name, rendered, "folder", count)


def load_video(source: Source, size: int) -> Video:
    """Read one side: on white, square, with a mask where there is an alpha.

    Raises:
        ValueError: it cannot be read, or has not been rendered yet.
    """
    if source.kind == "folder" and source.path.name == RENDERED and source.count == 0:
        raise ValueError(f"{source.path}: not rendered yet; run python rendering_video.py --result_path ... first")
    read = read_pictures(source, FramesConfig())
    images = read.images
    samples = [images[index] for index in sorted({0, len(images) // 2, len(images) - 1})]
    stored_masks = _stored_masks(source, read.names)
    parts: list[tuple[np.ndarray, np.ndarray | None]]
    if all(has_alpha(sample) for sample in samples):
        parts = [_on_white(image) for image in images]
    elif stored_masks is not None:
        parts = [(image[..., :3] / np.float32(255), mask) for image, mask in zip(images, stored_masks, strict=True)]
    elif _background_is_white(samples):
        parts = [(image[..., :3] / np.float32(255), None) for image in images]
    else:
        parts = [_on_white(frame.rgba) for frame in read_clip(source, FramesConfig()).frames]
    height, width = images[0].shape[:2]
    pictures = np.stack([_square(colour, size) for colour, _ in parts])
    masks = [None if mask is None else _square(mask, size) > 0.5 for _, mask in parts]
    mask = None if any(part is None for part in masks) else np.stack([part for part in masks if part is not None])
    return Video(read.names, pictures, mask, width / height)


def _background_is_white(samples: Sequence[np.ndarray]) -> bool:
    method = choose_method(samples)
    return method.kind == "key" and min(method.background) >= 235


def _on_white(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour (H, W, 3) on white and alpha (H, W) of a picture with or without alpha, float32."""
    picture = rgba.astype(np.float32) / 255
    alpha = picture[..., 3] if picture.shape[2] == 4 else np.ones(picture.shape[:2], np.float32)
    return picture[..., :3] * alpha[..., None] + (1 - alpha[..., None]), alpha


def _stored_masks(source: Source, names: Sequence[str]) -> list[np.ndarray] | None:
    """The coverage that rendering_video.py wrote beside its pictures, float32, or None where it is not complete."""
    if source.path.name != RENDERED:
        return None
    files = [source.path.parent / MASKS / f"{name}.png" for name in names]
    if not all(file.is_file() for file in files):
        return None
    return [read_picture(file)[..., 0] / np.float32(255) for file in files]


def _square(image: np.ndarray, size: int) -> np.ndarray:
    """The picture stretched to a square, as V2M4 compares: averaged where it shrinks, bilinear where it grows."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = min(image.shape[:2]) >= size
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def pair_frames(truth: Sequence[str], result: Sequence[str]) -> tuple[list[tuple[int, int]], str]:
    """Which frame is compared with which, and a note where the two sides do not match one to one.

    Args:
        truth: names of the true frames.
        result: names of the result's frames.

    Returns:
        Pairs of indices in order of the truth: by name where any name is on both sides, else by order.
    """
    where = {name: index for index, name in enumerate(result)}
    pairs = [(index, where[name]) for index, name in enumerate(truth) if name in where]
    by = "name"
    if not pairs:
        pairs, by = [(index, index) for index in range(min(len(truth), len(result)))], "order"
    if len(pairs) == len(truth) == len(result):
        return pairs, ""
    return pairs, f"{len(truth)} true and {len(result)} result frames: {len(pairs)} compared, paired by {by}"


def compare(truth_source: Source, result_source: Source, options: Options) -> Comparison:
    """Score one animation.

    Raises:
        ValueError: a side cannot be read.
    """
    truth, result = load_video(truth_source, options.size), load_video(result_source, options.size)
    pairs, note = pair_frames(truth.names, result.names)
    if abs(truth.aspect / result.aspect - 1) > 0.02:
        note = f"{note}; " * bool(note) + f"width / height {truth.aspect:.3f} and {result.aspect:.3f} differ"
    pairs = pairs[:: options.every]
    counts = len(truth.names), len(result.names), len(pairs)
    truth, result = truth.chosen([a for a, _ in pairs]), result.chosen([b for _, b in pairs])
    if truth.mask is not None and result.mask is not None:
        rule, masks = "alpha > 0.5", (truth.mask, result.mask)
    else:
        rule, masks = "darkest channel < 235", (mask_on_white(truth.pictures), mask_on_white(result.pictures))
    return Comparison(
        truth_source.name, score_video(truth.pictures, result.pictures, *masks), *counts, mask_rule=rule, note=note
    )


def evaluate(options: Options) -> list[Comparison]:
    """Score every animation of the truth that is asked for; those that fail say why.

    Raises:
        FileNotFoundError: a side holds nothing.
    """
    truths, results = find_videos(options.gt_videos_path), find_videos(options.result_videos_path)
    if len(truths) == len(results) == 1:
        pairs: list[tuple[Source, Source | None]] = [(truths[0], results[0])]
    else:
        by_name = {source.name: source for source in results}
        pairs = [(truth, by_name.get(truth.name)) for truth in truths]
        unknown = sorted(set(by_name) - {truth.name for truth in truths}, key=natural_key)
        if unknown:
            log.warning("results without a true video are passed over: %s", ", ".join(unknown))
        if len(results) == 1 and any(result for _, result in pairs):  # one result was named: only that one is asked for
            pairs = [pair for pair in pairs if pair[1] is not None]
    comparisons = []
    for truth, result in tqdm(pairs, unit="animation", dynamic_ncols=True):
        if result is None:
            comparisons.append(Comparison(truth.name, error=f"no result of this name in {options.result_videos_path}"))
            continue
        try:
            comparisons.append(compare(truth, result, options))
        except (ValueError, OSError) as error:
            comparisons.append(Comparison(truth.name, error=str(error)))
    return comparisons


def summary(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> dict[str, object]:
    """All figures as plain values: per animation, and their mean over the animations that have them."""
    scored = [comparison.scores for comparison in comparisons if comparison.scores is not None]
    animations = {}
    for comparison in comparisons:
        entry = {name: value for name, value in asdict(comparison).items() if name not in ("name", "scores") and value}
        if comparison.scores is not None:
            entry |= {metric: getattr(comparison.scores, metric) for metric in metrics}
        animations[comparison.name] = entry
    mean = {metric: float(np.mean([getattr(scores, metric) for scores in scored])) for metric in metrics if scored}
    return {"animations": animations, "mean": mean}


def _rows(comparisons: Sequence[Comparison], figures: dict, metrics: Sequence[str]) -> list[list[object]]:
    formats = {"psnr": "{:.2f}", "ssim": "{:.4f}", "iou": "{:.4f}", "flicker": "{:.4f}"}
    rows = []
    for comparison in comparisons:
        entry = figures["animations"][comparison.name]
        cells = [formats[metric].format(entry[metric]) if metric in entry else "-" for metric in metrics]
        rows.append(
            [
                comparison.name,
                comparison.compared_frames,
                *cells,
                comparison.mask_rule,
                comparison.error or comparison.note,
            ]
        )
    if figures["mean"]:
        cells = [formats[metric].format(figures["mean"][metric]) for metric in metrics]
        rows.append(["mean", sum(comparison.compared_frames for comparison in comparisons), *cells, "", ""])
    return rows


def check(options: Options) -> str | None:
    """What is wrong with the options, in one line, or None."""
    for metric in options.metrics:
        if metric.lower() in LEARNED:
            return (
                f"--metrics {metric}: learned metrics are not part of this version yet; choose from {' '.join(METRICS)}"
            )
        if metric not in METRICS:
            return f"--metrics {metric}: unknown; choose from {' '.join(METRICS)}"
    if not options.metrics:
        return f"--metrics: name at least one of {' '.join(METRICS)}"
    if options.size < 16 or options.every < 1:
        return f"--size {options.size} --every {options.every}: size must be at least 16 and every at least 1"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 1 when an animation could not be compared, 2 on bad usage."""
    options = tyro.cli(Options, args=arguments, use_underscores=True)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    wrong = check(options)
    if wrong:
        log.error("%s", wrong)
        return 2
    try:
        comparisons = evaluate(options)
    except (FileNotFoundError, NotADirectoryError) as error:
        log.error("%s", error)
        return 2
    figures = summary(comparisons, options.metrics)
    print(table(_rows(comparisons, figures, options.metrics), _headers(options.metrics)))
    folder = options.result_videos_path if options.result_videos_path.is_dir() else options.result_videos_path.parent
    output = options.output or folder / "evaluation.json"
    protocol = {"size": options.size, "every": options.every, "background": "white"}
    with atomic(output) as temporary:
        temporary.write_text(json.dumps({"protocol": protocol, **figures}, indent=1, ensure_ascii=False), "utf-8")
    print(f"written to {output}")
    return 1 if any(comparison.error for comparison in comparisons) else 0


def _headers(metrics: Sequence[str]) -> list[str]:
    return ["animation", "frames", *(HEADERS[metric] for metric in metrics), "mask", "note"]


if __name__ == "__main__":
    sys.exit(main())
