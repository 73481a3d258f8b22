"""Poses of the frames between key frames, fitted to the video from the interpolation of the key frames' poses.

As in ``tracker``, correspondence search alternates with Gauss-Newton steps, but each frame is as rigid as possible
relative to its interpolated shape, and the appearance model is fitted to the nearest key frame. All frames of a gap are
solved together with the key frames at its ends, which are fixed; then each key frame is fitted in the same way between
its two neighbours, relative to its own shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.gauss_newton import Intrinsics, Problem, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.observer import Observer, solver_weights
from registration.video.tuning import TUNING
from v2m4.config import VideoTrackingConfig
from v2m4.files import Arrays
from v2m4.frame import Frame
from v2m4.memory import return_free_memory
from v2m4.mesh import Mesh, MeshSequence
from v2m4.partial_results import PartialResults
from v2m4.threads import in_order


def fit_frames(
    frames: Sequence[Frame],
    sequence: MeshSequence,
    config: VideoTrackingConfig,
    progress: Callable[[int], object] = lambda count: None,
    parts: PartialResults | None = None,
) -> MeshSequence:
    """Fit the poses of all frames, from those of the key frames.

    Args:
        frames: all T, background removed.
        sequence: poses of the key frames in the video camera's space; times are frame numbers, ascending, with the
            first and the last frame among them.
        config: of the stage.
        progress: called with the number of frames that are done so far.
        parts: storage of the poses of each gap and key frame; None for none.

    Returns:
        Poses of all T frames; the first is the rest pose.
    """
    keys, last = [int(time) for time in sequence.times], len(frames) - 1
    interpolated = sequence.sampled(range(len(frames)))
    parts = parts or PartialResults()
    fitter = _Fitter(frames, sequence.mesh, config)
    vertices = interpolated.vertices.clone() if interpolated.vertices is sequence.vertices else interpolated.vertices
    gaps = [range(first + 1, second) for first, second in pairwise(keys) if second - first > 1]

    def stored(name: str, window: range, free_frames: Sequence[int]) -> Tensor:
        def make() -> Arrays:
            return {"vertices": fitter.fit(vertices, window, free_frames, parts, f"{name}_state").numpy()}

        fitted = torch.from_numpy(parts.arrays(name, make)["vertices"])
        parts.remove(f"{name}_state")
        return fitted

    def fit_gap(gap: range) -> None:
        # No other gap reads its frames, so that their poses are written at once.
        vertices[gap.start : gap.stop] = stored(f"gap_{gap.start}", range(gap.start - 1, gap.stop + 1), gap)
        return_free_memory()

    in_order(fit_gap, gaps, lambda done: progress(gaps[done - 1].stop))

    def fit_key_frame(key: int) -> Tensor:
        fitted = stored(f"key_{key}", range(max(key - 1, 0), min(key + 1, last) + 1), [key])[0]
        return_free_memory()
        return fitted

    if last > 0:  # all are fitted before the first is written: two key frames may be neighbours
        for key, pose in zip(keys, in_order(fit_key_frame, keys), strict=True):
            vertices[key] = pose
    progress(len(frames))
    return replace(interpolated, vertices=vertices, mesh=sequence.mesh.with_vertices(vertices[0]))


class _Fitter:
    """Fits windows of frames with one deformation graph.

    Args:
        frames: all T.
        mesh: of the sequence.
        config: of the stage.
    """

    def __init__(self, frames: Sequence[Frame], mesh: Mesh, config: VideoTrackingConfig) -> None:
        self.frames, self.mesh, self.config = frames, mesh, config
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)
        self.intrinsics = Intrinsics.of(frames[0].camera())

    def observer(self, frame: int, pose: Tensor) -> Observer:
        """The frames, and the appearance of the mesh in one whose pose (V, 3) is known."""
        return Observer(self.frames, self.mesh.with_vertices(pose), self.config, reference_frame=frame)

    def fit(
        self, vertices: Tensor, window: range, free_frames: Sequence[int], parts: PartialResults, state: str
    ) -> Tensor:
        """Fit some frames of a window together.

        Args:
            vertices: (T, V, 3) of all frames; those of the free frames are their rest shapes and the start.
            window: frames that are solved together; the fixed ones are its first or its last, or both.
            free_frames: N of these, whose poses are unknown.
            parts: storage of the state between two rounds.
            state: its name there.

        Returns:
            (N, V, 3) poses of the free frames.
        """
        graphs = [self.graph.with_rest(vertices[frame].double().numpy()) for frame in window]
        poses = Poses.joined([graph.rest_poses() for graph in graphs])
        free = np.array([frame in free_frames for frame in window])
        references = [frame for frame in window if frame not in free_frames]
        nearest = {frame: min((abs(reference - frame), reference) for reference in references)[1] for frame in window}
        used = {frame: self.observer(frame, vertices[frame]) for frame in {nearest[frame] for frame in free_frames}}
        stored, first = parts.load(state), 0
        if stored is not None:
            poses, first = Poses(stored["rotations"], stored["positions"]), int(stored["rounds"])
        for number, radius in enumerate(np.geomspace(*TUNING.search_radii, self.config.rounds)[first:], first + 1):
            constraints: list[Constraints | None] = [None] * len(window)
            for index in np.flatnonzero(free).tolist():
                pose, observer = _vertices(graphs[index], poses, index), used[nearest[window[index]]]
                view = observer.view(window[index], pose)
                constraints[index] = observer.constraints(window[index], pose, view, float(radius))
            weights = replace(solver_weights(self.config), kernel_scale=float(radius))
            problem = Problem(graphs, self.intrinsics, constraints, weights, Articulation.none(self.graph), free)
            poses = solve(problem, poses, TUNING.solver_steps).poses
            parts.save(state, partial(_state_arrays, poses, number))
        return torch.stack([_vertices(graphs[index], poses, index) for index in np.flatnonzero(free).tolist()])


def _state_arrays(poses: Poses, rounds: int) -> Arrays:
    """Poses after a number of rounds, as stored."""
    return {"rotations": poses.rotations, "positions": poses.positions, "rounds": np.array(rounds)}


def _vertices(graph: DeformationGraph, poses: Poses, index: int) -> Tensor:
    """Vertices (V, 3) of one of some poses, by the graph with that frame's rest shape."""
    return torch.from_numpy(graph.deform(poses[index : index + 1])[0]).float()
