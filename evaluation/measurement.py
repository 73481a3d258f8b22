"""Measure one result of a method: figures, per-frame curves and pictures, written as JSON.

    python -m evaluation.measurement JOB.json MEASURED.json

The benchmark runs this for every case and method, in a separate process (``evaluation.records.MeasurementJob``).
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import torch

from evaluation import geometry_metrics, video_metrics, views
from evaluation.actionbench import actionbench
from evaluation.backbones import load_backbones
from evaluation.execution import CLIP_PICTURE
from evaluation.geometry_metrics import Alignment
from evaluation.learned_metrics import FRAME_METRICS, score_clips
from evaluation.records import MeasurementJob
from evaluation.sequences import read_pair, read_sequence
from evaluation.trajectories import trajectory_error_matched
from evaluation.video_metrics import mask_on_white
from evaluation.videos import Video, load_video, pair_frames
from evaluation.voxel_iou import voxel_iou
from v2m4.command_line import end_with
from v2m4.device import choose_device
from v2m4.export import CAMERAS
from v2m4.ground_truth import GroundTruth
from v2m4.io.folder import list_pictures
from v2m4.io.gltf_animation import list_animations
from v2m4.io.names import safe_name
from v2m4.io.sources import Source
from v2m4.mesh import Mesh
from v2m4.workspace import MANIFEST, atomic

log = logging.getLogger("evaluation")

SIZE = 512  # pixels (side) at which pictures are compared
SHOWN_FRAMES = 3
SHOWN_SIZE = 176  # pixels (side) of a picture on the page
QUALITY = 88  # of its JPEG
CLIP_FRAMES = 8


@dataclass
class Measurement:
    """Measurements of one result, filled in by group of metrics.

    Attributes:
        figures: values by metric name.
        curves: per-frame values by metric name.
        notes: remarks on the figures.
        caption: description of the pictures.
        columns: headings of the columns of pictures.
        rows: label and files of every row of pictures.
    """

    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add_curve(self, name: str, values: np.ndarray) -> None:
        """Add per-frame values (T,) and, as the figure, their mean."""
        self.figures[name] = float(values.mean())
        self.curves[name] = [round(float(value), 6) for value in values]

    def add_row(self, folder: Path, label: str, pictures: Sequence[np.ndarray]) -> None:
        """Write pictures (H, W, 3) uint8 to ``folder`` and add them as a row."""
        files = []
        for index, picture in enumerate(pictures):
            files.append(f"{label.replace(' ', '_')}_{index}.jpg")
            with atomic(folder / files[-1]) as temporary:
                iio.imwrite(temporary, picture, quality=QUALITY)
        self.rows.append({"label": label, "files": files})

    def plain(self) -> dict[str, Any]:
        """The measurements as plain values for JSON."""
        pictures = {"caption": " ".join(self.caption), "columns": self.columns, "rows": self.rows}
        return {"figures": self.figures, "curves": self.curves, "notes": self.notes, "pictures": pictures}


def measure(job: MeasurementJob) -> Measurement:
    """Compute the requested metrics for which the case has a truth.

    Raises:
        ValueError: the result cannot be compared.
        OSError: a file of it does not exist.
    """
    measured = Measurement()
    if {"picture", "learned"} & set(job.metrics) and job.pictures:
        compare_pictures(job, measured)
    if job.truth and job.mesh:
        compare = compare_with_mesh_folder if Path(job.truth).is_dir() else compare_meshes
        compare(job, measured)
    if "loss" in job.metrics and job.mesh:
        add_loss_marks(Path(job.mesh), measured)
    return measured


def add_loss_marks(mesh: Path, measured: Measurement) -> None:
    """Add which frames main.py marks as lost (1, else 0), from the manifest beside the mesh; a note without one."""
    file = mesh.parent / MANIFEST
    motion = json.loads(file.read_text("utf-8")).get("motion") if file.is_file() else None
    if motion is None:
        measured.notes.append("loss: no record of how well the frames fit; the method leaves none")
        return
    measured.add_curve("lost", np.array([str(frame) in motion["lost"] for frame in range(len(motion["iou"]))], float))


def read_pictures(path: Path, crop: Sequence[int]) -> Video:
    """Read the frames of a folder or a video at ``SIZE``; cropped frames must be on white already.

    Raises:
        FileNotFoundError: there are none.
        ValueError: not readable, or smaller than the crop.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no pictures there; let rendering_video.py run after main.py")
    if not crop:
        kind, count = ("folder", len(list_pictures(path))) if path.is_dir() else ("video", 0)
        return load_video(Source(safe_name(path.stem), path, kind, count), SIZE)  # type: ignore[arg-type]
    left, top, right, bottom = crop
    frames = []
    for picture in iio.imiter(path, plugin="pyav"):
        if picture.shape[0] < bottom or picture.shape[1] < right:
            raise ValueError(
                f"{path}: crop {list(crop)} reaches outside its {picture.shape[1]} x {picture.shape[0]} pixels"
            )
        cropped = picture[top:bottom, left:right].astype(np.float32) / 255
        reducing = min(cropped.shape[:2]) >= SIZE
        frames.append(cv2.resize(cropped, (SIZE, SIZE), interpolation=cv2.INTER_AREA if reducing else cv2.INTER_LINEAR))
    return Video([f"#{index}" for index in range(len(frames))], np.stack(frames), None, (right - left) / (bottom - top))


