"""Figures of every frame: mask IoU and PSNR against the video, stretch of the edges, and the frames that look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2m4.edge_lengths import EdgeLengths
from v2m4.frame_figures import frame_figures
from v2m4.page.run import Run

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
    """Figures of every frame; PSNR and IoU are those of the manifest (``frame_figures``), measured where it has none.

    Args:
        run: the animation.

    Raises:
        ValueError: the animation or a picture is broken.
    """
    stretch, lower, upper = [], np.full(3, np.inf), np.full(3, -np.inf)
    rest: EdgeLengths | None = None
    for sequence in run.poses():
        rest = rest or EdgeLengths.of(sequence.mesh.vertices, sequence.mesh.faces)
        lower = np.minimum(lower, sequence.vertices.amin((0, 1)).numpy())
        upper = np.maximum(upper, sequence.vertices.amax((0, 1)).numpy())
        for pose in sequence.vertices:
            ratios = rest.stretch_ratios(pose)
            stretch.append(float(np.percentile(ratios, STRETCH_PERCENTILE)) if len(ratios) else 1.0)
    compared = run.recorded_figures()
    if compared is None:
        meshes = (sequence[index] for sequence in run.poses() for index in range(len(sequence)))
        compared = frame_figures(run.folder, run.names, meshes, run.video.cameras)
    flagged = outliers(compared.iou, compared.psnr, np.array(stretch))
    for name, reason in run.lost_frames().items():
        flagged.setdefault(run.names.index(name), []).insert(0, f"track lost: {reason}")
    bounds = np.stack([lower, upper])
    return Figures(compared.iou, compared.psnr, np.array(stretch), bounds, dict(sorted(flagged.items())))


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
