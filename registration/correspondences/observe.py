"""What a frame tells of a pose: the mesh's paint, its outline, the motion since the frame before, tracked points.

    look = Look.of(mesh, first_pose, View.of(frames[0], camera, size, [first_pose]))
    view = View.of(frames[t], camera, size, [pose])                  # once a frame
    before = look.render(last_pose, View.of(frames[t - 1], camera, size, [last_pose]))
    seen = observe_flow(before, flows[t - 1], limit)                 # for the first, large step
    seen = observe(pose, look, view, config.drive, reach=0.06)       # then, several times, for what is left

Everything is in the video camera's space; ``reach`` is in sizes of the frame's object (the longer side of its box).
The same input gives the same observations; nothing is drawn at random.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel, RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.motion_consensus import MotionConsensus
from registration.correspondences.outline import outline_constraints
from registration.correspondences.photometric_flow import (
    PATCH,
    AppearanceFlow,
    appearance_constraints,
    distance_from_edges,
    normalized_images,
    sample_grid,
    structure_tensor_root,
)
from registration.correspondences.point_trackers import VISIBLE
from registration.correspondences.shading import shading_constraints
from v2m4.config import VideoTrackingConfig
from v2m4.image_window import ImageWindow
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.surface_points import SurfacePoints

__all__ = [
    "AppearanceModel",
    "RenderedPose",
    "ImageWindow",
    "frame_constraints",
    "appearance_constraints",
    "flow_constraints",
    "outline_constraints",
    "track_constraints",
    "points_to_track",
]

OUTLINE_SHARE = 0.35  # of the points
SHADED = 800  # points whose shade is looked at
OUTLINE_WEIGHT = 0.5  # of confidence, where what the paint shows has 1


def frame_constraints(
    vertices: Tensor, appearance: AppearanceModel, view: ImageWindow, config: VideoTrackingConfig, reach: float = 0.06
) -> Constraints:
    """What paint and outline of a frame say of a pose; never more than ``config.points``.

    Args:
        vertices: (V, 3) pose to be corrected.
        appearance: of the mesh.
        view: the frame, in a window that holds the pose.
        config: of the stage.
        reach: how far a point may be wrong, in sizes of the object. Large while the pose is coarse, less at the end.
    """
    rendered = appearance.render(vertices, view)
    pixels = max(2.0, reach * view.extent)
    outlines = round(OUTLINE_SHARE * config.points)
    flow_match = AppearanceFlow.of(rendered)
    paint = appearance_constraints(rendered, config.points - outlines, pixels, flow_match)
    consensus = MotionConsensus.of(paint, vertices, appearance.mesh.faces, view, rendered.size)
    outline = outline_constraints(rendered, outlines, pixels, flow_match=flow_match, consensus=consensus)
    seen = Constraints.joined([paint, outline.weighted(OUTLINE_WEIGHT)])
    # Only a look that was learned from a pose known to be right tells of light.
    return (
        seen
        if appearance.reference is None
        else replace(seen, facing=shading_constraints(vertices, appearance, flow_match, SHADED))
    )


def flow_constraints(before: RenderedPose, field: FlowField, limit: int, ahead: bool = True) -> Constraints:
    """Where dense flow takes the surface that the neighbouring frame shows.

    Args:
        before: the pose of the neighbouring frame, in that frame's view.
        field: flow between that frame and the one asked for.
        limit: points at most.
        ahead: the neighbour is the earlier of the two.

    Returns:
        Observations of the frame asked for.
    """
    rows, columns = sample_grid(before, limit)
    start = before.view.fractions(np.stack([columns, rows], 1) + 0.5)
    tracks = track(start, 0, 1, [field]) if ahead else track(start, 1, 0, [field])
    radius = PATCH * before.view.extent
    trust = tracks.confidence[1] * distance_from_edges(before, radius)[rows, columns] * before.view.mask[rows, columns]
    kept = np.flatnonzero(trust > 0.02)
    rows, columns = rows[kept], columns[kept]
    root = (
        structure_tensor_root(normalized_images(before)[1], radius, rows, columns) * np.sqrt(trust[kept])[:, None, None]
    )
    return Constraints(before.points(rows, columns), tracks.positions[1][kept], root)


def points_to_track(rendered: RenderedPose, limit: int) -> tuple[SurfacePoints, np.ndarray]:
    """Points spread evenly over what a pose shows, away from edges; and where, (N, 2) fractions of the picture."""
    rows, columns = sample_grid(rendered, limit)
    kept = distance_from_edges(rendered, PATCH * rendered.view.extent)[rows, columns] > 0.5
    rows, columns = rows[kept], columns[kept]
    return rendered.points(rows, columns), rendered.view.fractions(np.stack([columns, rows], 1) + 0.5)


def track_constraints(points: SurfacePoints, tracks: Tracks, frame: int, limit: int) -> Constraints:
    """Where tracks (CoTracker3's, say) say that points set on the surface are in a frame.

    Args:
        points: N, as from ``points_to_track``.
        tracks: of these points, through the whole video.
        frame: index among the tracks' frames.
        limit: points at most; the most trusted.
    """
    confidence = tracks.confidence[frame]
    kept = np.flatnonzero(confidence >= VISIBLE)
    kept = np.sort(kept[np.argsort(-confidence[kept], kind="stable")[:limit]])
    index = torch.from_numpy(kept)
    chosen = SurfacePoints(points.faces.index_select(0, index), points.weights.index_select(0, index))
    return Constraints.at_points(chosen, tracks.positions[frame][kept], confidence[kept])
