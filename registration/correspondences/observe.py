"""Constraints of a frame on a pose, from appearance, outline, shading, dense optical flow and point tracks.

    appearance = AppearanceModel.of(mesh, first_pose, ImageWindow.of(frames[0], camera, size, [first_pose]))
    previous = appearance.render(last_pose, ImageWindow.of(frames[t - 1], camera, size, [last_pose]))
    constraints = flow_constraints(previous, flows[t - 1], limit)         # for the first, large step
    view = ImageWindow.of(frames[t], camera, size, [pose])
    constraints = frame_constraints(pose, appearance, view, config)      # then, several times, for what is left

Everything is in the video camera's space; search radii are relative to the longer side of the box of the frame's
object. Nothing is random: the same input gives the same constraints.
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
    AppearanceFlow,
    appearance_constraints,
    distance_from_edges,
    normalized_images,
    sample_grid,
    structure_tensor_root,
)
from registration.correspondences.point_trackers import VISIBLE
from registration.correspondences.shading import shading_constraints
from registration.correspondences.tuning import TUNING
from v2m4.config import VideoTrackingConfig
from v2m4.image_window import ImageWindow
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.surface_points import SurfacePoints

__all__ = [
    "AppearanceModel",
    "ImageWindow",
    "RenderedPose",
    "appearance_constraints",
    "flow_constraints",
    "frame_constraints",
    "outline_constraints",
    "points_to_track",
    "track_constraints",
]


def frame_constraints(
    vertices: Tensor,
    appearance: AppearanceModel,
    view: ImageWindow,
    config: VideoTrackingConfig,
    search_radius: float = TUNING.search_radius,
) -> Constraints:
    """Appearance and outline constraints of a frame on a pose, with normal constraints from shading.

    Args:
        vertices: (V, 3) the pose to be corrected.
        appearance: appearance model of the mesh.
        view: the frame, in a window that holds the pose.
        config: of the stage; ``config.points`` is the most points that are constrained.
        search_radius: distance within which correspondences are sought, of the object: large while the pose is coarse.
    """
    rendered = appearance.render(vertices, view)
    radius = max(2.0, search_radius * view.extent)
    outline_points = round(TUNING.outline_point_share * config.points)
    appearance_flow = AppearanceFlow.of(rendered)
    matches = appearance_constraints(rendered, config.points - outline_points, radius, appearance_flow)
    consensus = MotionConsensus.of(matches, vertices, appearance.mesh.faces, view, rendered.object_size)
    outline = outline_constraints(
        rendered, outline_points, radius, appearance_flow=appearance_flow, consensus=consensus
    )
    constraints = Constraints.joined([matches, outline.weighted(TUNING.outline_weight)])
    # Without a reference the lighting was fitted to a pose that is not yet right, so shading says nothing.
    if appearance.reference is None:
        return constraints
    normals = shading_constraints(vertices, appearance, appearance_flow, TUNING.normal_points)
    return replace(constraints, normal_constraints=normals)


def flow_constraints(neighbour: RenderedPose, field: FlowField, limit: int, forward: bool = True) -> Constraints:
    """Correspondences by dense flow from a neighbouring frame, whose pose is known.

    Args:
        neighbour: the pose of the neighbouring frame, in that frame's view.
        field: flow between the two frames, both directions.
        limit: points at most.
        forward: the neighbour is the earlier of the two.

    Returns:
        Constraints on the pose of the other frame, weighted by the flow's confidence and by the structure tensor.
    """
    view = neighbour.view
    rows, columns = sample_grid(neighbour, limit)
    start = view.fractions(np.stack([columns, rows], 1) + 0.5)
    tracks = track(start, 0, 1, [field]) if forward else track(start, 1, 0, [field])
    radius = TUNING.patch_radius * view.extent
    confidence = tracks.confidence[1] * distance_from_edges(neighbour, radius)[rows, columns] * view.mask[rows, columns]
    kept = np.flatnonzero(confidence > TUNING.min_confidence)
    rows, columns = rows[kept], columns[kept]
    root = structure_tensor_root(normalized_images(neighbour)[1], radius, rows, columns)
    root = root * np.sqrt(confidence[kept])[:, None, None]
    return Constraints(neighbour.surface_points(rows, columns), tracks.positions[1][kept], root)


def points_to_track(rendered: RenderedPose, limit: int) -> tuple[SurfacePoints, np.ndarray]:
    """At most ``limit`` visible surface points, evenly spread and away from edges, for a point tracker.

    Returns:
        The N points, and their projections (N, 2) in fractions of the image.
    """
    rows, columns = sample_grid(rendered, limit)
    distance = distance_from_edges(rendered, TUNING.patch_radius * rendered.view.extent)[rows, columns]
    kept = distance > TUNING.min_tracked_edge_distance
    rows, columns = rows[kept], columns[kept]
    return rendered.surface_points(rows, columns), rendered.view.fractions(np.stack([columns, rows], 1) + 0.5)


def track_constraints(points: SurfacePoints, tracks: Tracks, frame: int, limit: int) -> Constraints:
    """Correspondences of tracked surface points in one frame.

    Args:
        points: N, as from ``points_to_track``.
        tracks: of these points, through the whole video.
        frame: index among the tracks' frames.
        limit: points at most; those of the highest confidence.
    """
    confidence = tracks.confidence[frame]
    kept = np.flatnonzero(confidence >= VISIBLE)
    kept = np.sort(kept[np.argsort(-confidence[kept], kind="stable")[:limit]])
    index = torch.from_numpy(kept)
    chosen = SurfacePoints(points.faces.index_select(0, index), points.weights.index_select(0, index))
    return Constraints.at_points(chosen, tracks.positions[frame][kept], confidence[kept])
