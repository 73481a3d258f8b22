"""Frames between key frames fitted to the video, from where the interpolation of the key frames' poses puts them.

Each frame's pose is near already; what is left is found as for a mesh that the video moves (``video``): paint and
outline are looked up, the pose is solved for, as rigid as possible towards its interpolated shape, then again. The
paint is what the nearest key frame shows. All frames of a gap are solved together with the key frames at its ends,
which stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from registration.graph import DeformationGraph, Poses
from registration.graph_solve import Joints, Lens, Problem, solve
from registration.look import Look, View
from registration.observations import Observations
from registration.observe import observe
from registration.video import REACHES, STEPS, weights_of
from v2m4.camera import Camera
from v2m4.config import DriveConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence


def fit_between(
    frames: Sequence[Frame],
    sequence: MeshSequence,
    config: DriveConfig,
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
        poses of all frames; those of the key frames stay as they are, to the byte.
    """
    keys = [int(time) for time in sequence.times]
    whole = sequence.sampled(range(len(frames)))
    fitter = _Fitter(frames, sequence.mesh, config)
    vertices = whole.vertices.clone()
    for first, last in pairwise(keys):
        if last - first > 1:
            vertices[first + 1 : last] = fitter.gap(whole.vertices[first : last + 1], first)
        progress(last + 1)
    return replace(whole, vertices=vertices)


class _Fitter:
    """What stays the same over all gaps."""

    def __init__(self, frames: Sequence[Frame], mesh: Mesh, config: DriveConfig) -> None:
        self.frames, self.mesh, self.config = frames, mesh, config
        self.camera = Camera.identity(aspect=frames[0].aspect)
        self.lens = Lens.of(self.camera)
        self.graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)
        self.weights = weights_of(config)

    def gap(self, poses: Tensor, start: int) -> Tensor:
        """The frames between two key frames.

        Args:
            poses: (N, V, 3) of frames ``start`` to the next key frame, these two included.
            start: frame index.

        Returns:
            (N - 2, V, 3).
        """
        count = len(poses)
        graphs = [self.graph.at(pose.double().numpy()) for pose in poses]
        state = Poses.joined([graph.still() for graph in graphs])
        free = np.array([False] + [True] * (count - 2) + [False])
        looks = [self._look(start + end, poses[end]) for end in (0, count - 1)]
        for reach in np.geomspace(*REACHES, self.config.rounds):
            observations: list[Observations | None] = [None] * count
            for offset in range(1, count - 1):
                pose = self._vertices(graphs[offset], state[offset : offset + 1])
                look = looks[0] if offset < count / 2 else looks[1]
                observations[offset] = observe(pose, look, self._view(start + offset, pose), self.config, float(reach))
            weights = replace(self.weights, reach=float(reach))
            problem = Problem(graphs, self.lens, observations, weights, Joints.none(self.graph), free)
            state = solve(problem, state, STEPS).poses
        found = [self._vertices(graphs[offset], state[offset : offset + 1]) for offset in range(1, count - 1)]
        return torch.stack(found)

    def _view(self, time: int, pose: Tensor) -> View:
        return View.of(self.frames[time], self.camera, self.config.size, [pose])

    def _look(self, time: int, pose: Tensor) -> Look:
        return Look.of(self.mesh, pose, self._view(time, pose))

    @staticmethod
    def _vertices(graph: DeformationGraph, poses: Poses) -> Tensor:
        return torch.from_numpy(graph.moved(poses)[0]).float()
