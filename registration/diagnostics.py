"""Diagnostic images of stage 3: plots of numbers over steps or frames, and a mesh beside its frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import torch

from v2m4.frame import Frame
from v2m4.image_window import object_box, window_around
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

PANEL_SHAPE = (180, 320)  # height and width of one curve's plot, pixels
COLUMNS = 3  # of plots
MARK_COLOR = (255, 214, 208)  # RGB, background of marked steps


def draw_curves(path: Path, curves: dict[str, np.ndarray], marked: np.ndarray | None = None) -> None:
    """Write a PNG with one line plot for each named series, scaled from 0 to its maximum.

    Args:
        path: of the image file.
        curves: name -> (N,) values, for example of an energy's term over the steps, or of a measure over the frames.
        marked: (N,) bool, steps or frames whose background is red in every plot; None for none.
    """
    panels = [_draw_panel(name, values, marked) for name, values in curves.items()]
    panels += [np.full((*PANEL_SHAPE, 3), 255, np.uint8)] * (-len(panels) % COLUMNS)
    rows = [np.concatenate(panels[start : start + COLUMNS], 1) for start in range(0, len(panels), COLUMNS)]
    iio.imwrite(path, np.concatenate(rows) if rows else np.full((*PANEL_SHAPE, 3), 255, np.uint8))


def _draw_panel(name: str, values: np.ndarray, marked: np.ndarray | None = None) -> np.ndarray:
    """Line plot of values (N,) with its name, maximum and last value: uint8 RGB of ``PANEL_SHAPE``."""
    height, width = PANEL_SHAPE
    image = np.full((height, width, 3), 255, np.uint8)
    top, margin = 26, 10
    largest = float(np.nanmax(values, initial=0.0))
    x = np.linspace(margin, width - margin, len(values))
    y = height - margin - np.nan_to_num(values) / max(largest, 1e-30) * (height - margin - top)
    points = np.stack([x, y], 1).round().astype(np.int32)
    half_step = (width - 2 * margin) / max(len(values) - 1, 1) / 2
    for center in x[np.zeros(len(values), bool) if marked is None else marked]:
        left, right = (
            round(min(max(edge, margin), width - margin)) for edge in (center - half_step, center + half_step)
        )
        cv2.rectangle(image, (left, top), (right, height - margin), MARK_COLOR, cv2.FILLED)
    cv2.rectangle(image, (margin, top), (width - margin, height - margin), (210, 210, 210), 1)
    cv2.polylines(image, [points], False, (200, 80, 30), 1, cv2.LINE_AA)
    label = f"{name}  max {largest:.3g}  end {float(values[-1]):.3g}" if len(values) else name
    cv2.putText(image, label, (margin, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def draw_check(frame: Frame, mesh: Mesh, size: int = 320) -> np.ndarray:
    """Four square images side by side: the frame, the rendered mesh, its normals, and both masks.

    Masks are white where both cover a pixel, red where only the frame's does, blue where only the mesh's does.

    Args:
        frame: of the video.
        mesh: in the video camera's space.
        size: rows of the result, which shows the window around the frame's object.

    Returns:
        (size, 4 size, 3) uint8 sRGB.
    """
    window = window_around([object_box(frame)], frame.aspect, margin=0.12, square=True)
    color, mask = frame.tensors(size, window)
    camera = frame.camera(mesh.vertices.device).cropped(window)
    rendering = render_mesh(mesh, camera, (mask.shape[0], mask.shape[1]), channels=("color", "normal"), background=1.0)
    covered = rendering.mask[0].cpu()
    normals = rendering.normal[0].cpu() * torch.tensor([0.5, -0.5, -0.5]) + 0.5
    masks = torch.cat([mask, torch.minimum(mask, covered), covered], -1)
    sheet = torch.cat([color, rendering.color[0].cpu(), normals * covered + 1 - covered, masks], 1).clamp(0, 1)
    return (sheet * 255).round().to(torch.uint8).numpy()


def write_check(path: Path, frame: Frame, mesh: Mesh) -> None:
    """Write ``draw_check`` to an image file."""
    iio.imwrite(path, draw_check(frame, mesh))
