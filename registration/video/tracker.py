"""One mesh moved as a video shows, from the pose of its first frame on.

Frame by frame: flow takes the pose of the frame before to the next one, then paint and outline are looked up and the
pose is solved for, several times. Then all frames of a window are observed anew and solved together. What bends in
some frames becomes a joint in all of them, and the rest nearly rigid (``gauss_newton.Articulation``): so the way a
limb looks shorter tells how far it points into depth, which a single view does not show.

Where the outlines do not fit any more, track is lost: the first frame's shape is placed where the object is, and the
better of the two goes on. Frames that stay lost say nothing; their neighbours do.

Long videos go through windows that overlap; what is kept beside the result does not grow with their length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.correspondences.observe import flow_constraints
from registration.deformation_graph.gauss_newton import Articulation, Problem, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.observer import (
    SEARCH_RADII,
    STEPS,
    Observer,
    PointTracks,
    TrackedMesh,
    moved_to_mask,
    solver_weights,
)
from registration.video.quality import LOST_IOU, FitQuality
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import flow_between
from v2m4.rotation import best_rotations
from v2m4.threads import in_order

log = logging.getLogger(__name__)

FLOW_STEPS = 4  # Gauss-Newton steps towards what flow says
JOINT_STEPS = 3  # of all frames together, with one set of ties
JOINT_ROUNDS = 2  # sets of ties, with one set of observations
FLOW_POINTS = 600
FAR = 0.15  # of the object's size: how far points are looked for after track was lost
RECALLED = 3  # frames before a window that its motion follows on from


def track_mesh(
    frames: Sequence[Frame],
    mesh: Mesh,
    config: VideoTrackingConfig,
    tracked: PointTracks | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrackedMesh:
    """Move a mesh as a video shows.

    Args:
        frames: T, in order.
        mesh: in its pose and place of the first frame, in the space of the video's camera.
        config: options.
        tracked: what a tracker knows, beside paint, outline and flow.
        progress: called with the number of frames that were followed so far.

    Returns:
        Poses and how well they fit; the first pose is the mesh's own.
    """
    return _Tracker(Observer(frames, mesh, config, tracked)).run(progress)


class _Tracker:
    """The loop over frames and windows."""

    def __init__(self, observer: Observer) -> None:
        mesh = observer.mesh
        self.observer, self.config = observer, observer.config
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, observer.config.nodes)
        self.weights = solver_weights(observer.config)
        self.articulation = Articulation.none(self.graph)  # of the frames before the window
        self.lost: set[int] = set()
        self.found: set[int] = set()  # frames in which the object was found again, wherever it had been

    def run(self, progress: Callable[[int], None] | None) -> TrackedMesh:
        """All windows."""
        observer, count = self.observer, len(self.observer.frames)
        vertices = torch.empty(count, *observer.mesh.vertices.shape)
        vertices[0] = observer.mesh.vertices
        quality = [observer.first]
        overlap = max(1, self.config.window // 4)
        known = self.graph.rest_poses()  # the frames just before the window
        ahead = self.graph.rest_poses(0)  # the window's first frames, where the one before reached into it
        start = 1
        while start < count:
            stop = min(count, start + self.config.window)
            poses = Poses.joined([known, ahead])
            for time in range(start + len(ahead), stop):
                poses = Poses.joined([poses, self._tracked(time, poses)])
                if progress is not None:
                    progress(time + 1)
            poses = self._together(poses, len(known), start)
            done = stop if stop == count else max(start + 1, stop - overlap)
            first, last = len(known), len(known) + done - start
            self.articulation = self.articulation.updated(self.graph, poses[first:last])
            for time, pose in enumerate(self._vertices(poses[first:last]), start):
                vertices[time] = pose
                quality.append(observer.quality(time, pose))
            known, ahead, start = poses[max(0, last - RECALLED) : last], poses[last:], done
        return TrackedMesh(vertices, FitQuality(quality))

    def _vertices(self, poses: Poses) -> Tensor:
        return torch.from_numpy(self.graph.deform(poses)).float()

    def _vertex(self, pose: Poses) -> Tensor:
        return self._vertices(pose)[0]

    def _solved(self, found: Constraints, state: Poses, known: Poses, steps: int, reach: float) -> Poses:
        """One frame's pose after known ones; edges that gave way so far are softer."""
        before = known[-2:]
        articulation = self.articulation.updated(self.graph, known).updated(self.graph, state)
        free = np.arange(len(before) + 1) == len(before)
        constraints = [*[None] * len(before), found]
        weights = replace(self.weights, reach=reach)
        problem = Problem([self.graph] * len(free), self.observer.intrinsics, constraints, weights, articulation, free)
        return solve(problem, Poses.joined([before, state]), steps).poses[-1:]

    def _tracked(self, time: int, known: Poses) -> Poses:
        """The pose of the next frame."""
        observer, frames = self.observer, self.observer.frames
        before, starts = self._vertex(known[-1:]), [_predicted(known)]
        rendered = observer.appearance.render(before, observer.view(time - 1, before))
        if (np.minimum(rendered.mask, rendered.view.mask) > 0.5).any():
            field = flow_between(frames[time - 1], frames[time], self.config.size)
            found = flow_constraints(rendered, field, FLOW_POINTS)
            starts.append(self._solved(found, known[-1:], known, FLOW_STEPS, SEARCH_RADII[0]))
        view = observer.view(time, before)
        state = max(starts, key=lambda start: observer.mask_iou(self._vertex(start), view))
        state, fits = self._settled(time, state, known, SEARCH_RADII[0])
        least = LOST_IOU * observer.first.iou
        if fits >= least:
            return state
        again, better = self._settled(time, self._placed(time), known[:0], FAR)
        if max(fits, better) < least:
            self.lost.add(time)
            log.warning("frame %s: track is lost (IoU %.2f)", frames[time].name, max(fits, better))
            return known[-1:]
        log.info("frame %s: track was lost and found again", frames[time].name)
        self.found.add(time)
        return again if better > fits else state

    def _settled(self, time: int, state: Poses, known: Poses, reach: float) -> tuple[Poses, float]:
        """A pose drawn to what its frame shows, in some rounds, and the IoU that it ends with."""
        view = self.observer.view(time, self._vertex(state))
        for limit in np.geomspace(reach, SEARCH_RADII[1], self.config.rounds):
            found = self.observer.observed(time, self._vertex(state), view, float(limit))
            state = self._solved(found, state, known, STEPS, float(limit))
        return state, self.observer.mask_iou(self._vertex(state), view)

    def _observed(self, moved: tuple[int, Tensor]) -> Constraints | None:
        """What a frame says of its pose (V, 3); nothing where it is lost."""
        time, pose = moved
        if time in self.lost:
            return None
        return self.observer.observed(time, pose, self.observer.view(time, pose), SEARCH_RADII[1])

    def _placed(self, time: int) -> Poses:
        """The first frame's pose as a whole where a frame shows the object."""
        rest = self.observer.mesh.vertices
        view = self.observer.view(time, rest)
        moved = moved_to_mask(rest, view.mask, self.observer.appearance.render(rest, view).mask, view)
        still = self.graph.rest_poses()
        return replace(still, positions=still.positions + (moved - rest).mean(0).double().numpy())

    def _together(self, poses: Poses, known: int, start: int) -> Poses:
        """All frames of a window solved together, after ``known`` ones that are fixed."""
        free = np.arange(len(poses)) >= known
        breaks = np.array([start - known + index in self.found for index in range(len(poses))])
        for _ in range(self.config.passes):
            moved = list(enumerate(self._vertices(poses[known:]), start))
            constraints = [*[None] * known, *in_order(self._observed, moved)]
            for _ in range(JOINT_ROUNDS):
                articulation = self.articulation.updated(self.graph, poses[known:])
                graphs, intrinsics = [self.graph] * len(free), self.observer.intrinsics
                problem = Problem(graphs, intrinsics, constraints, self.weights, articulation, free, breaks)
                poses = solve(problem, poses, JOINT_STEPS).poses
        return poses


def _predicted(known: Poses) -> Poses:
    """The next pose if every node goes on as it did."""
    if len(known) < 2:
        return known[-1:]
    before, last = known[-2:-1], known[-1:]
    ahead = last.rotations @ before.rotations.transpose(0, 1, 3, 2) @ last.rotations
    # Rounding trebles where this is done again and again: the nearest rotation, every time.
    nearest = best_rotations(torch.from_numpy(ahead.swapaxes(2, 3).copy())).numpy()
    return Poses(nearest, 2 * last.positions - before.positions)