def compare_pictures(job: MeasurementJob, measured: Measurement) -> None:
    """Add PSNR, SSIM, mask IoU and flicker in the input's camera, and pictures of both sides."""
    truth = read_pictures(Path(job.reference or job.frames), job.reference_crop)
    result = read_pictures(Path(job.pictures), job.pictures_crop)
    pairs, note = pair_frames(truth.names, result.names)
    if note:
        measured.notes.append(note)
    truth, result = truth.select([a for a, _ in pairs]), result.select([b for _, b in pairs])
    if truth.mask is not None and result.mask is not None:
        masks, rule = (truth.mask, result.mask), "alpha above 0.5"
    else:
        masks, rule = (mask_on_white(truth.pictures), mask_on_white(result.pictures)), "darkest channel below 235"
    measured.add_curve("psnr", video_metrics.psnr(truth.pictures, result.pictures))
    measured.add_curve("ssim", video_metrics.ssim(truth.pictures, result.pictures))
    measured.add_curve("iou", video_metrics.mask_iou(*masks))
    measured.figures["flicker"] = video_metrics.flicker(truth.pictures, result.pictures)
    if "learned" in job.metrics:
        compare_with_networks(truth.pictures, result.pictures, job.weights, measured)
    frames = views.evenly_spaced_frames(len(pairs), SHOWN_FRAMES)
    measured.columns = [f"frame {frame}" for frame in frames]
    measured.caption.append(
        "Video: input, result seen by the camera that the method found, their difference (white: none), masks"
        f" ({rule}; grey in both, blue only in the input, red only in the result)."
    )
    strips = []
    for t in frames:
        pair = truth.pictures[t], result.pictures[t]
        differences = 1 - np.abs(pair[0] - pair[1]), views.mask_difference(masks[0][t], masks[1][t])
        strips.append(views.strip([*pair, *differences], SHOWN_SIZE))
    measured.add_row(Path(job.picture_folder), "video", strips)
    frames = views.evenly_spaced_frames(len(pairs), CLIP_FRAMES)
    sides = [views.strip([video.pictures[t] for t in frames], SHOWN_SIZE) for video in (truth, result)]
    with atomic(Path(job.picture_folder) / CLIP_PICTURE) as temporary:
        iio.imwrite(temporary, np.concatenate(sides), quality=QUALITY)


