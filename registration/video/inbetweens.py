"""Frames between key frames fitted to the video, from where the interpolation of the key frames' poses puts them.

Each frame's pose is near already; what is left is found as for a mesh that the video moves (``video``): paint and
outline are looked up, the pose is solved for, as rigid as possible towards its interpolated shape, then again. The
paint is what the nearest key frame shows. All frames of a gap are solved together with the key frames at its ends,
which stay; then each key frame is fitted in the same way between its two neighbours, towards its own shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.deformation_graph.gauss_newton import Articulation, Problem, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.observer import SEARCH_RADII, STEPS, Observer, solver_weights
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence
from v2m4.threads import in_order


def fit_frames(
    frames: Sequence[Frame],
    sequence: MeshSequence,
    config: VideoTrackingConfig,
    progress: Callable[[int], object] = lambda count: None,
) -> MeshSequence:
    """All frames from the poses of the key frames.

    Args:
        frames: all T, background removed.
        sequence: poses of the key frames at times that are frame numbers, ascending, the first and the last frame among
            them; in the space of the video's camera.
        config: options.
        progress: called with the number of frames that are done so far.

    Returns:
        poses of all frames; the first is the rest pose.
    """
    keys, last = [int(time) for time in sequence.times], len(frames) - 1
    whole = sequence.sampled(range(len(frames)))
    fitter = _Fitter(frames, sequence.mesh, config)
    vertices = whole.vertices.clone()
    gaps = [range(first + 1, second) for first, second in pairwise(keys) if second - first > 1]

    def fill(gap: range) -> Tensor:
        return fitter.fit(whole.vertices, range(gap.start - 1, gap.stop + 1), gap)

    for gap, poses in zip(gaps, in_order(fill, gaps, lambda done: progress(gaps[done - 1].stop)), strict=True):
        vertices[gap.start : gap.stop] = poses
    between = vertices.clone()

    def refit(key: int) -> Tensor:
        return fitter.fit(between, range(max(key - 1, 0), min(key + 1, last) + 1), [key])[0]

    if last > 0:
        for key, pose in zip(keys, in_order(refit, keys), strict=True):
            vertices[key] = pose
    progress(len(frames))
    return replace(whole, vertices=vertices, mesh=sequence.mesh.with_vertices(vertices[0]))


class _Fitter:
    """What stays the same over all gaps."""

    def __init__(self, frames: Sequence[Frame], mesh: Mesh, config: VideoTrackingConfig) -> None:
        self.frames, self.mesh, self.config = frames, mesh, config
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)

    def fit(self, vertices: Tensor, window: range, moved: Sequence[int]) -> Tensor:
        """Poses (N, V, 3) of the N frames ``moved``.

        Args:
            vertices: (T, V, 3) of all frames.
            window: frames that are solved together; those not moved are its first or its last, or both.
            moved: some of them.
        """
        graphs = [self.graph.with_rest(vertices[frame].double().numpy()) for frame in window]
        state = Poses.joined([graph.rest_poses() for graph in graphs])
        free = np.array([frame in moved for frame in window])
        shown = {
            frame: Observer(self.frames, self.mesh.with_vertices(vertices[frame]), self.config, shown=frame)
            for frame in window
            if frame not in moved
        }
        nearest = [min((abs(known - frame), known) for known in shown)[1] for frame in window]
        observers = [shown[known] for known in nearest]
        for reach in np.geomspace(*SEARCH_RADII, self.config.rounds):
            constraints: list[Constraints | None] = [None] * len(window)
            for at in np.flatnonzero(free).tolist():
                pose, observer = _vertices(graphs[at], state, at), observers[at]
                constraints[at] = observer.observed(window[at], pose, observer.view(window[at], pose), float(reach))
            weights = replace(solver_weights(self.config), reach=float(reach))
            problem = Problem(
                graphs, observers[0].intrinsics, constraints, weights, Articulation.none(self.graph), free
            )
            state = solve(problem, state, STEPS).poses
        return torch.stack([_vertices(graphs[at], state, at) for at in np.flatnonzero(free).tolist()])


def _vertices(graph: DeformationGraph, poses: Poses, at: int) -> Tensor:
    """The vertices (V, 3) of one of some poses, as a graph of its own carries them."""
    return torch.from_numpy(graph.deform(poses[at : at + 1])[0]).float()
