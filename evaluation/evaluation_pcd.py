"""Compare surface sequences with the true ones, animation by animation.

    python evaluation/evaluation_pcd.py --gt_path examples/ground_truth --pred_path results

Either path is one sequence (an animated .glb or .fbx, a still mesh, a ground truth .npz, a folder of frame_*.npy or
frame_*.glb, a folder that main.py wrote) or a folder of them; several are paired by name. Meshes may have any format
that main.py --mesh takes. Protocols, each with its own alignment:

- motion80: Motion-80's CD and F-score(0.02) as in the paper: one similarity, registered in the first frame.
- motion80-code: the same as in the reference code (which applies the registered map to the truth).
- actionbench: CD-3D, CD-4D, CD-M of ActionBench, scale per axis. Slow: minutes for 32 frames.
- voxel_iou: overlap of the enclosed volumes at 64 voxels, aligned as motion80.
- trajectory: mean error of tracked surface points in % of the size. Where both sides share one topology it is
  trajectory_error (corresponding points); trajectory_error_matched pairs points in the first frame, for any topologies.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import numpy as np

from evaluation.actionbench import actionbench
from evaluation.alignment import yaw_starts
from evaluation.geometry_metrics import Alignment, Motion80Scores, align_first_frames, motion80, motion80_code
from evaluation.geometry_pictures import write_pictures
from evaluation.sequences import ReadOptions, SequencePair, find_pairs, read_pair
from evaluation.surface_points import vertices_of_constant_topology
from evaluation.trajectories import trajectory_error, trajectory_error_matched
from evaluation.voxel_iou import voxel_iou
from v2m4.command_line import end_with, parse_options
from v2m4.report import table
from v2m4.rotation import cube_rotations
from v2m4.workspace import atomic

log = logging.getLogger("evaluation_pcd")

PROTOCOLS = ("motion80", "motion80-code", "actionbench", "voxel_iou", "trajectory")
DEFAULT = ("motion80", "motion80-code", "voxel_iou", "trajectory")
HEADERS = {
    "motion80_cd": "CD",
    "motion80_f": "F(0.02)",
    "motion80_code_cd": "CD (code)",
    "motion80_code_f": "F (code)",
    "actionbench_cd_3d": "CD-3D",
    "actionbench_cd_4d": "CD-4D",
    "actionbench_cd_m": "CD-M",
    "voxel_iou": "voxel IoU",
    "trajectory_error": "traj. %",
    "trajectory_error_matched": "traj. matched %",
}


@dataclass(frozen=True)
class SurfaceEvaluationOptions:
    """Compare surface sequences with the true ones: CD, F-score, ActionBench's CDs, voxel IoU, trajectory error."""

    # The truth: one sequence, or a folder of them, or a folder that holds ground_truth/.
    gt_path: Path
    # The predictions: one sequence, or a folder of them, such as main.py's --output.
    pred_path: Path
    # Points on each side's surface in every frame; the protocols say 50000 (ActionBench 100000).
    num_samples: int = 50_000
    # Any of motion80 motion80-code actionbench voxel_iou trajectory.
    protocols: tuple[str, ...] = DEFAULT
    # Points for ActionBench's registrations, nearly all of its time; its protocol says 10000.
    icp_points: int = 1_000
    # motion80's registration also tries starts of any orientation (24 more rotations).
    any_pose: bool = False
    # Pictures of every frame, an overview and curves, in geometry/<animation>/ beside the figures.
    viz: bool = False
    # Where the figures are written as JSON; by default evaluation_pcd.json beside the predictions.
    output: Path | None = None
    # Clip of an animated truth, name or number; default the first.
    gt_clip: str | None = None
    # Clip of an animated prediction, name or number; default the first.
    pred_clip: str | None = None
    # Blender's executable or folder, or a Python environment with bpy; only .fbx needs it.
    blender_path: Path | None = None
    # Of all random points.
    seed: int = 0


@dataclass
class SurfaceComparison:
    """The comparison of one animation.

    Attributes:
        name: of the animation.
        frames: number of compared frames.
        figures: values by the names of ``HEADERS``.
        per_frame: the same for every frame.
        notes: remarks on the figures.
        error: why there are no figures, or empty.
    """

    name: str
    frames: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    per_frame: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""

    def add(self, name: str, mean: float, values: np.ndarray) -> None:
        """Add a figure and its values for every frame."""
        self.figures[name], self.per_frame[name] = mean, values.tolist()


