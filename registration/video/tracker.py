"""Tracking of one mesh through a video, from its pose in the first frame.

Frame by frame, constraints of dense optical flow take the pose of the frame before to the next one; then correspondence
search by appearance and outline alternates with Gauss-Newton steps. After that the constraints of all frames of a
window are computed anew and its poses solved together. Edges of the deformation graph that bend in some frames become
hinges in all of them, and all others nearly rigid (``articulation.Articulation``): the foreshortening of a rigid limb
then determines its depth, which a single view does not show.

Where the result does not explain the frame, its pose is searched for (``pose_search``). Where the masks do not fit any
more, track is lost: the first frame's shape is translated to the frame's object and fitted, and the better of the two
poses is kept. Frames that stay lost have no constraints, only temporal smoothness.

Long videos are solved in windows that overlap; beside the result, memory does not grow with their length. Finished
windows and the state within a window can be kept on disk (``PartialResults``), so that a killed run resumes there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.correspondences.observe import flow_constraints
from registration.deformation_graph.gauss_newton import Problem, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.deformation_graph.pose_fit import poses_of_vertices
from registration.video.observer import Observer, PointTracks, TrackedMesh, solver_weights, translated_to_mask
from registration.video.parts import MeshParts
from registration.video.pose_search import PoseSearch
from registration.video.quality import FitQuality, FrameQuality
from registration.video.tracking_state import TrackingState
from registration.video.tuning import TUNING
from v2m4.config import VideoTrackingConfig
from v2m4.files import Arrays
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.optical_flow import flow_between
from v2m4.partial_results import PartialResults
from v2m4.rotation import best_rotations
from v2m4.threads import in_order

log = logging.getLogger(__name__)

STATE = "state"  # name of the stored state within a window


def track_mesh(
    frames: Sequence[Frame],
    mesh: Mesh,
    config: VideoTrackingConfig,
    point_tracks: PointTracks | None = None,
    progress: Callable[[int], None] | None = None,
    parts: PartialResults | None = None,
    predicted: Tensor | None = None,
) -> TrackedMesh:
    """Poses of a mesh in all frames of a video, by video-driven deformation.

    Args:
        frames: T, in order.
        mesh: in its pose of the first frame, in the video camera's space.
        config: of the stage.
        point_tracks: correspondences of a point tracker, beside appearance, outline and flow; None for none.
        progress: called with the number of frames that were tracked so far.
        parts: storage of finished windows and of the state within one; None for none.
        predicted: (T, V, 3) poses that a network has predicted, further starts of each frame's fit; None for none.

    Returns:
        Poses and quality of fit of the T frames; the first pose is the mesh's own.
    """
    observer = Observer(frames, mesh, config, point_tracks)
    return _Tracker(observer, progress, parts or PartialResults(), predicted).run()


class _Tracker:
    """State of the tracking over frames and windows.

    Args:
        observer: of the frames and the mesh.
        progress: called with the number of frames that were tracked so far.
        parts: storage of windows and states.
        predicted: (T, V, 3) poses that a network has predicted; None for none.
    """

    def __init__(
        self,
        observer: Observer,
        progress: Callable[[int], None] | None,
        parts: PartialResults,
        predicted: Tensor | None,
    ) -> None:
        mesh = observer.mesh
        self.observer, self.config = observer, observer.config
        self.progress, self.stored = progress, parts
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, observer.config.nodes)
        self.predicted = None if predicted is None else poses_of_vertices(self.graph, predicted.cpu().numpy())
        self.parts = MeshParts.of(self.graph, observer.camera)
        self.search = PoseSearch(observer, self.graph)
        self.weights = solver_weights(observer.config)
        self.reported = 1  # frames that are tracked, as far as ``progress`` knows
        self._resume(TrackingState.first(self.graph))

    def run(self) -> TrackedMesh:
        """Track the mesh through all windows."""
        observer, count = self.observer, len(self.observer.frames)
        vertices = torch.empty(count, *observer.mesh.vertices.shape)
        vertices[0] = observer.mesh.vertices
        quality = [observer.reference_quality]
        state = TrackingState.first(self.graph)
        while state.start < count:
            window = self.stored.arrays(f"window_{state.start}", partial(self._track_window, state, quality[-1]))
            start, state = state.start, TrackingState.of_arrays(window)
            vertices[start : state.start] = torch.from_numpy(window["vertices"])
            quality += FitQuality.of_arrays(window).frames
            self._report(state.next_frame)
        return TrackedMesh(vertices, FitQuality(quality))

    def _resume(self, state: TrackingState) -> None:
        """Continue from a state."""
        self.articulation = state.articulation  # of the frames before the window
        self.lost, self.relocated = set(state.lost), set(state.relocated)

    def _report(self, done: int) -> None:
        """Report that a number of frames are tracked, unless that is known."""
        if self.progress is not None and done > self.reported:
            self.progress(done)
        self.reported = max(done, self.reported)

    def _track_window(self, state: TrackingState, before: FrameQuality) -> Arrays:
        """Track the mesh through one window.

        Args:
            state: at the window's start; its poses are those of known frames and of the overlap with the last window.
            before: quality of the frame before the window.

        Returns:
            ``vertices`` (T, V, 3) and quality of the frames before the next window, and the state at its start.
        """
        stored, count = self.stored.load(STATE), len(self.observer.frames)
        if stored is not None and (resumed := TrackingState.of_arrays(stored)).start == state.start:
            state = resumed
        self._resume(state)
        self._report(state.next_frame)
        start, known, poses = state.start, state.known, state.poses
        stop = min(count, start + self.config.window)

        def save(passes: int) -> None:
            lost, relocated = frozenset(self.lost), frozenset(self.relocated)
            reached = TrackingState(start, known, poses, passes, self.articulation, lost, relocated)
            # A pass, and the measures of quality after the last one, take long in a window of many frames.
            self.stored.save(STATE, reached.arrays, at_once=passes > 0 or reached.next_frame == stop)

        for time in range(state.next_frame, stop):
            poses = Poses.joined([poses, self._track_frame(time, poses)])
            self._report(time + 1)
            save(0)
        for number in range(state.passes, self.config.passes):
            poses = self._solve_window(poses, known, start)
            save(number + 1)
        overlap = max(1, int(TUNING.window_overlap * self.config.window))
        next_start = stop if stop == count else max(start + 1, stop - overlap)
        last = known + next_start - start
        self.articulation = self.articulation.updated(self.graph, poses[known:last])
        vertices, quality = self._vertices(poses[known:last]), [before]
        for time, pose in enumerate(vertices, start):
            quality.append(self.observer.quality(time, pose, self.parts, bool(quality[-1].lost)))
        following = TrackingState(
            next_start,
            known=min(last, TUNING.known_frames),
            poses=poses[max(0, last - TUNING.known_frames) :],
            passes=0,
            articulation=self.articulation,
            lost=frozenset(self.lost),
            relocated=frozenset(self.relocated),
        )
        return {"vertices": vertices.numpy(), **FitQuality(quality[1:]).arrays(), **following.arrays()}

    def _vertices(self, poses: Poses) -> Tensor:
        """Vertices (T, V, 3) of T poses."""
        return torch.from_numpy(self.graph.deform(poses)).float()

    def _first_vertices(self, poses: Poses) -> Tensor:
        """Vertices (V, 3) of the first of some poses."""
        return self._vertices(poses)[0]

    def _solve_frame(
        self, constraints: Constraints, pose: Poses, known: Poses, steps: int, kernel_scale: float
    ) -> Poses:
        """Pose of one frame after those of known frames, with hinges at the edges that have deformed so far.

        Args:
            constraints: of the frame.
            pose: one, the start.
            known: poses of the frames before; the last two are the reference of temporal smoothness.
            steps: of Gauss-Newton.
            kernel_scale: of the point constraints.
        """
        previous = known[-2:]
        articulation = self.articulation.updated(self.graph, known).updated(self.graph, pose)
        free = np.arange(len(previous) + 1) == len(previous)
        all_constraints = [*[None] * len(previous), constraints]
        weights = replace(self.weights, kernel_scale=kernel_scale)
        start = Poses.joined([previous, pose])
        graphs, intrinsics = [self.graph] * len(free), self.observer.intrinsics
        problem = Problem(graphs, intrinsics, all_constraints, weights, articulation, free, reference=start)
        return solve(problem, start, steps).poses[-1:]

    def _track_frame(self, time: int, known: Poses) -> Poses:
        """Pose of a frame after those of known frames.

        The start is the better, by the masks' IoU, of the linear prediction and the pose by dense optical flow, or the
        network's pose where that is clearly better. Where the frame is not explained, it is one more start.
        """
        observer, frames = self.observer, self.observer.frames
        previous, starts = self._first_vertices(known[-1:]), [_linear_prediction(known)]
        rendered = observer.appearance.render(previous, observer.view(time - 1, previous))
        if (np.minimum(rendered.mask, rendered.view.mask) > 0.5).any():
            field = flow_between(frames[time - 1], frames[time], self.config.size)
            constraints = flow_constraints(rendered, field, TUNING.flow_points)
            starts.append(self._solve_frame(constraints, known[-1:], known, TUNING.flow_steps, TUNING.search_radii[0]))
        by_network = [] if self.predicted is None else [self.predicted[time : time + 1]]
        view = observer.view(time, previous)
        ious = [observer.mask_iou(self._first_vertices(start), view) for start in [*starts, *by_network]]
        # A network that knows little of depth must explain the mask clearly better than the frames before do.
        margins = [0.0] * len(starts) + [TUNING.min_prediction_gain] * len(by_network)
        best = int(np.argmax(np.subtract(ious, margins)))
        pose = [*starts, *by_network][best]
        pose, iou = self._fit_frame(time, pose, known, TUNING.search_radii[0])
        searched = self.search.improved(
            time,
            pose,
            known[-1:],
            lambda start: self._fit_frame(time, start, known[:0], TUNING.search_radii[0])[0],
            by_network,
        )
        if searched is not pose:
            pose, iou = searched, observer.mask_iou(self._first_vertices(searched), view)
        min_iou = TUNING.min_iou_share * observer.reference_quality.iou
        if iou >= min_iou:
            return pose
        relocated, relocated_iou = self._fit_frame(
            time, self._translated_rest_pose(time), known[:0], TUNING.relocation_radius
        )
        if max(iou, relocated_iou) < min_iou:
            self.lost.add(time)
            log.info("frame %s: track is lost (IoU %.2f)", frames[time].name, max(iou, relocated_iou))
            return known[-1:]
        log.info("frame %s: track was lost and found again", frames[time].name)
        self.relocated.add(time)
        return relocated if relocated_iou > iou else pose

    def _fit_frame(self, time: int, pose: Poses, known: Poses, search_radius: float) -> tuple[Poses, float]:
        """Pose of a frame by rounds of constraints and Gauss-Newton, coarse to fine, and the masks' IoU after them.

        Args:
            time: index of the frame.
            pose: one, the start.
            known: poses of the frames before.
            search_radius: of the first round.
        """
        view = self.observer.view(time, self._first_vertices(pose))
        for radius in np.geomspace(search_radius, TUNING.search_radii[1], self.config.rounds):
            constraints = self.observer.constraints(time, self._first_vertices(pose), view, float(radius))
            pose = self._solve_frame(constraints, pose, known, TUNING.solver_steps, float(radius))
        return pose, self.observer.mask_iou(self._first_vertices(pose), view)

    def _frame_constraints(self, frame: tuple[int, Tensor]) -> Constraints | None:
        """Constraints of a frame, given as its index and vertices (V, 3); None where track is lost."""
        time, vertices = frame
        if time in self.lost:
            return None
        return self.observer.constraints(time, vertices, self.observer.view(time, vertices), TUNING.search_radii[1])

    def _translated_rest_pose(self, time: int) -> Poses:
        """The first frame's pose, translated to the mask of a frame."""
        rest = self.observer.mesh.vertices
        view = self.observer.view(time, rest)
        translated = translated_to_mask(rest, view.mask, self.observer.appearance.render(rest, view).mask, view)
        poses = self.graph.rest_poses()
        return replace(poses, positions=poses.positions + (translated - rest).mean(0).double().numpy())

    def _solve_window(self, poses: Poses, known: int, start: int) -> Poses:
        """Poses of all frames of a window, solved together: one pass.

        Args:
            poses: of the known frames and the window's; the start.
            known: number of known frames, which are fixed.
            start: index of the window's first frame.
        """
        free = np.arange(len(poses)) >= known
        breaks = np.array([start - known + index in self.relocated for index in range(len(poses))])
        vertices = list(enumerate(self._vertices(poses[known:]), start))
        constraints = [*[None] * known, *in_order(self._frame_constraints, vertices)]
        for _ in range(TUNING.window_rounds):
            articulation = self.articulation.updated(self.graph, poses[known:])
            graphs, intrinsics = [self.graph] * len(free), self.observer.intrinsics
            problem = Problem(graphs, intrinsics, constraints, self.weights, articulation, free, breaks, poses)
            poses = solve(problem, poses, TUNING.window_steps).poses
        return poses


def _linear_prediction(known: Poses) -> Poses:
    """Next pose at constant velocity: the last relative rotation and translation of every node, again."""
    if len(known) < 2:
        return known[-1:]
    previous, last = known[-2:-1], known[-1:]
    rotations = last.rotations @ previous.rotations.transpose(0, 1, 3, 2) @ last.rotations
    # Rounding errors treble where this is repeated, so the result is projected onto the rotations every time.
    nearest = best_rotations(torch.from_numpy(rotations.swapaxes(2, 3).copy())).numpy()
    return Poses(nearest, 2 * last.positions - previous.positions)
