"""How well a driven sequence fits its video, frame by frame: what is said in the manifest, and when track is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel, RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.photometric_flow import appearance_constraints
from registration.diagnostics import draw_curves
from v2m4.geometry import unique_edges
from v2m4.image_window import ImageWindow

POINTS = 500  # of the surface, that are looked at in a frame
STRETCHED = 1.5  # times its length at rest, or that part of it
PERCENTILE = 99.0
LOST_IOU = 0.7  # of the first frame's IoU
LOST_RESIDUAL = 4.0  # percent of the object's size, more than the first frame's
LOST_STRETCH = 0.15  # share of the edges
LEAST_SEEN = 0.02  # mean confidence below which a residual says nothing

CURVES = {
    "iou": "mask IoU",
    "residual": "paint off, % of size",
    "seen": "confidence",
    "stretch": "edges > 1.5 x",
    "stretch_99": "stretch, 99th perc.",
}


@dataclass(frozen=True)
class EdgeLengths:
    """The edges of a mesh and their lengths at rest.

    Attributes:
        edges: (E, 2) int64.
        lengths: (E,) above zero; edges without a length are left out.
    """

    edges: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, vertices: Tensor, faces: Tensor) -> EdgeLengths:
        """Of the shape at rest (V, 3)."""
        edges = unique_edges(faces)
        lengths = _lengths(vertices, edges)
        kept = lengths > 1e-6 * lengths.max() if len(lengths) else lengths > 0
        return cls(edges[kept], lengths[kept])

    def stretch(self, vertices: Tensor) -> np.ndarray:
        """How many times longer or shorter each edge (E,) is than at rest, at least 1."""
        ratio = _lengths(vertices, self.edges) / self.lengths
        return torch.maximum(ratio, 1 / ratio.clamp_min(1e-6)).cpu().double().numpy()


def _lengths(vertices: Tensor, edges: Tensor) -> Tensor:
    first, second = (vertices.detach().index_select(0, edges[:, end]) for end in (0, 1))
    return (first - second).norm(dim=1)


@dataclass(frozen=True)
class FrameQuality:
    """One frame of a driven sequence.

    Attributes:
        iou: of the mesh's and the frame's masks, in the video's view, in [0, 1].
        residual: how far the mesh's paint is from where the frame shows it: root mean square over the points that are
            seen, percent of the longer side of the frame's object; 0 where nothing is seen.
        seen: mean confidence of the points that the mesh shows, in [0, 1].
        stretch: share of the edges that are more than 1.5 times longer or shorter than at rest.
        stretch_99: 99th percentile of how many times longer or shorter.
        lost: why this frame does not count as tracked; empty where it does.
    """

    iou: float
    residual: float
    seen: float
    stretch: float
    stretch_99: float
    lost: str = ""


@dataclass(frozen=True)
class FitQuality:
    """All frames of a driven sequence, in order."""

    frames: list[FrameQuality]

    def describe(self) -> dict[str, object]:
        """For the manifest: means, the worst, and every frame's numbers."""
        columns = {name: [getattr(frame, name) for frame in self.frames] for name in FrameQuality.__dataclass_fields__}
        numbers = {name: [round(float(value), 4) for value in columns[name]] for name in CURVES}
        return {
            "mean_iou": round(float(np.mean(numbers["iou"] or [0.0])), 4),
            "least_iou": min(numbers["iou"], default=0.0),
            "worst_stretch_99": max(numbers["stretch_99"], default=1.0),
            "lost": {str(index): reason for index, reason in enumerate(columns["lost"]) if reason},
            **numbers,
        }

    def draw(self, path: Path) -> None:
        """A PNG with a curve of each number over the frames."""
        curves = {label: np.array([getattr(frame, name) for frame in self.frames]) for name, label in CURVES.items()}
        draw_curves(path, {**curves, "lost": np.array([float(bool(frame.lost)) for frame in self.frames])})


def measure(
    vertices: Tensor,
    appearance: AppearanceModel,
    view: ImageWindow,
    rest: EdgeLengths,
    first: FrameQuality | None = None,
) -> FrameQuality:
    """Measure one frame.

    Args:
        vertices: (V, 3) the frame's pose in the video camera's space.
        appearance: of the mesh.
        view: the frame, in a window that holds the pose.
        rest: the mesh's edges.
        first: the first frame's health, which loss of track is judged by; None in the first frame.
    """
    rendered = appearance.render(vertices, view)
    found = appearance_constraints(rendered, POINTS)
    stretch = rest.stretch(vertices)
    quality = FrameQuality(
        iou=mask_iou(rendered),
        residual=100 * residual(found, vertices, appearance, view),
        seen=float(np.square(found.sqrt_information).sum() / 2 / POINTS),
        stretch=float((stretch > STRETCHED).mean()) if len(stretch) else 0.0,
        stretch_99=float(np.percentile(stretch, PERCENTILE)) if len(stretch) else 1.0,
    )
    return replace(quality, lost=why_lost(quality, first or quality, view))


def mask_iou(rendered: RenderedPose) -> float:
    """Intersection over union of the pose's mask and the frame's, in [0, 1]; 1 where both are empty."""
    ours, theirs = rendered.mask > 0.5, rendered.view.mask > 0.5
    union = (ours | theirs).sum()
    return float((ours & theirs).sum() / union) if union else 1.0


def residual(found: Constraints, vertices: Tensor, appearance: AppearanceModel, view: ImageWindow) -> float:
    """Root mean square of how far points are from where they are seen, in sizes of the frame's object."""
    weight = np.square(found.sqrt_information).sum() / 2  # a full root counts twice
    if weight < LEAST_SEEN * POINTS:
        return 0.0
    places, _ = view.camera.project(found.points.on(vertices.detach(), appearance.mesh.faces), view.shape)
    off = (places[0].cpu().double().numpy() - view.pixels(found.targets)) / view.extent
    return float(np.sqrt(np.square(np.einsum("nij,nj->ni", found.sqrt_information, off)).sum() / weight))


def why_lost(frame: FrameQuality, first: FrameQuality, view: ImageWindow) -> str:
    """Why a frame does not count as tracked, in a few words; empty where it does."""
    if not (view.mask > 0.5).any():
        return "the frame shows no object"
    if frame.iou < LOST_IOU * first.iou:
        return f"the outlines do not fit (IoU {frame.iou:.2f}, in the first frame {first.iou:.2f})"
    if frame.residual > LOST_RESIDUAL + first.residual:
        return f"the paint is {frame.residual:.1f}% of the object's size from where the frame shows it"
    if frame.stretch > LOST_STRETCH:
        return f"{100 * frame.stretch:.0f}% of the edges are stretched over {STRETCHED} times"
    return ""
