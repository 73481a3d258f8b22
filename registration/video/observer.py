"""Constraints and quality of fit of poses in the frames of a video; ``tracker`` and ``inbetweens`` share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.correspondences.observe import AppearanceModel, ImageWindow, frame_constraints, track_constraints
from registration.deformation_graph.gauss_newton import Intrinsics, SolverWeights
from registration.video.parts import MeshParts
from registration.video.quality import FitQuality, FrameQuality, mask_iou, measure
from registration.video.tuning import TUNING
from v2m4.config import VideoTrackingConfig
from v2m4.edge_lengths import EdgeLengths
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import Tracks
from v2m4.surface_points import SurfacePoints


@dataclass(frozen=True)
class TrackedMesh:
    """Poses of a mesh in all frames of a video.

    Attributes:
        vertices: (T, V, 3) float32, in the video camera's space.
        quality: quality of fit of each frame.
    """

    vertices: Tensor
    quality: FitQuality


@dataclass(frozen=True)
class PointTracks:
    """Surface points and their tracks through all frames, from a point tracker.

    Attributes:
        points: N points on the mesh's triangles.
        tracks: of these points.
    """

    points: SurfacePoints
    tracks: Tracks


class Observer:
    """The frames of a video and the appearance model of the mesh that they show.

    Args:
        frames: T, in order.
        mesh: topology, texture or vertex colours; its vertices are the pose of the reference frame, in the video
            camera's space.
        config: of the stage.
        point_tracks: further correspondences; None for none.
        reference_frame: index of the frame that the appearance model is fitted to.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        mesh: Mesh,
        config: VideoTrackingConfig,
        point_tracks: PointTracks | None = None,
        reference_frame: int = 0,
    ) -> None:
        self.frames, self.mesh, self.config, self.point_tracks = frames, mesh, config, point_tracks
        self.camera = frames[reference_frame].camera()
        self.intrinsics = Intrinsics.of(self.camera)
        self.reference_frame = reference_frame
        self.appearance = AppearanceModel.of(mesh, mesh.vertices, self.view(reference_frame, mesh.vertices))

    @cached_property
    def rest_lengths(self) -> EdgeLengths:
        """Edge lengths in the reference frame."""
        return EdgeLengths.of(self.mesh.vertices, self.mesh.faces)

    @cached_property
    def reference_quality(self) -> FrameQuality:
        """Quality of fit of the reference frame."""
        pose = self.mesh.vertices
        return measure(pose, self.appearance, self.view(self.reference_frame, pose), self.rest_lengths)

    def view(self, time: int, pose: Tensor) -> ImageWindow:
        """Image window of a frame that holds its object and a pose (V, 3)."""
        return ImageWindow.of(self.frames[time], self.camera, self.config.size, [pose])

    def constraints(self, time: int, pose: Tensor, view: ImageWindow, search_radius: float) -> Constraints:
        """Constraints of a frame: appearance, outline, shading, and point tracks where there are any.

        Args:
            time: index of the frame.
            pose: (V, 3) the pose to be corrected.
            view: the frame.
            search_radius: distance within which correspondences are sought, of the frame's object.
        """
        constraints = frame_constraints(pose, self.appearance, view, self.config, search_radius)
        if self.point_tracks is None:
            return constraints
        tracks = self.point_tracks
        return Constraints.joined(
            [constraints, track_constraints(tracks.points, tracks.tracks, time, TUNING.track_points)]
        )

    def quality(self, time: int, pose: Tensor, parts: MeshParts | None = None, was_lost: bool = False) -> FrameQuality:
        """Quality of fit of a pose to a frame.

        Args:
            time: index of the frame.
            pose: (V, 3).
            parts: of the mesh, whose fit is checked where track is lost; None for no parts.
            was_lost: track is lost in the frame before.
        """
        view, first = self.view(time, pose), self.reference_quality
        return measure(pose, self.appearance, view, self.rest_lengths, first, parts, was_lost)

    def mask_iou(self, pose: Tensor, view: ImageWindow) -> float:
        """Intersection over union of a pose's (V, 3) and a frame's mask, in [0, 1]."""
        return mask_iou(self.appearance.render(pose, view))


def solver_weights(config: VideoTrackingConfig) -> SolverWeights:
    """Weights of the energy's terms from the options; the scale of the kernel is that of the last round."""
    return SolverWeights(
        rigidity=TUNING.rigidity * config.rigidity,
        velocity=TUNING.velocity * config.smoothness,
        kernel_scale=TUNING.search_radii[1],
        expected_points=config.points,
    )


def translated_to_mask(pose: Tensor, mask: np.ndarray, pose_mask: np.ndarray, view: ImageWindow) -> Tensor:
    """A pose translated so that its mask has the centroid and the area of the frame's.

    The depth follows from the areas, under weak perspective. Where either mask is empty, the pose is returned as it is.

    Args:
        pose: (V, 3) in the video camera's space.
        mask: (h, w) of the frame's object.
        pose_mask: (h, w) of the pose.
        view: the image window of both.
    """
    if mask.sum() < 1 or pose_mask.sum() < 1:
        return pose
    grid = np.stack(np.meshgrid(np.arange(mask.shape[1]), np.arange(mask.shape[0])), -1) + 0.5
    target, source = (view.fractions((grid * part[..., None]).sum((0, 1)) / part.sum()) for part in (mask, pose_mask))
    depth = pose[:, 2].mean()
    depth_change = depth * (float(np.sqrt(pose_mask.sum() / mask.sum())) - 1)
    centroids = torch.tensor(np.stack([source, target]) - 0.5).to(pose)
    intrinsics = Intrinsics.of(view.camera.cropped((0.0, 0.0, 1.0, 1.0)))
    focal_lengths = centroids.new_tensor([intrinsics.focal_x, intrinsics.focal_y])
    rays = torch.cat([centroids / focal_lengths, torch.ones_like(centroids[:, :1])], 1)
    return pose + rays[1] * (depth + depth_change) - rays[0] * depth
