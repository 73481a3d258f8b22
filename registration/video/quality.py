"""Quality of fit of a tracked mesh, frame by frame, and the criteria by which track counts as lost."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel, RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.photometric_flow import AppearanceFlow, appearance_constraints
from registration.diagnostics import draw_curves
from registration.video.misfit import Misfit
from registration.video.parts import MeshParts
from registration.video.tuning import TUNING
from v2m4.edge_lengths import EdgeLengths
from v2m4.files import Arrays
from v2m4.image_window import ImageWindow

# Labels of the plots of ``FrameQuality``'s numbers, in the order of the manifest.
PLOT_LABELS = {
    "iou": "mask IoU",
    "residual": "residual, % of size",
    "confidence": "confidence",
    "stretched_share": "edges > 1.5 x",
    "stretch_99": "stretch, 99th perc.",
    "agreement": "agreement",
    "color_mismatch": "other colour, share",
    "outline_mismatch": "other outline, share",
}
# Names on disk (manifest, driven.npz) where they are not the fields'.
STORED_NAMES = {"confidence": "seen", "stretched_share": "stretch"}
TEXTS = ("lost", "lost_parts")  # fields of ``FrameQuality`` that are no numbers


@dataclass(frozen=True)
class FrameQuality:
    """Quality of fit of one frame.

    Attributes:
        iou: intersection over union of the pose's and the frame's mask, in [0, 1].
        residual: root mean square distance in the image between points of the surface and their appearance
            correspondences, percent of the longer side of the frame's object; 0 where there are too few.
        confidence: mean confidence of these correspondences over all points, in [0, 1].
        stretched_share: share of the edges whose stretch ratio is above ``VideoTuning.max_stretch_ratio``.
        stretch_99: 99th percentile of the edges' stretch ratios.
        agreement: of the rendering with the frame (``Misfit``), in [0, 1].
        color_mismatch: share of the surface that has another colour in the frame (``Misfit``).
        outline_mismatch: share of the outlines that are far apart (``Misfit``).
        lost: reason for which the frame does not count as tracked; empty where it does.
        lost_parts: names of the parts that do not fit the frame (``MeshParts``), where the frame is lost.
    """

    iou: float
    residual: float
    confidence: float
    stretched_share: float
    stretch_99: float
    agreement: float = 1.0
    color_mismatch: float = 0.0
    outline_mismatch: float = 0.0
    lost: str = ""
    lost_parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitQuality:
    """Quality of fit of all frames, in order."""

    frames: list[FrameQuality]

    def describe(self) -> dict[str, object]:
        """Summary for the manifest: means, extremes, lost frames, and every frame's numbers."""
        columns = {name: [getattr(frame, name) for frame in self.frames] for name in FrameQuality.__dataclass_fields__}
        numbers = {name: [round(float(value), 4) for value in columns[name]] for name in PLOT_LABELS}
        return {
            "mean_iou": round(float(np.mean(numbers["iou"] or [0.0])), 4),
            "least_iou": min(numbers["iou"], default=0.0),
            "worst_stretch_99": max(numbers["stretch_99"], default=1.0),
            "lost": {str(index): reason for index, reason in enumerate(columns["lost"]) if reason},
            "lost_parts": {str(index): list(parts) for index, parts in enumerate(columns["lost_parts"]) if parts},
            **{STORED_NAMES.get(name, name): values for name, values in numbers.items()},
        }

    def arrays(self) -> Arrays:
        """The fields of ``FrameQuality`` by their ``STORED_NAMES``: (T,) each, and its texts as JSON in UTF-8."""
        columns = {field.name: [getattr(frame, field.name) for frame in self.frames] for field in fields(FrameQuality)}
        texts = {name: np.frombuffer(json.dumps(columns.pop(name)).encode("utf-8"), np.uint8) for name in TEXTS}
        numbers = {STORED_NAMES.get(name, name): np.array(values, np.float64) for name, values in columns.items()}
        return numbers | texts

    @classmethod
    def of_arrays(cls, stored: Arrays) -> FitQuality:
        """The inverse of ``arrays``; other arrays may stand beside these."""
        names = [field.name for field in fields(FrameQuality) if field.name not in TEXTS]
        columns = {name: stored[STORED_NAMES.get(name, name)].tolist() for name in names}
        columns |= {name: json.loads(stored[name].tobytes().decode("utf-8")) for name in TEXTS}
        columns["lost_parts"] = [tuple(parts) for parts in columns["lost_parts"]]
        rows = zip(*columns.values(), strict=True)
        return cls([FrameQuality(**dict(zip(columns, row, strict=True))) for row in rows])

    def draw(self, path: Path) -> None:
        """Write a PNG with a plot of each number over the frames; lost frames have a red background."""
        curves = {
            label: np.array([getattr(frame, name) for frame in self.frames]) for name, label in PLOT_LABELS.items()
        }
        draw_curves(path, curves, np.array([bool(frame.lost) for frame in self.frames]))


