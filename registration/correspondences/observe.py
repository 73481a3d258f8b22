"""What a frame tells of a pose: the mesh's paint, its outline, the motion since the frame before, tracked points.

    look = Look.of(mesh, first_pose, View.of(frames[0], camera, size, [first_pose]))
    view = View.of(frames[t], camera, size, [pose])                  # once a frame
    before = look.seen(last_pose, View.of(frames[t - 1], camera, size, [last_pose]))
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

from registration.correspondences.appearance_model import Look, Sight
from registration.correspondences.constraints import Observations
from registration.correspondences.motion_consensus import Consensus
from registration.correspondences.outline import observe_outline
from registration.correspondences.photometric_flow import (
    PATCH,
    Match,
    observe_appearance,
    pictures,
    spread,
    texture_root,
    undisturbed,
)
from registration.correspondences.point_trackers import VISIBLE
from registration.correspondences.shading import observe_facing
from v2m4.config import DriveConfig
from v2m4.image_window import View
from v2m4.optical_flow import FlowField, Tracks, track
from v2m4.surface_points import SurfacePoints

__all__ = [
    "Look",
    "Sight",
    "View",
    "observe",
    "observe_appearance",
    "observe_flow",
    "observe_outline",
    "observe_tracks",
    "points_to_track",
]

OUTLINE_SHARE = 0.35  # of the points
SHADED = 800  # points whose shade is looked at
OUTLINE_WEIGHT = 0.5  # of confidence, where what the paint shows has 1


def observe(vertices: Tensor, look: Look, view: View, config: DriveConfig, reach: float = 0.06) -> Observations:
    """What paint and outline of a frame say of a pose; never more than ``config.points``.

    Args:
        vertices: (V, 3) pose to be corrected.
        look: of the mesh.
        view: the frame, in a window that holds the pose.
        config: of the stage.
        reach: how far a point may be wrong, in sizes of the object. Large while the pose is coarse, less at the end.
    """
    sight = look.seen(vertices, view)
    pixels = max(2.0, reach * view.extent)
    outlines = round(OUTLINE_SHARE * config.points)
    match = Match.of(sight)
    paint = observe_appearance(sight, config.points - outlines, pixels, match)
    consensus = Consensus.of(paint, vertices, look.mesh.faces, view, sight.size)
    outline = observe_outline(sight, outlines, pixels, match=match, consensus=consensus)
    seen = Observations.joined([paint, outline.weighted(OUTLINE_WEIGHT)])
    # Only a look that was learned from a pose known to be right tells of light.
    return seen if look.memory is None else replace(seen, facing=observe_facing(vertices, look, match, SHADED))


def observe_flow(before: Sight, field: FlowField, limit: int, ahead: bool = True) -> Observations:
    """Where dense flow takes the surface that the neighbouring frame shows.

    Args:
        before: the pose of the neighbouring frame, in that frame's view.
        field: flow between that frame and the one asked for.
        limit: points at most.
        ahead: the neighbour is the earlier of the two.

    Returns:
        Observations of the frame asked for.
    """
    rows, columns = spread(before, limit)
    start = before.view.fractions(np.stack([columns, rows], 1) + 0.5)
    tracks = track(start, 0, 1, [field]) if ahead else track(start, 1, 0, [field])
    radius = PATCH * before.view.extent
    trust = tracks.confidence[1] * undisturbed(before, radius)[rows, columns] * before.view.mask[rows, columns]
    kept = np.flatnonzero(trust > 0.02)
    rows, columns = rows[kept], columns[kept]
    root = texture_root(pictures(before)[1], radius, rows, columns) * np.sqrt(trust[kept])[:, None, None]
    return Observations(before.points(rows, columns), tracks.positions[1][kept], root)


def points_to_track(sight: Sight, limit: int) -> tuple[SurfacePoints, np.ndarray]:
    """Points spread evenly over what a pose shows, away from edges; and where, (N, 2) fractions of the picture."""
    rows, columns = spread(sight, limit)
    kept = undisturbed(sight, PATCH * sight.view.extent)[rows, columns] > 0.5
    rows, columns = rows[kept], columns[kept]
    return sight.points(rows, columns), sight.view.fractions(np.stack([columns, rows], 1) + 0.5)


def observe_tracks(points: SurfacePoints, tracks: Tracks, frame: int, limit: int) -> Observations:
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
    return Observations.seen(chosen, tracks.positions[frame][kept], confidence[kept])
