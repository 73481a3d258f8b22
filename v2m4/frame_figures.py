"""Figures of an animation against its video, frame by frame: PSNR and mask IoU of small renders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from v2m4.camera import Camera, picture_shape
from v2m4.frame import Frame
from v2m4.io.clip import PICTURE
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.result_meshes import scale_cameras, unit_distance_scale
from v2m4.stored_picture import read_png
from v2m4.threads import in_runs

BEST_PSNR = 100.0  # dB, of equal pictures, so that means stay finite
RUN = 16  # frames whose meshes are held at the same time
SIZE = 256  # longer side of the compared pictures, pixels


@dataclass(frozen=True)
class FrameFigures:
    """Figures of T frames; NaN for a frame that the video does not show.

    Attributes:
        psnr: (T,) float64, peak signal-to-noise ratio, dB, at most ``BEST_PSNR``.
        iou: (T,) float64, intersection over union of the masks.
        size: longer side of the compared pictures, pixels.
    """

    psnr: np.ndarray
    iou: np.ndarray
    size: int = SIZE

    @property
    def mean_psnr(self) -> float:
        """Mean of the frames' PSNR, dB; NaN without a frame."""
        return _mean(self.psnr)

    @property
    def mean_iou(self) -> float:
        """Mean of the frames' IoU; NaN without a frame."""
        return _mean(self.iou)

    def describe(self, names: Sequence[str]) -> dict[str, object]:
        """The manifest's record: names, lists and means as JSON values, None where there is no figure."""
        return {
            "compared": f"renders and <frame>_rmbg.png on white, longer side {self.size} pixels; masks above 0.5",
            "size": self.size,
            "mean_psnr": _plain(self.mean_psnr, 4),
            "mean_iou": _plain(self.mean_iou, 6),
            "names": list(names),
            "psnr": [_plain(value, 4) for value in self.psnr.tolist()],
            "iou": [_plain(value, 6) for value in self.iou.tolist()],
        }


def frame_figures(
    workspace_root: Path, names: Sequence[str], meshes: Iterable[Mesh], cameras: Camera, size: int = SIZE
) -> FrameFigures:
    """Render the mesh of each frame from its camera and compare it with the frame without its background.

    The frame is ``<frame>_rmbg.png`` over white, resampled to a longer side of ``size`` pixels (area average); the
    render has the same size, one sample per pixel with analytic antialiasing, over white, and is not rounded to 8 bits.
    PSNR is that of all pixels, background included; the masks are alpha and coverage above 0.5.

    ``evaluation/evaluation.py`` compares something else and its figures differ: the PNG files of ``rendering_video.py``
    (2 x 2 samples per pixel, 8 bits) with the true video, both resized to a square of 512 x 512. Tables therefore name
    these figures by their size (PSNR@256).

    Args:
        workspace_root: the animation's folder, with ``<frame>_rmbg.png``.
        names: of the T frames.
        meshes: the mesh of each frame, in the cameras' world, in any unit of length.
        cameras: one whole-picture camera for each frame, or one for all.
        size: longer side, pixels.

    Raises:
        ValueError: names, meshes and cameras differ in number, or a picture is broken.
    """
    if len(cameras) not in (1, len(names)):
        raise ValueError(f"frame_figures: {len(cameras)} cameras for {len(names)} frames")
    scales: list[float] = []  # of the first frame, once it is known

    def compared(item: tuple[int, tuple[str, Mesh]]) -> tuple[float, float]:
        index, (name, mesh) = item
        file = Path(workspace_root) / PICTURE.format(name)
        if not file.is_file():  # a frame that does not show the object has no picture
            return np.nan, np.nan
        frame = Frame(name, index, read_png(file), cameras.fov)
        color, mask = frame.tensors(picture_shape(frame.aspect, size)[0])
        camera = cameras[0 if len(cameras) == 1 else index].to("cpu")
        scaled = mesh.with_vertices(mesh.vertices * scales[0])
        with torch.no_grad():
            picture = render_mesh(
                scaled,
                scale_cameras(camera, scales[0]),
                (color.shape[0], color.shape[1]),
                channels=("color", "mask"),
                background=1.0,
            )
        return (
            float(psnr(color[None].numpy(), picture.color.clamp(0, 1).numpy())[0]),
            float(mask_iou(mask[None].numpy() > 0.5, picture.mask.numpy() > 0.5)[0]),
        )

    def items() -> Iterator[tuple[int, tuple[str, Mesh]]]:
        for index, (name, mesh) in enumerate(zip(names, meshes, strict=True)):
            if not scales:
                scales.append(unit_distance_scale(mesh, cameras[0].to(mesh.vertices.device)))
            yield index, (name, mesh.to("cpu"))

    found = np.array(list(in_runs(compared, items(), RUN)), np.float64).reshape(-1, 2)
    return FrameFigures(found[:, 0], found[:, 1], size)


def psnr(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every frame, dB, (T,); at most ``BEST_PSNR``.

    Args:
        truth: (T, H, W, 3) in [0, 1].
        result: the same shape.

    Raises:
        ValueError: the shapes differ, or there is no frame.
    """
    check_shapes(truth, result)
    error = ((truth - result).astype(np.float64) ** 2).reshape(len(truth), -1).mean(1)
    return -10 * np.log10(np.maximum(error, 10 ** (-BEST_PSNR / 10)))


def mask_iou(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Intersection over union of the masks (T, H, W) bool of every frame, (T,); 1 where both are empty.

    Raises:
        ValueError: the shapes differ, or there is no frame.
    """
    check_shapes(truth, result)
    both = (truth & result).reshape(len(truth), -1).sum(1)
    either = (truth | result).reshape(len(truth), -1).sum(1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def check_shapes(truth: np.ndarray, result: np.ndarray) -> None:
    """Raise ValueError unless two videos have one shape and at least one frame."""
    if truth.shape != result.shape or len(truth) == 0:
        raise ValueError(f"metrics: expected two videos of one shape with a frame, got {truth.shape}, {result.shape}")


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(value: float, digits: int) -> float | None:
    return round(value, digits) if np.isfinite(value) else None
