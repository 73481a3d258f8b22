"""Pictures of a geometry metric: truth and prediction, the error on them, and its curve over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import torch

from evaluation.alignment import apply
from evaluation.geometry_metrics import Motion80Scores
from evaluation.surface_points import nearest_neighbours, positions, sample_positions
from v2m4.camera import Camera, Orbit
from v2m4.line_chart import COLOURS, line_chart, standalone
from v2m4.mesh import Mesh
from v2m4.render import render
from v2m4.workspace import atomic

VIEWS = {"front": (0.0, 0.0), "left": (90.0, 0.0), "back": (180.0, 0.0), "top": (0.0, 89.0)}  # yaw, pitch in degrees
CELL, RADIUS = 256, 3.9  # side of a view in pixels, and the camera distance at which a cube of side 2 fills it
COLOUR_POINTS = 50_000
MAX_ERROR = 0.2  # end of the colour scale


def _cameras() -> Camera:
    angles = torch.tensor(list(VIEWS.values())).deg2rad()
    count = len(angles)
    return Orbit(angles[:, 0], angles[:, 1], torch.full((count,), RADIUS), torch.zeros(count, 3)).camera()


def _row(vertices: np.ndarray, mesh: Mesh, errors: np.ndarray) -> np.ndarray:
    """The mesh from all views, shaded, coloured by the error at its vertices, (CELL, 4 CELL, 3) uint8."""
    heat = np.clip(255 * errors / MAX_ERROR, 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(heat[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1].astype(np.float32) / 255
    picture = render(
        torch.from_numpy(vertices.astype(np.float32)),
        mesh.faces.cpu(),
        _cameras(),
        CELL,
        colors=torch.from_numpy(np.ascontiguousarray(colours)),
        channels=("color", "mask", "normal"),
    )
    # A headlight; back faces of an open surface are shaded like front faces.
    shading = 0.45 + 0.55 * picture.normal[..., 2:].abs()
    shaded = picture.color * shading + 1 - picture.mask
    return (torch.cat(list(shaded), 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def frame_picture(truth: Mesh, prediction: Mesh, scores: Motion80Scores, index: int) -> np.ndarray:
    """Truth above prediction in four views, coloured by the distance to the other side (blue 0, red 0.2 and more).

    Args:
        truth: true mesh of the frame.
        prediction: predicted mesh of the frame.
        scores: of the whole sequence; its alignment is used.
        index: of the frame.

    Returns:
        (H, W, 3) uint8.
    """
    rng = np.random.default_rng(0)
    maps = (scores.truth_transform, scores.prediction_transform)
    sides = [apply(matrix, positions(mesh)) for matrix, mesh in zip(maps, (truth, prediction), strict=True)]
    clouds = [
        apply(matrix, sample_positions(mesh, COLOUR_POINTS, rng))
        for matrix, mesh in zip(maps, (truth, prediction), strict=True)
    ]
    rows = []
    for name, vertices, mesh, cloud in zip(("truth", "result"), sides, (truth, prediction), clouds[::-1], strict=True):
        row = _row(vertices, mesh, nearest_neighbours(vertices, cloud)[0])
        text = f"{name}, frame {index}" + f", CD {scores.per_frame_cd[index]:.3f}" * (name == "result")
        rows.append(cv2.putText(row, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA))
    return np.concatenate(rows)


def write_pictures(truth: Sequence[Mesh], prediction: Sequence[Mesh], scores: Motion80Scores, folder: Path) -> None:
    """Write ``frame_<index>.png`` for every frame, ``overview.png`` (four frames) and ``curves.svg``.

    Raises:
        ValueError: a side has no faces.
    """
    if not all(len(mesh.faces) for mesh in [*truth, *prediction]):
        raise ValueError("--viz: clouds of points have no surface to draw; both sides need faces")
    overview_frames = set(np.linspace(0, len(truth) - 1, min(4, len(truth))).round().astype(int).tolist())
    overview = []
    for index, (true_mesh, predicted_mesh) in enumerate(zip(truth, prediction, strict=True)):
        picture = frame_picture(true_mesh, predicted_mesh, scores, index)
        _write(folder / f"frame_{index:04d}.png", picture)
        if index in overview_frames:
            overview.append(picture)
    _write(folder / "overview.png", np.concatenate(overview))
    with atomic(folder / "curves.svg") as temporary:
        temporary.write_text(curves(scores), "utf-8")


def curves(scores: Motion80Scores) -> str:
    """CD and F-score by frame, as one SVG picture."""
    named = (("CD", scores.per_frame_cd, scores.cd), ("F-score(0.02)", scores.per_frame_f, scores.f_score))
    return standalone(
        {
            f"{name} (mean {mean:.3f})": line_chart(name, {name: list(values)}, {name: COLOURS[0]})
            for name, values, mean in named
        }
    )


def _write(path: Path, picture: np.ndarray) -> None:
    with atomic(path) as temporary:
        iio.imwrite(temporary, picture)