def compare_with_networks(truth: np.ndarray, result: np.ndarray, weights: str, measured: Measurement) -> None:
    """Add LPIPS, DreamSim and CLIP where their weights are available; notes name what is missing.

    FVD is a distance of two sets of clips, so one case has none; ``evaluation/evaluation.py`` computes it.
    """
    device = torch.device(choose_device("auto", rasteriser=False).name)
    backbones = load_backbones(FRAME_METRICS, Path(weights) if weights else None, device)
    measured.notes += [f"{metric}: {line}" for metric, line in backbones.missing.items()]
    scores = score_clips(truth, result, backbones)
    for metric in backbones.frames:
        measured.figures[metric] = getattr(scores, metric)


def read_result(path: Path, times: np.ndarray) -> list[Mesh]:
    """Read the result's meshes at the truth's frames.

    Results of main.py are read at the video's frames, other animated files at the truth's times.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or its duration is not the truth's.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: the method left no such file")
    read_at_truth_times = path.suffix.lower() in (".glb", ".gltf") and not (path.parent / CAMERAS).is_file()
    if read_at_truth_times:
        stop, frame = list_animations(path)[0].stop, (times[-1] - times[0]) / max(len(times) - 1, 1)
        if abs(stop - times[-1]) > max(0.5 * frame, 1e-3):
            raise ValueError(
                f"{path}: lasts until {stop:.3f} s, the truth until {times[-1]:.3f} s; hand {{fps}} to the method"
            )
    meshes = read_sequence(path, times if read_at_truth_times else None).frames
    if len(meshes) != len(times):
        raise ValueError(f"{path}: {len(meshes)} frames, the truth has {len(times)}")
    return meshes


def compare_meshes(job: MeasurementJob, measured: Measurement) -> None:
    """Add the geometry metrics, and pictures of both sides from the same views."""
    truth = GroundTruth.load(Path(job.truth))
    sequence = truth.sequence()
    true_meshes = [sequence[frame] for frame in range(len(sequence))]
    result = read_result(Path(job.mesh), sequence.times)
    alignment = add_geometry_metrics(true_meshes, result, job, measured)
    to_truth = np.linalg.inv(alignment.truth) @ alignment.prediction
    aligned = [views.transformed(mesh, to_truth) for mesh in result]
    true_meshes = [views.with_lighting(mesh, truth.orbit()) for mesh in true_meshes]
    if "views" in job.metrics:
        compare_views(truth, true_meshes, aligned, measured)
    size = 2 / float(np.cbrt(np.linalg.det(alignment.truth[:3, :3])))
    frames = views.evenly_spaced_frames(len(aligned), SHOWN_FRAMES)
    measured.columns = [f"frame {frame}" for frame in frames]
    limit = views.MAX_DISTANCE
    measured.caption.append(
        "Views, after the first frame is registered to the truth: truth, result, truth coloured by its distance to the"
        f" result, result by its distance to the truth (blue 0, yellow {limit / 2:.0%}, red {limit:.0%} of the"
        " truth's size or more)."
    )
    cameras = views.named_cameras(truth)
    strips = [views.side_by_side(true_meshes[t], aligned[t], size, cameras, SHOWN_SIZE) for t in frames]
    for name in cameras:
        measured.add_row(Path(job.picture_folder), name, [strip[name] for strip in strips])


def compare_with_mesh_folder(job: MeasurementJob, measured: Measurement) -> None:
    """Add the geometry metrics against a folder of true meshes; without a camera there are no pictures."""
    if not Path(job.mesh).exists():
        raise FileNotFoundError(f"{job.mesh}: the method left no such file")
    pair = read_pair(Path(job.truth), Path(job.mesh))
    if pair.note:
        measured.notes.append(pair.note)
    if "views" in job.metrics:
        measured.notes.append("no pictures of other views: a folder of true meshes has no camera")
    add_geometry_metrics(pair.truth.frames, pair.prediction.frames, job, measured)


def add_geometry_metrics(
    truth: list[Mesh], result: list[Mesh], job: MeasurementJob, measured: Measurement
) -> Alignment:
    """Add motion80's metrics and those of the job's other groups; returns the alignment of motion80."""
    scores = geometry_metrics.motion80(truth, result)
    measured.add_curve("cd", scores.per_frame_cd)
    measured.add_curve("f_score", scores.per_frame_f)
    for group, compute in OTHER_GROUPS.items():
        if group in job.metrics:
            try:
                compute(truth, result, scores.alignment, measured)
            except ValueError as error:  # this protocol cannot take this result; the others can
                measured.notes.append(str(error))
    return scores.alignment


def compare_views(
    truth: GroundTruth, true_meshes: Sequence[Mesh], aligned: Sequence[Mesh], measured: Measurement
) -> None:
    """Add PSNR, SSIM and mask IoU in views around the object that the video does not show."""
    cameras = views.cameras_around(truth)
    values: dict[str, list[float]] = {"views_psnr": [], "views_ssim": [], "views_iou": []}
    for true_mesh, mesh in zip(true_meshes, aligned, strict=True):
        (pictures, masks), (others, other_masks) = (
            views.render_view(side, cameras, SIZE) for side in (true_mesh, mesh)
        )
        values["views_psnr"].append(float(video_metrics.psnr(pictures, others).mean()))
        values["views_ssim"].append(float(video_metrics.ssim(pictures, others).mean()))
        values["views_iou"].append(float(video_metrics.mask_iou(masks > 0.5, other_masks > 0.5).mean()))
    for name, curve in values.items():
        measured.add_curve(name, np.array(curve))


def _motion80_code(truth: list[Mesh], result: list[Mesh], _: Alignment, measured: Measurement) -> None:
    scores = geometry_metrics.motion80_code(truth, result)
    measured.add_curve("code_cd", scores.per_frame_cd)
    measured.add_curve("code_f_score", scores.per_frame_f)


def _actionbench(truth: list[Mesh], result: list[Mesh], _: Alignment, measured: Measurement) -> None:
    scores = actionbench(truth, result)
    measured.add_curve("cd_3d", scores.per_frame_cd_3d)
    measured.add_curve("cd_4d", scores.per_frame_cd_4d)
    if scores.per_frame_cd_m is None:
        measured.notes.append("CD-M: the topology changes, so points cannot be followed")
    else:
        measured.add_curve("cd_m", scores.per_frame_cd_m)


def _voxel_iou(truth: list[Mesh], result: list[Mesh], alignment: Alignment, measured: Measurement) -> None:
    scores = voxel_iou(truth, result, alignment=alignment)
    measured.add_curve("voxel_iou", scores.per_frame_iou)
    if not (scores.truth_closed and scores.prediction_closed):
        side = "result" if scores.truth_closed else "truth"
        measured.notes.append(f"voxel IoU: the {side}'s surface is not closed; inside is what most axes say")


def _trajectory(truth: list[Mesh], result: list[Mesh], alignment: Alignment, measured: Measurement) -> None:
    scores = trajectory_error_matched(truth, result, alignment=alignment)
    measured.add_curve("trajectory", scores.per_frame_error)


OTHER_GROUPS: dict[str, Callable[[list[Mesh], list[Mesh], Alignment, Measurement], None]] = {
    "motion80-code": _motion80_code,
    "actionbench": _actionbench,
    "voxel_iou": _voxel_iou,
    "trajectory": _trajectory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 when the result could not be measured."""
    job_file, output = (Path(argument) for argument in (sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")
    stored: dict[str, Any] = json.loads(job_file.read_text("utf-8"))
    stored |= {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
    job = MeasurementJob(**stored)
    try:
        measured = measure(job)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 1
    output.write_text(json.dumps(measured.plain(), indent=1, ensure_ascii=False), "utf-8")
    return 0


if __name__ == "__main__":
    end_with(main)