def check(options: SurfaceEvaluationOptions) -> str | None:
    """The error in the options, in one line, or None."""
    unknown = [name for name in options.protocols if name not in PROTOCOLS]
    if unknown or not options.protocols:
        return f"--protocols {' '.join(unknown)}: choose from {' '.join(PROTOCOLS)}"
    if options.num_samples < 1 or options.icp_points < 1:
        return f"--num_samples {options.num_samples} --icp_points {options.icp_points}: must be at least 1"
    if options.seed < 0:
        return f"--seed {options.seed}: must be at least 0"
    if options.viz and "motion80" not in options.protocols:
        return "--viz: draws what motion80 measures; name motion80 in --protocols"
    if options.blender_path is not None and not options.blender_path.exists():
        return f"--blender_path {options.blender_path}: no such file or folder"
    return None


def compare(
    pair: SequencePair, options: SurfaceEvaluationOptions, comparison: SurfaceComparison
) -> Motion80Scores | None:
    """Compute the figures of one animation, written to ``comparison``.

    Returns:
        The scores of ``motion80`` where it was requested.

    Raises:
        ValueError: a frame has no surface.
    """
    truth, prediction, count, seed = pair.truth, pair.prediction, options.num_samples, options.seed
    comparison.frames = len(truth)
    if pair.note:
        comparison.notes.append(pair.note)
    starts = np.concatenate([yaw_starts(), cube_rotations()]) if options.any_pose else yaw_starts()
    scores = None
    if "motion80" in options.protocols:
        scores = motion80(truth, prediction, count, seed, starts)
        comparison.add("motion80_cd", scores.cd, scores.per_frame_cd)
        comparison.add("motion80_f", scores.f_score, scores.per_frame_f)
    if "motion80-code" in options.protocols:
        by_code = motion80_code(truth, prediction, count, seed)
        comparison.add("motion80_code_cd", by_code.cd, by_code.per_frame_cd)
        comparison.add("motion80_code_f", by_code.f_score, by_code.per_frame_f)
    if "actionbench" in options.protocols:
        _actionbench(pair, options, comparison)
    if {"voxel_iou", "trajectory"} & set(options.protocols):
        alignment = scores.alignment if scores else align_first_frames(truth[0], prediction[0], seed, starts)
        clouds = not all(len(mesh.faces) for mesh in [*truth, *prediction])
        if "voxel_iou" in options.protocols and clouds:
            comparison.notes.append("no voxel IoU: clouds of points enclose nothing")
        elif "voxel_iou" in options.protocols:
            overlap = voxel_iou(truth, prediction, seed=seed, alignment=alignment)
            comparison.add("voxel_iou", overlap.iou, overlap.per_frame_iou)
            sides = (("truth", overlap.truth_closed), ("prediction", overlap.prediction_closed))
            comparison.notes += [
                f"{side} not closed: voxel IoU by majority of axes" for side, shut in sides if not shut
            ]
        if "trajectory" in options.protocols:
            _trajectories(pair, comparison, seed, alignment)
    return scores


def _actionbench(pair: SequencePair, options: SurfaceEvaluationOptions, comparison: SurfaceComparison) -> None:
    scores = actionbench(
        pair.truth, pair.prediction, options.num_samples, options.seed, options.icp_points, progress=sys.stderr.isatty()
    )
    comparison.add("actionbench_cd_3d", scores.cd_3d, scores.per_frame_cd_3d)
    comparison.add("actionbench_cd_4d", scores.cd_4d, scores.per_frame_cd_4d)
    if scores.cd_m is not None and scores.per_frame_cd_m is not None:
        comparison.add("actionbench_cd_m", scores.cd_m, scores.per_frame_cd_m)
    else:
        comparison.notes.append("no CD-M: a side's topology changes")


def _trajectories(pair: SequencePair, comparison: SurfaceComparison, seed: int, alignment: Alignment) -> None:
    truth, prediction = pair.truth, pair.prediction
    if vertices_of_constant_topology([*truth, *prediction]) is not None:
        exact = trajectory_error(truth, prediction, seed=seed)
        comparison.add("trajectory_error", exact.error, exact.per_frame_error)
    if vertices_of_constant_topology(truth.frames) is None or vertices_of_constant_topology(prediction.frames) is None:
        comparison.notes.append("no trajectory error: a side's topology changes")
        return
    matched = trajectory_error_matched(truth, prediction, seed=seed, alignment=alignment)
    comparison.add("trajectory_error_matched", matched.error, matched.per_frame_error)


