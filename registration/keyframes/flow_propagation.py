"""A pose carried through the video frame by frame, each step as far as dense optical flow tells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from registration.keyframes.arap_from_tracks import arap_from_tracks
from registration.keyframes.nonrigid_icp import VertexTargets
from registration.keyframes.template import Template, VisiblePoints
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.image_window import window_around
from v2m4.mesh import Mesh
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.render import render

LIFTED_FROM = 0.3  # least confidence of a track that is lifted


def propagate(
    pose: Tensor,
    template: Template,
    frames: list[Frame],
    flows: list[FlowField],
    start: int,
    stop: int,
    size: int,
    iterations: int = 8,
) -> list[Tensor]:
    """Poses (V, 3) of the frames after ``start`` up to ``stop``, either way in time.

    What the camera sees is asked anew in every frame, so points that come into view are followed from there on, and
    none is followed through what hides it.

    Args:
        pose: (V, 3) at frame ``start``.
        template: the moving object.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        start: frame index.
        stop: frame index.
        size: pixels (rows) that visibility is decided at.
        iterations: of each step's local and global solves.
    """
    direction = 1 if stop > start else -1
    poses = []
    for frame in range(start, stop, direction):
        seen = VisiblePoints.of(pose, template, frames[frame], size)
        tracks = track(seen.pixels.cpu().double().numpy(), frame, frame + direction, flows)
        index = seen.index.cpu().numpy()
        pose = arap_from_tracks(
            pose,
            template.arap,
            template.camera,
            index,
            tracks.positions[-1],
            tracks.confidence[-1],
            iterations=iterations,
        )
        poses.append(pose)
    return poses


@torch.no_grad()
def lift_to_surface(tracks: Tracks, index: np.ndarray, target: Mesh, camera: Camera, size: int) -> VertexTargets:
    """Where the vertices at the ends of tracks lie in space: on the target's surface that is seen there.

    Args:
        tracks: of N vertices, the last position in the frame that the target belongs to.
        index: (N,) the vertices.
        target: mesh in the space of the video's camera.
        camera: the video's, not cropped.
        size: pixels (side) of the window that the surface is looked up in.
    """
    pixels, confidence = tracks.positions[-1], tracks.confidence[-1]
    kept = np.flatnonzero(confidence > LIFTED_FROM)
    if len(kept) == 0:
        return VertexTargets(index[kept], np.zeros((0, 3)), np.zeros(0))
    pixels = pixels[kept]
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    window = window_around([(float(x0), float(y0), float(x1), float(y1))], camera.aspect, square=True)
    seen = render(target.vertices, target.faces, camera.cropped(window), size, channels=("position",), antialias=False)
    origin, span = np.array(window[:2]), np.array(window[2:]) - np.array(window[:2])
    column, row = np.clip(((pixels - origin) / span * size).astype(np.int64), 0, size - 1).T
    there = seen.mask[0, ..., 0].cpu().numpy()[row, column] > 0.99
    points = seen.position[0].double().cpu().numpy()[row, column]
    return VertexTargets(index[kept][there], points[there], confidence[kept][there])
