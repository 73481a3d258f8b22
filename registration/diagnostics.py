"""Pictures for people: loss curves, and a registered mesh over its frame."""

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

PANEL = (180, 320)  # height and width of one curve's picture
COLUMNS = 3


def draw_curves(path: Path, curves: dict[str, np.ndarray]) -> None:
    """A PNG with one panel for each term: its unweighted value over the steps, from 0 to its largest."""
    panels = [_panel(name, values) for name, values in curves.items()]
    panels += [np.full((*PANEL, 3), 255, np.uint8)] * (-len(panels) % COLUMNS)
    rows = [np.concatenate(panels[start : start + COLUMNS], 1) for start in range(0, len(panels), COLUMNS)]
    iio.imwrite(path, np.concatenate(rows) if rows else np.full((*PANEL, 3), 255, np.uint8))


def _panel(name: str, values: np.ndarray) -> np.ndarray:
    height, width = PANEL
    picture = np.full((height, width, 3), 255, np.uint8)
    top, margin = 26, 10
    largest = float(np.nanmax(values, initial=0.0))
    x = np.linspace(margin, width - margin, len(values))
    y = height - margin - np.nan_to_num(values) / max(largest, 1e-30) * (height - margin - top)
    points = np.stack([x, y], 1).round().astype(np.int32)
    cv2.rectangle(picture, (margin, top), (width - margin, height - margin), (210, 210, 210), 1)
    cv2.polylines(picture, [points], False, (200, 80, 30), 1, cv2.LINE_AA)
    label = f"{name}  max {largest:.3g}  end {float(values[-1]):.3g}" if len(values) else name
    cv2.putText(picture, label, (margin, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def draw_check(frame: Frame, mesh: Mesh, size: int = 320) -> np.ndarray:
    """Frame, mesh, normals, and both masks over each other (both white, frame only red, mesh only blue): uint8 RGB.

    Args:
        frame: the picture.
        mesh: in the space of the video's camera.
        size: rows; the window around the object is shown.
    """
    window = window_around([object_box(frame)], frame.aspect, margin=0.12, square=True)
    color, mask = frame.tensors(size, window)
    camera = frame.camera(mesh.vertices.device).cropped(window)
    seen = render_mesh(mesh, camera, (mask.shape[0], mask.shape[1]), channels=("color", "normal"), background=1.0)
    covered = seen.mask[0].cpu()
    toward = seen.normal[0].cpu() * torch.tensor([0.5, -0.5, -0.5]) + 0.5
    masks = torch.cat([mask, torch.minimum(mask, covered), covered], -1)
    sheet = torch.cat([color, seen.color[0].cpu(), toward * covered + 1 - covered, masks], 1).clamp(0, 1)
    return (sheet * 255).round().to(torch.uint8).numpy()


def write_check(path: Path, frame: Frame, mesh: Mesh) -> None:
    """``draw_check`` as a picture file."""
    iio.imwrite(path, draw_check(frame, mesh))