def evaluate(options: SurfaceEvaluationOptions) -> list[SurfaceComparison]:
    """Score every animation; failures are recorded in their comparison.

    Raises:
        FileNotFoundError: a side has no sequences, or they share no name.
    """
    pairs, by_name = find_pairs(options.gt_path, options.pred_path)
    if by_name and not any(truth and prediction for _, truth, prediction in pairs):
        names = ", ".join(name for name, _, _ in pairs)
        raise FileNotFoundError(f"no name is both in {options.gt_path} and in {options.pred_path}: {names}")
    readings = [ReadOptions(clip, options.blender_path) for clip in (options.gt_clip, options.pred_clip)]
    comparisons = []
    for name, truth, prediction in tqdm(pairs, unit="animation", dynamic_ncols=True):
        if truth is None:
            log.warning("%s: no truth of this name, ignored", name)
            continue
        comparison = SurfaceComparison(name)
        comparisons.append(comparison)
        if prediction is None:
            comparison.error = f"no prediction of this name in {options.pred_path}"
            continue
        try:
            pair = read_pair(truth, prediction, *readings)
            scores = compare(pair, options, comparison)
            if options.viz and scores is not None:
                write_pictures(
                    pair.truth.frames, pair.prediction.frames, scores, _output_folder(options) / "geometry" / name
                )
        except (ValueError, OSError, RuntimeError) as error:
            comparison.error = str(error)
    return comparisons


def _output_folder(options: SurfaceEvaluationOptions) -> Path:
    """The folder where figures and pictures go."""
    if options.output is not None:
        return options.output.parent
    return options.pred_path if options.pred_path.is_dir() else options.pred_path.parent


def summary(comparisons: Sequence[SurfaceComparison], options: SurfaceEvaluationOptions) -> dict[str, object]:
    """All figures as plain values: protocol, per animation, and means over the animations that have them."""
    animations = {}
    for item in comparisons:
        entry: dict[str, object] = {"frames": item.frames, **item.figures, "per_frame": item.per_frame}
        entry |= {key: value for key, value in (("notes", item.notes), ("error", item.error)) if value}
        animations[item.name] = entry
    protocol = {name: getattr(options, name) for name in ("num_samples", "icp_points", "any_pose", "seed")}
    return {"protocol": protocol, "animations": animations, "mean": means(comparisons)}


def means(comparisons: Sequence[SurfaceComparison]) -> dict[str, float]:
    """The mean of each figure over the animations that have it."""
    values_of = {name: [item.figures[name] for item in comparisons if name in item.figures] for name in HEADERS}
    return {name: float(np.mean(values)) for name, values in values_of.items() if values}


def _rows(comparisons: Sequence[SurfaceComparison], columns: Sequence[str]) -> list[list[object]]:
    def cells(figures: dict[str, float]) -> list[str]:
        return [f"{figures[name]:.4f}" if name in figures else "-" for name in columns]

    rows: list[list[object]] = [
        [item.name, item.frames, *cells(item.figures), item.error or "; ".join(item.notes)] for item in comparisons
    ]
    if len(comparisons) > 1:
        rows.append(["mean", sum(item.frames for item in comparisons), *cells(means(comparisons)), ""])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when an animation could not be compared, 2 on bad usage."""
    options = parse_options(SurfaceEvaluationOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    error_line = check(options)
    if error_line:
        log.error("%s", error_line)
        return 2
    try:
        comparisons = evaluate(options)
    except FileNotFoundError as error:
        log.error("%s", error)
        return 2
    columns = [name for name in HEADERS if any(name in item.figures for item in comparisons)]
    print(table(_rows(comparisons, columns), ["animation", "frames", *(HEADERS[name] for name in columns), "note"]))
    output = options.output or _output_folder(options) / "evaluation_pcd.json"
    with atomic(output) as temporary:
        temporary.write_text(json.dumps(summary(comparisons, options), indent=1, ensure_ascii=False), "utf-8")
    print(f"written to {output}")
    return 1 if any(item.error for item in comparisons) else 0


if __name__ == "__main__":
    end_with(main)
