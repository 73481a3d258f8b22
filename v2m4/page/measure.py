"""Figures of every frame: mask IoU and PSNR against the video, stretch of the edges, and the frames that look wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from v2m4.edge_lengths import EdgeLengths
from v2m4.frame import Frame
from v2m4.mesh import MeshSequence
from v2m4.page.run import Run
from v2m4.render import render_mesh
from v2m4.results import scale_cameras, unit_distance_scale
from v2m4.threads import in_order

SIZE = 256  # longer side of the compared pictures, pixels
STRETCH_PERCENTILE = 99.0


@dataclass(frozen=True)
class OutlierLimits:
    """When a frame's figure counts as an outlier among those of its video.

    Attributes:
        deviations: distance from the median in robust standard deviations (1.4826 times the median absolute deviation).
        iou: and at least this far below the median.
        psnr: dB, as ``iou``.
        stretch: ratio, and at least this far above the median.
    """

    deviations: float = 3.5
    iou: float = 0.03
    psnr: float = 2.0
    stretch: float = 0.15


LIMITS = OutlierLimits()


@dataclass(frozen=True)
class Figures:
    """Figures of all T frames.

    Attributes:
        iou: (T,) intersection over union of the rendered mask and the frame's; NaN for frames without a picture.
        psnr: (T,) dB, of the rendered colours and the frame's over white, whole pictures; NaN as ``iou``.
        stretch: (T,) 99th percentile over the edges of the ratio of an edge's length to that in the rest pose, or its
            inverse where the edge is shorter; 1 is no change.
        bounds: (2, 3) lower and upper corner of all poses.
        flagged: reasons for which a frame looks wrong, by frame index.
    """

    iou: np.ndarray
    psnr: np.ndarray
    stretch: np.ndarray
    bounds: np.ndarray
    flagged: dict[int, list[str]]

    def summary(self) -> dict[str, float | int | None]:
        """The figures of the whole animation, for the manifest; None where no frame has a picture."""
        return {
            "mean_iou": _mean(self.iou),
            "mean_psnr": _mean(self.psnr),
            "worst_stretch_99": round(float(self.stretch.max()), 4),
            "flagged_frames": len(self.flagged),
        }


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 4) if len(finite) else None


def measure(run: Run) -> Figures:
    """Render every frame's mesh through the video's camera and compare it with the frame.

    Args:
        run: the animation.

    Raises:
        ValueError: the animation or a picture is broken.
    """
    count = len(run.names)
    iou, psnr, stretch = np.full(count, np.nan), np.full(count, np.nan), np.ones(count)
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    rest: EdgeLengths | None = None
    first, scale = 0, 0.0
    for sequence in run.poses():
        rest = rest or EdgeLengths.of(sequence.mesh.vertices, sequence.mesh.faces)
        scale = scale or unit_distance_scale(sequence[0], run.video.cameras[0])
        lower = np.minimum(lower, sequence.vertices.amin((0, 1)).numpy())
        upper = np.maximum(upper, sequence.vertices.amax((0, 1)).numpy())
        indices = range(first, first + len(sequence))
        for index in indices:
            ratios = rest.stretch_ratios(sequence.vertices[index - first])
            stretch[index] = np.percentile(ratios, STRETCH_PERCENTILE) if len(ratios) else 1.0
        compared = in_order(partial(compare, run, sequence, first, scale), indices)
        iou[indices], psnr[indices] = np.array(compared).T
        first += len(sequence)
    flagged = outliers(iou, psnr, stretch)
    for name, reason in run.lost_frames().items():
        flagged.setdefault(run.names.index(name), []).insert(0, f"track lost: {reason}")
    return Figures(iou, psnr, stretch, np.stack([lower, upper]), dict(sorted(flagged.items())))


def picture_shape(aspect: float, longer: int) -> tuple[int, int]:
    """Height and width of a picture by its aspect (width / height) and its longer side, pixels."""
    return max(1, round(longer / max(aspect, 1.0))), max(1, round(longer * min(aspect, 1.0)))


def compare(run: Run, sequence: MeshSequence, first: int, scale: float, index: int) -> tuple[float, float]:
    """IoU of the masks and PSNR (dB) of the colours of a frame's mesh and its picture; NaN without a picture.

    Args:
        run: the animation.
        sequence: some of its poses, in the cameras' world.
        first: index of the first of these frames.
        scale: of the world about its origin, for the rasteriser's depth range.
        index: of the frame.
    """
    picture = run.picture(run.names[index])
    if picture is None:
        return math.nan, math.nan
    mesh, camera = sequence[index - first], scale_cameras(run.video.cameras[index], scale)
    colour, mask = Frame(run.names[index], index, picture).tensors(picture_shape(camera.aspect, SIZE)[0])
    view = render_mesh(
        mesh.with_vertices(mesh.vertices * scale),
        camera,
        (colour.shape[0], colour.shape[1]),
        channels=("color", "mask"),
        background=1.0,
    )
    return mask_iou(view.mask[0], mask), psnr_of(view.color[0], colour)


def mask_iou(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two coverages thresholded at 1/2; 1 where both are empty."""
    inside, other = first > 0.5, second > 0.5
    union = int((inside | other).sum())
    return int((inside & other).sum()) / union if union else 1.0


def psnr_of(first: Tensor, second: Tensor) -> float:
    """Peak signal-to-noise ratio of two pictures in [0, 1], dB; at most 100."""
    error = float((first.clamp(0, 1) - second.clamp(0, 1)).square().mean())
    return -10 * math.log10(max(error, 1e-10))


def outliers(iou: np.ndarray, psnr: np.ndarray, stretch: np.ndarray) -> dict[int, list[str]]:
    """Frames whose figures are far from the median of their video, with reasons."""
    found: dict[int, list[str]] = {}
    rows: Sequence[tuple[np.ndarray, float, float, str]] = (
        (iou, -1.0, LIMITS.iou, "mask IoU {:.3f}, median {:.3f}"),
        (psnr, -1.0, LIMITS.psnr, "PSNR {:.1f} dB, median {:.1f} dB"),
        (stretch, 1.0, LIMITS.stretch, "stretch {:.2f}, median {:.2f}"),
    )
    for values, sign, least, text in rows:
        finite = values[np.isfinite(values)]
        if len(finite) < 4:
            continue
        median = float(np.median(finite))
        deviation = 1.4826 * float(np.median(np.abs(finite - median)))
        limit = max(LIMITS.deviations * deviation, least)
        for index in np.flatnonzero(sign * (values - median) > limit):  # NaN is not above
            found.setdefault(int(index), []).append(text.format(values[index], median))
    return found
