"""A mesh in a video: what is looked up in the frames, whatever poses are being fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.correspondences.observe import AppearanceModel, ImageWindow, frame_constraints, track_constraints
from registration.deformation_graph.gauss_newton import Intrinsics, SolverWeights
from registration.video.quality import EdgeLengths, FitQuality, FrameQuality, mask_iou, measure
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import Tracks
from v2m4.surface_points import SurfacePoints

SEARCH_RADII = (0.06, 0.02)  # of the object's size: how far a point is looked for, in the first and the last round
STEPS = 3  # of Gauss-Newton, with one set of observations of a frame
TRACKED_POINTS = 400
RIGIDITY, VELOCITY = 0.003, 0.01  # where the options' weights are 1


@dataclass(frozen=True)
class TrackedMesh:
    """A mesh that was moved.

    Attributes:
        vertices: (T, V, 3) float32, in the space of the video's camera.
        quality: how well each frame fits.
    """

    vertices: Tensor
    quality: FitQuality


@dataclass(frozen=True)
class PointTracks:
    """Points of the surface that a tracker followed through all frames.

    Attributes:
        points: N, on the mesh.
        tracks: of these.
    """

    points: SurfacePoints
    tracks: Tracks


class Observer:
    """The frames and the mesh's look in them.

    Args:
        frames: T, in order.
        mesh: topology and paint; its vertices are the pose of frame ``shown``, in the space of the video's camera.
        config: options.
        tracked: what a tracker knows.
        shown: the frame that light and paint are learned from.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        mesh: Mesh,
        config: VideoTrackingConfig,
        tracked: PointTracks | None = None,
        shown: int = 0,
    ) -> None:
        self.frames, self.mesh, self.config, self.tracked = frames, mesh, config, tracked
        self.camera = frames[shown].camera()
        self.intrinsics = Intrinsics.of(self.camera)
        view = self.view(shown, mesh.vertices)
        self.appearance = AppearanceModel.of(mesh, mesh.vertices, view)
        self.lengths = EdgeLengths.of(mesh.vertices, mesh.faces)
        self.first = measure(mesh.vertices, self.appearance, view, self.lengths)

    def view(self, time: int, pose: Tensor) -> ImageWindow:
        """A frame through a window that holds its object and a pose (V, 3)."""
        return ImageWindow.of(self.frames[time], self.camera, self.config.size, [pose])

    def observed(self, time: int, pose: Tensor, view: ImageWindow, reach: float) -> Constraints:
        """What a frame says of a pose."""
        found = frame_constraints(pose, self.appearance, view, self.config, reach)
        if self.tracked is None:
            return found
        tracked = track_constraints(self.tracked.points, self.tracked.tracks, time, TRACKED_POINTS)
        return Constraints.joined([found, tracked])

    def quality(self, time: int, pose: Tensor) -> FrameQuality:
        """How well a pose fits."""
        return measure(pose, self.appearance, self.view(time, pose), self.lengths, self.first)

    def mask_iou(self, pose: Tensor, view: ImageWindow) -> float:
        """IoU of a pose's mask and a frame's."""
        return mask_iou(self.appearance.render(pose, view))


def solver_weights(config: VideoTrackingConfig) -> SolverWeights:
    """Of the solver's terms, from the options."""
    return SolverWeights(
        rigidity=RIGIDITY * config.rigidity,
        velocity=VELOCITY * config.smoothness,
        kernel_scale=SEARCH_RADII[1],
        expected_points=config.points,
    )


def moved_to_mask(pose: Tensor, mask: np.ndarray, shown: np.ndarray, view: ImageWindow) -> Tensor:
    """A pose moved as a whole to where a frame's object is, as near as it is large; as it is where there is none.

    Args:
        pose: (V, 3) in the space of the video's camera.
        mask: (h, w) of the frame's object.
        shown: (h, w) of the pose, in the same view.
        view: the window of both.
    """
    if mask.sum() < 1 or shown.sum() < 1:
        return pose
    grid = np.stack(np.meshgrid(np.arange(mask.shape[1]), np.arange(mask.shape[0])), -1) + 0.5
    there, here = (view.fractions((grid * part[..., None]).sum((0, 1)) / part.sum()) for part in (mask, shown))
    depth = pose[:, 2].mean()
    further = depth * (float(np.sqrt(shown.sum() / mask.sum())) - 1)
    ways = torch.tensor(np.stack([here, there]) - 0.5).to(pose)
    intrinsics = Intrinsics.of(view.camera.cropped((0.0, 0.0, 1.0, 1.0)))
    rays = torch.cat(
        [ways / ways.new_tensor([intrinsics.focal_x, intrinsics.focal_y]), torch.ones_like(ways[:, :1])], 1
    )
    return pose + rays[1] * (depth + further) - rays[0] * depth
