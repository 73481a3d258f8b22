"""Where a rendered pose does not fit a frame: surface of another colour, outlines apart, no correspondence.

These measures are relative to what both show, so they do not depend on the object's size in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from registration.correspondences.appearance_model import RenderedPose
from registration.correspondences.outline import outline_pixels
from registration.correspondences.photometric_flow import AppearanceFlow, continuous_surface
from registration.video.parts import MeshParts
from registration.video.tuning import TUNING


@dataclass(frozen=True)
class Misfit:
    """Disagreement of a rendered pose with its frame.

    Attributes:
        agreement: mean confidence of the flow between rendering and frame, over the surface that both show; in [0, 1],
            0 where there is none.
        color_mismatch: share of the surface that both show whose colour differs by more than
            ``VideoTuning.max_color_difference``; 1 where there is none.
        outline_mismatch: share of the two outlines' pixels that are farther than ``VideoTuning.max_outline_distance``
            from the other outline; 1 where either is empty.
        wrong: (h, w) bool, pixels of the pose outside the frame's mask or of another colour than the frame.
    """

    agreement: float
    color_mismatch: float
    outline_mismatch: float
    wrong: np.ndarray

    @classmethod
    def of(cls, rendered: RenderedPose, flow: AppearanceFlow) -> Misfit:
        """Compare a rendered pose with its frame.

        Args:
            rendered: the pose in the frame's view.
            flow: between this rendering and the frame.
        """
        pose, frame = rendered.mask > 0.5, rendered.view.mask > 0.5
        # The outermost pixels of a mask mix the object with the background.
        both = cv2.erode((pose & frame).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        surface = continuous_surface(rendered) & both
        different = both & (color_difference(rendered, both) > TUNING.max_color_difference)
        return cls(
            agreement=float(flow.confidence[surface].mean()) if surface.any() else 0.0,
            color_mismatch=float(different.sum() / both.sum()) if both.any() else 1.0,
            outline_mismatch=outline_mismatch(pose, frame, rendered.view.extent),
            wrong=different | (pose & ~frame),
        )

    def lost_parts(self, rendered: RenderedPose, parts: MeshParts) -> list[str]:
        """Names of the parts of which more than ``VideoTuning.max_wrong_part_share`` of the visible pixels are wrong.

        Parts of fewer visible pixels than ``VideoTuning.min_part_pixels`` of the pose's are left out.
        """
        visible = rendered.rast[..., 3] > 0
        if not visible.any():
            return []
        part = parts.face_parts[rendered.rast[..., 3][visible].astype(np.int64) - 1]
        counts = np.bincount(part, minlength=len(parts.names))
        wrong = np.bincount(part, self.wrong[visible], len(parts.names))
        lost = wrong > TUNING.max_wrong_part_share * counts
        lost &= counts > TUNING.min_part_pixels * visible.sum()
        return [name for name, is_lost in zip(parts.names, lost, strict=True) if is_lost]


def color_difference(rendered: RenderedPose, both: np.ndarray) -> np.ndarray:
    """Absolute difference (h, w) of smoothed sRGB colours of rendering and frame, mean of the channels; 0 elsewhere.

    Args:
        rendered: the pose in the frame's view.
        both: (h, w) bool, pixels that show the object in both; the others do not count.
    """
    deviation = max(1.0, TUNING.color_blur * rendered.view.extent)
    weight = both.astype(np.float32)

    def smoothed(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), deviation)

    difference = smoothed((rendered.color - rendered.view.color) * weight[..., None])
    return np.abs(difference).mean(2) / np.maximum(smoothed(weight), 1e-3) * both


def outline_mismatch(pose: np.ndarray, frame: np.ndarray, extent: float) -> float:
    """Share of the outlines' pixels of two masks that are far from the other outline; the mean of both directions.

    Args:
        pose: (h, w) bool.
        frame: (h, w) bool.
        extent: of the frame's object, pixels.
    """
    outlines = [np.stack(outline_pixels(mask), 1).astype(np.float64) for mask in (pose, frame)]
    if not all(len(outline) for outline in outlines):
        return 1.0
    limit = TUNING.max_outline_distance * extent
    return float(np.mean([(cKDTree(outlines[1 - own]).query(outlines[own])[0] > limit).mean() for own in (0, 1)]))
