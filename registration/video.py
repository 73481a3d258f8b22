"""One mesh moved as a video shows, from the pose of its first frame on.

Frame by frame: flow takes the pose of the frame before to the next one, then paint and outline are looked up and the
pose is solved for, several times. Then all frames of a window are observed anew and solved together. What bends in
some frames becomes a joint in all of them, and the rest nearly rigid (``graph_solve.Joints``): so the way a limb looks
shorter tells how far it points into depth, which a single view does not show.

Long videos go through windows that overlap; what is kept beside the result does not grow with their length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from registration.flow import Tracks, flow_between
from registration.graph import DeformationGraph, Poses
from registration.graph_solve import Joints, Lens, Problem, Weights, solve
from registration.health import FrameHealth, Health, Lengths, measure
from registration.lift import SurfacePoints
from registration.observations import Observations
from registration.observe import Look, View, observe, observe_flow, observe_tracks
from v2m4.camera import Camera
from v2m4.config import DriveConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh

log = logging.getLogger(__name__)

FLOW_STEPS = 4  # Gauss-Newton steps towards what flow says
STEPS = 3  # with one set of observations
JOINT_STEPS = 3  # of all frames together, with one set of observations
REACHES = (0.06, 0.02)  # of the object's size: how far a point is looked for, in the first and the last round
FLOW_POINTS = 600
TRACKED_POINTS = 400
RECALLED = 3  # frames before a window that its motion has to follow smoothly


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


def drive(
    frames: Sequence[Frame],
    mesh: Mesh,
    config: DriveConfig,
    followed: Followed | None = None,
    progress: Callable[[int], None] | None = None,
) -> Driven:
    """Move a mesh as a video shows.

    Args:
        frames: T, in order.
        mesh: in its pose and place of the first frame, in the space of the video's camera.
        config: options.
        followed: what a tracker knows, beside paint, outline and flow.
        progress: called with the number of frames that are done.

    Returns:
        poses; the first is the mesh's own.
    """
    driver = _Driver(frames, mesh, config, followed)
    return driver.run(progress)


class _Driver:
    """The loop over frames and windows."""

    def __init__(self, frames: Sequence[Frame], mesh: Mesh, config: DriveConfig, followed: Followed | None) -> None:
        self.frames, self.mesh, self.config, self.followed = frames, mesh, config, followed
        self.camera = Camera.identity(aspect=frames[0].aspect)
        self.lens = Lens.of(self.camera)
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)
        first = self._view(0, mesh.vertices)
        self.look = Look.of(mesh, mesh.vertices, first)
        self.lengths = Lengths.of(mesh.vertices, mesh.faces)
        self.first = measure(mesh.vertices, self.look, first, self.lengths)
        self.weights = weights_of(config)
        self.joints = Joints.none(self.graph)  # of the frames before the window

    def run(self, progress: Callable[[int], None] | None) -> Driven:
        """All windows."""
        config, count = self.config, len(self.frames)
        vertices = torch.empty(count, *self.mesh.vertices.shape)
        vertices[0] = self.mesh.vertices
        health = [self.first]
        overlap = max(1, config.window // 4)
        start, known = 1, self.graph.still(1)  # frames start.. are unknown; known: those just before
        ahead: list[Poses] = []  # of frames start.., from the window before
        while start < count:
            stop = min(count, start + config.window)
            poses = Poses.joined([known, *ahead])
            for time in range(start + len(ahead), stop):
                state = self._tracked(time, poses)
                poses = Poses.joined([poses, state])
                if progress is not None:
                    progress(time)
            poses = self._together(poses, len(known), start)
            done = stop if stop == count else stop - overlap
            fresh = poses[len(known) : len(known) + done - start]
            self.joints = self.joints.after(self.graph, fresh)
            for offset, pose in enumerate(self._vertices(fresh)):
                vertices[start + offset] = pose
                health.append(self._health(start + offset, pose))
            ahead = [poses[len(known) + done - start :]] if done < stop else []
            known = poses[max(0, len(known) + done - start - RECALLED) : len(known) + done - start]
            start = done
        return Driven(vertices, Health(health))

    def _view(self, time: int, pose: Tensor) -> View:
        return View.of(self.frames[time], self.camera, self.config.size, [pose])

    def _vertices(self, poses: Poses) -> Tensor:
        return torch.from_numpy(self.graph.moved(poses)).float()

    def _health(self, time: int, pose: Tensor) -> FrameHealth:
        return measure(pose, self.look, self._view(time, pose), self.lengths, self.first)

    def _solved(
        self, found: Observations, before: Poses, state: Poses, known: Poses, steps: int, reach: float
    ) -> Poses:
        """One frame's pose, the two before it fixed; edges that have given way so far are softer."""
        joints = self.joints.after(self.graph, known).after(self.graph, state)
        free = np.array([False] * len(before) + [True])
        weights = replace(self.weights, reach=reach)
        observations = [None] * len(before) + [found]
        problem = Problem([self.graph] * len(free), self.lens, observations, weights, joints, free)
        return solve(problem, Poses.joined([before, state]), steps).poses[len(before) :]

    def _tracked(self, time: int, poses: Poses) -> Poses:
        """The pose of the next frame."""
        before, state = poses[-2:], poses[-1:]
        last = self._vertices(state)[0]
        view = self._view(time - 1, last)
        field = flow_between(self.frames[time - 1], self.frames[time], self.config.size)
        found = observe_flow(self.look.seen(last, view), field, FLOW_POINTS)
        state = self._solved(found, before, state, poses, FLOW_STEPS, REACHES[0])
        view = self._view(time, self._vertices(state)[0])
        for reach in np.geomspace(*REACHES, self.config.rounds):
            found = self._observed(time, self._vertices(state)[0], view, float(reach))
            state = self._solved(found, before, state, poses, STEPS, float(reach))
        return state

    def _observed(self, time: int, pose: Tensor, view: View, reach: float) -> Observations:
        found = observe(pose, self.look, view, self.config, reach)
        if self.followed is None:
            return found
        tracked = observe_tracks(self.followed.points, self.followed.tracks, time, TRACKED_POINTS)
        return Observations.joined([found, tracked])

    def _together(self, poses: Poses, known: int, start: int) -> Poses:
        """All frames of a window solved together, after ``known`` ones that are fixed."""
        free = np.arange(len(poses)) >= known
        for _ in range(self.config.passes):
            observations: list[Observations | None] = [None] * known
            for offset, pose in enumerate(self._vertices(poses[known:])):
                time = start + offset
                observations.append(self._observed(time, pose, self._view(time, pose), REACHES[1]))
            for _ in range(2):
                joints = self.joints.after(self.graph, poses[known:])
                problem = Problem([self.graph] * len(free), self.lens, observations, self.weights, joints, free)
                poses = solve(problem, poses, JOINT_STEPS).poses
        return poses


def weights_of(config: DriveConfig) -> Weights:
    """The solver's weights from the options."""
    return Weights(
        rigidity=0.003 * config.rigidity, velocity=0.01 * config.smoothness, reach=REACHES[1], points=config.points
    )
