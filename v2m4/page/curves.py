"""Curves that the stages left on disk: energies over steps, scores of the camera search, quality of tracking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v2m4.io.names import natural_key
from v2m4.page.run import Run
from v2m4.workspace import STAGE_FOLDERS

CURVE_PREFIX = "curve_"  # of the names of energy terms among the arrays of stage 3
MAX_POINTS = 400  # of a curve; longer ones are thinned
TRACKING = {  # figures of video-driven deformation in the manifest, by their label
    "iou": "mask IoU",
    "residual": "residual of the appearance, % of the object's size",
    "seen": "mean confidence of the correspondences",
    "stretch": "share of edges stretched over 1.5 times",
    "stretch_99": "99th percentile of the edges' stretch",
    "agreement": "agreement of rendering and frame",
    "color_mismatch": "share of the surface with another colour",
    "outline_mismatch": "share of the outlines that are apart",
}
TITLES = {"joint": "key-frame refinement", "driven": "video-driven deformation", "between": "frames between key frames"}


Plot = dict[str, np.ndarray]  # curves by name


@dataclass(frozen=True)
class CurveGroup:
    """Plots of one source.

    Attributes:
        title: what was minimised or measured, and over what.
        plots: by title; each holds curves by name.
        by_frame: whether the horizontal axis counts the frames of the video.
    """

    title: str
    plots: dict[str, Plot]
    by_frame: bool = False


def read_curves(run: Run) -> list[CurveGroup]:
    """All curves of an animation, in the order of the stages.

    Raises:
        ValueError: a file is damaged.
    """
    return [*_camera_scores(run), *_energies(run), *_tracking(run)]


def _archives(run: Run, stage: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Curves and histories of a stage's .npz files, by the file's stem."""
    folder = run.folder / STAGE_FOLDERS[stage]
    for file in sorted(folder.glob("*.npz"), key=lambda path: natural_key(path.stem)):
        found = _read(file)
        if found:
            yield file.stem, found


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            names = [name for name in stored.files if name.startswith(CURVE_PREFIX) or name in ("history", "steps")]
            return {name: stored[name] for name in names}
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{file}: damaged ({error}); run main.py again") from error


def _camera_scores(run: Run) -> Iterator[CurveGroup]:
    histories, steps = {}, ""
    for stem, arrays in _archives(run, "camera_search"):
        if len(arrays.get("history", [])) > 1:
            histories[f"frame {stem}"] = arrays["history"]
            steps = ", ".join(str(step) for step in arrays.get("steps", []))
    if histories:
        title = "Camera search: best score of each key frame after each step" + (f" ({steps})" if steps else "")
        yield CurveGroup(title, {"score": histories})


def _energies(run: Run) -> Iterator[CurveGroup]:
    """Terms of the energies: those of all fits at key frames in common plots, the others' in plots of their own."""
    fits: dict[str, Plot] = {}
    for stem, arrays in _archives(run, "registration"):
        curves = {
            name.removeprefix(CURVE_PREFIX): values[:: max(1, len(values) // MAX_POINTS)]
            for name, values in arrays.items()
            if name.startswith(CURVE_PREFIX) and len(values) > 1
        }
        if not curves:
            continue
        if stem in TITLES:
            plots = {term: {term: values} for term, values in curves.items()}
            yield CurveGroup(f"Registration, {TITLES[stem]}: terms of the energy over the steps, unweighted", plots)
        else:
            for term, values in curves.items():
                fits.setdefault(term, {})[f"frame {stem}"] = values
    if fits:
        yield CurveGroup("Registration, fits at the key frames: terms of the energy over the steps, unweighted", fits)


def _tracking(run: Run) -> Iterator[CurveGroup]:
    motion = run.manifest.get("motion") or {}
    plots = {
        label: {label: np.array(motion[name], dtype=np.float64)}
        for name, label in TRACKING.items()
        if isinstance(motion.get(name), list) and len(motion[name]) > 1
    }
    if plots:
        yield CurveGroup("Video-driven deformation: quality of fit by frame, as the tracker measured it", plots, True)
