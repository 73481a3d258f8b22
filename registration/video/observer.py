"""A mesh in a video: what is looked up in the frames, whatever poses are being fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Observations
from registration.correspondences.observe import Look, View, observe, observe_tracks
from registration.deformation_graph.gauss_newton import Lens, Weights
from registration.video.quality import FrameHealth, Health, Lengths, measure, overlap
from v2m4.camera import Camera
from v2m4.config import DriveConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import Tracks
from v2m4.surface_points import SurfacePoints

REACHES = (0.06, 0.02)  # of the object's size: how far a point is looked for, in the first and the last round
STEPS = 3  # of Gauss-Newton, with one set of observations of a frame
TRACKED_POINTS = 400
RIGIDITY, VELOCITY = 0.003, 0.01  # where the options' weights are 1


@dataclass(frozen=True)
class Driven:
    """A mesh that was moved.

    Attributes:
        vertices: (T, V, 3) float32, in the space of the video's camera.
        health: how well each frame fits.
    """

    vertices: Tensor
    health: Health


@dataclass(frozen=True)
class Followed:
    """Points of the surface that a tracker followed through all frames.

    Attributes:
        points: N, on the mesh.
        tracks: of these.
    """

    points: SurfacePoints
    tracks: Tracks


class Scene:
    """The frames and the mesh's look in them.

    Args:
        frames: T, in order.
        mesh: topology and paint; its vertices are the pose of frame ``shown``, in the space of the video's camera.
        config: options.
        followed: what a tracker knows.
        shown: the frame that light and paint are learned from.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        mesh: Mesh,
        config: DriveConfig,
        followed: Followed | None = None,
        shown: int = 0,
    ) -> None:
        self.frames, self.mesh, self.config, self.followed = frames, mesh, config, followed
        self.camera = Camera.identity(aspect=frames[shown].aspect)
        self.lens = Lens.of(self.camera)
        view = self.view(shown, mesh.vertices)
        self.look = Look.of(mesh, mesh.vertices, view)
        self.lengths = Lengths.of(mesh.vertices, mesh.faces)
        self.first = measure(mesh.vertices, self.look, view, self.lengths)

    def view(self, time: int, pose: Tensor) -> View:
        """A frame through a window that holds its object and a pose (V, 3)."""
        return View.of(self.frames[time], self.camera, self.config.size, [pose])

    def observed(self, time: int, pose: Tensor, view: View, reach: float) -> Observations:
        """What a frame says of a pose."""
        found = observe(pose, self.look, view, self.config, reach)
        if self.followed is None:
            return found
        tracked = observe_tracks(self.followed.points, self.followed.tracks, time, TRACKED_POINTS)
        return Observations.joined([found, tracked])

    def health(self, time: int, pose: Tensor) -> FrameHealth:
        """How well a pose fits."""
        return measure(pose, self.look, self.view(time, pose), self.lengths, self.first)

    def overlap(self, pose: Tensor, view: View) -> float:
        """IoU of a pose's mask and a frame's."""
        return overlap(self.look.seen(pose, view))


def weights_of(config: DriveConfig) -> Weights:
    """Of the solver's terms, from the options."""
    return Weights(
        rigidity=RIGIDITY * config.rigidity,
        velocity=VELOCITY * config.smoothness,
        reach=REACHES[1],
        points=config.points,
    )


def placed(pose: Tensor, mask: np.ndarray, shown: np.ndarray, view: View) -> Tensor:
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
    lens = Lens.of(view.camera.cropped((0.0, 0.0, 1.0, 1.0)))
    rays = torch.cat([ways / ways.new_tensor([lens.x, lens.y]), torch.ones_like(ways[:, :1])], 1)
    return pose + rays[1] * (depth + further) - rays[0] * depth