def measure(
    vertices: Tensor,
    appearance: AppearanceModel,
    view: ImageWindow,
    rest: EdgeLengths,
    first: FrameQuality | None = None,
    parts: MeshParts | None = None,
    was_lost: bool = False,
) -> FrameQuality:
    """Quality of fit of a pose to one frame.

    Args:
        vertices: (V, 3) the pose, in the video camera's space.
        appearance: of the mesh.
        view: the frame, in a window that holds the pose.
        rest: the mesh's edges at rest.
        first: quality of the first frame, which loss of track is relative to; None for the first frame itself.
        parts: of the mesh, whose fit is checked where track is lost; None for no parts.
        was_lost: track is lost in the frame before.
    """
    rendered = appearance.render(vertices, view)
    flow = AppearanceFlow.of(rendered)
    misfit = Misfit.of(rendered, flow)
    matches = appearance_constraints(rendered, TUNING.quality_points, appearance_flow=flow)
    stretch = rest.stretch_ratios(vertices)
    quality = FrameQuality(
        iou=mask_iou(rendered),
        residual=100 * appearance_residual(matches, vertices, appearance, view),
        confidence=float(np.square(matches.sqrt_information).sum() / 2 / TUNING.quality_points),
        stretched_share=float((stretch > TUNING.max_stretch_ratio).mean()) if len(stretch) else 0.0,
        stretch_99=float(np.percentile(stretch, TUNING.stretch_percentile)) if len(stretch) else 1.0,
        agreement=misfit.agreement,
        color_mismatch=misfit.color_mismatch,
        outline_mismatch=misfit.outline_mismatch,
    )
    lost = loss_reason(quality, first or quality, view, was_lost)
    lost_parts = misfit.lost_parts(rendered, parts) if lost and parts is not None else []
    return replace(quality, lost=lost, lost_parts=tuple(lost_parts))


def mask_iou(rendered: RenderedPose) -> float:
    """Intersection over union of the pose's mask and the frame's, in [0, 1]; 1 where both are empty."""
    pose_mask, frame_mask = rendered.mask > 0.5, rendered.view.mask > 0.5
    union = (pose_mask | frame_mask).sum()
    return float((pose_mask & frame_mask).sum() / union) if union else 1.0


def appearance_residual(
    matches: Constraints, vertices: Tensor, appearance: AppearanceModel, view: ImageWindow
) -> float:
    """Weighted root mean square distance between projected points and their correspondences.

    Args:
        matches: appearance constraints of the pose.
        vertices: (V, 3) the pose, in the video camera's space.
        appearance: of the mesh.
        view: the frame.

    Returns:
        Of the longer side of the frame's object; 0 where the mean confidence is below
        ``VideoTuning.min_residual_confidence``.
    """
    weight = np.square(matches.sqrt_information).sum() / 2  # the trace of an isotropic constraint is 2
    if weight < TUNING.min_residual_confidence * TUNING.quality_points:
        return 0.0
    pixels, _ = view.camera.project(matches.points.on(vertices.detach(), appearance.mesh.faces), view.shape)
    residuals = (pixels[0].cpu().double().numpy() - view.pixels(matches.targets)) / view.extent
    weighted = np.einsum("nij,nj->ni", matches.sqrt_information, residuals)
    return float(np.sqrt(np.square(weighted).sum() / weight))


def loss_reason(frame: FrameQuality, first: FrameQuality, view: ImageWindow, was_lost: bool = False) -> str:
    """Reasons for which a frame does not count as tracked, in a few words; empty where it does.

    Every measure has a limit of its own, and any one above its limit is a loss. After a lost frame the limits are lower
    (hysteresis): a part that was lost is often taken for another one later, which fits well.

    Args:
        frame: its quality.
        first: quality of the first frame.
        view: the frame.
        was_lost: track is lost in the frame before.
    """
    scale = TUNING.continued_loss_limit if was_lost else 1.0
    if not (view.mask > 0.5).any():
        return "the frame shows no object"
    reasons = []
    if frame.iou < (1 - scale * TUNING.max_iou_decrease) * first.iou:
        reasons.append(f"the outlines do not fit (IoU {frame.iou:.2f}, in the first frame {first.iou:.2f})")
    elif frame.outline_mismatch > scale * TUNING.max_outline_mismatch + first.outline_mismatch:
        reasons.append(f"the outlines do not fit ({100 * frame.outline_mismatch:.0f}% of them are apart)")
    if frame.color_mismatch > scale * TUNING.max_color_mismatch + first.color_mismatch:
        reasons.append(f"{100 * frame.color_mismatch:.0f}% of the surface has another colour in the frame")
    if frame.agreement < (1 - scale * TUNING.max_agreement_decrease) * first.agreement:
        reasons.append(
            f"the surface is not found in the frame (agreement {frame.agreement:.2f}, in the first frame"
            f" {first.agreement:.2f})"
        )
    if frame.residual > TUNING.max_residual_increase + first.residual:
        reasons.append(f"the residual of the appearance is {frame.residual:.1f}% of the object's size")
    if frame.stretched_share > TUNING.max_stretched_share:
        share = f"{100 * frame.stretched_share:.0f}%"
        reasons.append(f"{share} of the edges are stretched over {TUNING.max_stretch_ratio} times")
    return "; ".join(reasons)
