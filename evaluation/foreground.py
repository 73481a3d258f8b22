"""Compare segmentations of clips with any background against their true masks.

    python -m evaluation.foreground --data ../shared/data

Clips are those of ``evaluation.foreground_suite``. Methods: ``grabcut``; ``network``, the saliency of U^2-Net-p in each
whole frame by itself; ``salient``, what ``--frames.foreground auto`` uses for such clips. IoU is that of the masks
(alpha above one half), mean over frames; flicker is the mean absolute second difference of the mask's area, relative
to its mean area; seconds are per frame, on all threads, from pictures to cut-out frames.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import imageio.v3 as iio
import numpy as np
import tyro
from tqdm import tqdm

from evaluation.foreground_clips import TrueClip, make_clip
from evaluation.foreground_suite import CLIPS
from v2m4.command_line import end_with, parse_options
from v2m4.config import Config, FramesConfig
from v2m4.io.mask_check import side_by_side
from v2m4.io.salient import WORK_SIDE, SaliencyNetwork, open_salient, shrunk
from v2m4.io.segmentation import remove_backgrounds
from v2m4.preflight.foreground import require_salient
from v2m4.report import table
from v2m4.weights import Unavailable
from v2m4.workspace import atomic

log = logging.getLogger("evaluation.foreground")


@dataclass(frozen=True)
class ForegroundOptions:
    """Compare segmentations of clips with any background against their true masks."""

    # Folder with the characters (characters/, animated/ and videos/ in it).
    data: Path = Path("../shared/data")
    # Names of clips; default: all.
    clips: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    # Methods to compare: grabcut, network, salient.
    methods: tuple[str, ...] = ("grabcut", "network", "salient")
    # Frames of each clip, from its first, at most.
    frames: int = 16
    # Folder for the figures (foreground.json) and pictures of frames and masks.
    output: Path | None = None


@dataclass(frozen=True)
class Score:
    """Figures of one method on one clip.

    Attributes:
        iou: mean over frames.
        least_iou: of the worst frame.
        flicker: mean absolute second difference of the mask's area / mean area.
        seconds: per frame.
    """

    iou: float
    least_iou: float
    flicker: float
    seconds: float


def masks_by(method: str, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The clip's RGBA frames by a method.

    Raises:
        Unavailable: the network is not installed.
    """
    if method == "network":
        network = SaliencyNetwork(require_salient(Config()))
        maps = [network(shrunk(image, WORK_SIDE)) for image in pictures]
        alphas = [cv2.resize(found, image.shape[1::-1]) for found, image in zip(maps, pictures, strict=True)]
        return [
            np.dstack([image, np.round(255 * alpha).astype(np.uint8)])
            for image, alpha in zip(pictures, alphas, strict=True)
        ]
    segmenter = open_salient(Config()) if method == "salient" else None
    config = FramesConfig(foreground="salient" if segmenter else "grabcut")
    return list(remove_backgrounds("clip", pictures, config, segmenter)[1])


def flicker(masks: Sequence[np.ndarray]) -> float:
    """Mean absolute second difference of the masks' area, relative to their mean area; 0 for fewer than 3 masks."""
    areas = np.array([np.count_nonzero(mask) for mask in masks], np.float64)
    return float(np.abs(np.diff(areas, 2)).mean() / max(areas.mean(), 1)) if len(areas) > 2 else 0.0


Segmentation = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # pictures -> RGBA frames


def scored(method: Segmentation, clip: TrueClip) -> tuple[Score, list[np.ndarray]]:
    """Figures of a method on a clip, and its RGBA frames."""
    start = time.perf_counter()
    frames = method(clip.pictures)
    seconds = (time.perf_counter() - start) / len(frames)
    masks, truths = [frame[..., 3] > 127 for frame in frames], [alpha > 127 for alpha in clip.alphas]
    overlaps = [
        float((mask & truth).sum()) / max(1.0, float((mask | truth).sum()))
        for mask, truth in zip(masks, truths, strict=True)
    ]
    return Score(float(np.mean(overlaps)), float(min(overlaps)), flicker(masks), seconds), frames


def summary(rows: Sequence[dict[str, object]], methods: Sequence[str]) -> list[list[str]]:
    """One row of means for each group, and one for all."""
    lines = []
    for group in [*dict.fromkeys(row["group"] for row in rows), "all"]:
        chosen = [row for row in rows if group in ("all", row["group"])]
        cells = [f"mean, {group} ({len(chosen)})", "", _mean(chosen, "truth", "flicker", 4)]
        for method in methods:
            cells += [_mean(chosen, method, "iou", 3), "", _mean(chosen, method, "flicker", 4)]
            cells += [_mean(chosen, method, "seconds", 2)]
        lines.append(cells)
    return lines


def _mean(rows: Sequence[dict], name: str, figure: str, digits: int) -> str:
    return f"{np.mean([row[name][figure] for row in rows]):.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 2 on bad usage."""
    options = parse_options(ForegroundOptions, arguments)
    logging.basicConfig(level=logging.ERROR, format="%(levelname).1s %(message)s")
    unknown = [name for name in options.clips if name not in [clip.name for clip in CLIPS]]
    unknown += [name for name in options.methods if name not in ("grabcut", "network", "salient")]
    if unknown or options.frames < 1:
        log.error("%s", f"unknown: {' '.join(unknown)}" if unknown else "--frames must be positive")
        return 2
    rows = []
    for clip in tqdm([clip for clip in CLIPS if not options.clips or clip.name in options.clips], unit="clip"):
        try:
            made = make_clip(clip, options.data)
            true = TrueClip(made.pictures[: options.frames], made.alphas[: options.frames])
            row: dict = {"clip": clip.name, "group": clip.group}
            row["truth"] = {"flicker": flicker([alpha > 127 for alpha in true.alphas])}
            for method in options.methods:
                score, frames = scored(partial(masks_by, method), true)
                row[method] = asdict(score)
                if options.output is not None:
                    chosen = sorted({0, len(frames) // 3, 2 * len(frames) // 3, len(frames) - 1})
                    picture = side_by_side([true.pictures[i] for i in chosen], [frames[i] for i in chosen])
                    with atomic(options.output / f"{clip.name}_{method}.png") as temporary:
                        iio.imwrite(temporary, picture)
        except (FileNotFoundError, Unavailable) as error:
            log.error("%s", error)
            return 2
        rows.append(row)
    headers = ["clip", "group", "true flicker"]
    for method in options.methods:
        headers += [f"{method} IoU", "least", "flicker", "s"]
    lines = []
    for row in rows:
        cells = [row["clip"], row["group"], f"{row['truth']['flicker']:.4f}"]
        for method in options.methods:
            score = row[method]
            cells += [f"{score['iou']:.3f}", f"{score['least_iou']:.3f}"]
            cells += [f"{score['flicker']:.4f}", f"{score['seconds']:.2f}"]
        lines.append(cells)
    print(table([*lines, *summary(rows, options.methods)], headers))
    if options.output is not None:
        with atomic(options.output / "foreground.json") as temporary:
            temporary.write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    end_with(main)
