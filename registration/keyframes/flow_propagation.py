"""Propagation of a pose through the video by dense optical flow, frame by frame, and lifting of tracks to a surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from registration.keyframes.nonrigid_icp import VertexTargets
from registration.keyframes.template import Template, VisiblePoints
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.image_window import window_around
from v2m4.mesh import Mesh
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.render import render

MIN_CONFIDENCE = 0.3  # of a track that is lifted to the surface


def propagate(
    pose: Tensor,
    template: Template,
    frames: list[Frame],
    flows: Sequence[FlowField],
    start: int,
    stop: int,
    size: int,
    iterations: int = 8,
) -> list[Tensor]:
    """Poses (V, 3) of the frames after ``start`` up to ``stop``, forward or backward in time.

    Visibility is computed again in every frame, so that vertices are tracked from where they become visible on, and not
    through occluders.

    Args:
        pose: (V, 3) at frame ``start``.
        template: the tracked mesh.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        start: frame index.
        stop: frame index.
        size: rows of the depth image that visibility is computed with.
        iterations: local and global steps for each frame.
    """
    direction = 1 if stop > start else -1
    poses = []
    for frame in range(start, stop, direction):
        visible = VisiblePoints.of(pose, template, frames[frame], size)
        tracks = track(visible.pixels.cpu().double().numpy(), frame, frame + direction, flows)
        index = visible.index.cpu().numpy()
        pose = template.arap_from_tracks(
            pose, index, tracks.positions[-1], tracks.confidence[-1], iterations=iterations
        )
        poses.append(pose)
    return poses


@torch.no_grad()
def lift_to_surface(tracks: Tracks, index: np.ndarray, target: Mesh, camera: Camera, size: int) -> VertexTargets:
    """Lifts the ends of tracks to the surface of a target that is rendered in the same view.

    Args:
        tracks: of N vertices, ending in the frame that the target belongs to.
        index: (N,) the vertices.
        target: mesh in the space of the video's camera.
        camera: the video's, not cropped.
        size: side of the rendered window, pixels.

    Returns:
        targets of the vertices whose tracks are confident and end on the surface.
    """
    pixels, confidence = tracks.positions[-1], tracks.confidence[-1]
    confident = np.flatnonzero(confidence > MIN_CONFIDENCE)
    if len(confident) == 0:
        return VertexTargets(index[confident], np.zeros((0, 3)), np.zeros(0))
    pixels = pixels[confident]
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    window = window_around([(float(x0), float(y0), float(x1), float(y1))], camera.aspect, square=True)
    rendered = render(
        target.vertices, target.faces, camera.cropped(window), size, channels=("position",), antialias=False
    )
    origin, span = np.array(window[:2]), np.array(window[2:]) - np.array(window[:2])
    column, row = np.clip(((pixels - origin) / span * size).astype(np.int64), 0, size - 1).T
    on_surface = rendered.mask[0, ..., 0].cpu().numpy()[row, column] > 0.99
    points = rendered.position[0].double().cpu().numpy()[row, column]
    return VertexTargets(index[confident][on_surface], points[on_surface], confidence[confident][on_surface])
