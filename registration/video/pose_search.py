"""Search for the pose of a frame that tracking from the frame before does not explain.

A body that rolls over between two frames, or an arm that swings by its own length, is beyond the reach of a local fit.
So the frame is explained by synthesis (``PoseComparison``): the body as a whole is rotated over all rotations, from its
pose in the frame before and from its rest pose, and limbs are rotated over the whole sphere (``limb_search``). The
starts that resemble the frame most are fitted, and the best fit is taken if it clearly lowers the image error.

Motion between two frames is short where the image leaves a choice: legs that look alike are not exchanged.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from registration.deformation_graph.gauss_newton import Intrinsics
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.limb_search import PoseComparison, search_limbs
from registration.video.limbs import find_limbs, points_in_ball
from registration.video.observer import Observer
from registration.video.tuning import TUNING
from v2m4.image_window import ImageWindow
from v2m4.rotation import angles_between, rotation_exp

log = logging.getLogger(__name__)

Fit = Callable[[Poses], Poses]


@dataclass(frozen=True)
class PoseHypothesis:
    """A pose of one frame.

    Attributes:
        poses: one.
        error: image error (``PoseComparison``).
        cost: the error, and the penalty on motion from the frame before.
    """

    poses: Poses
    error: float
    cost: float


class PoseSearch:
    """Search for poses of a video's frames.

    Args:
        observer: of the frames and the mesh.
        graph: of the mesh.

    Attributes:
        max_error: image error above which a frame is searched.
    """

    def __init__(self, observer: Observer, graph: DeformationGraph) -> None:
        self.observer, self.graph = observer, graph
        self.limbs = find_limbs(graph)
        rest = observer.mesh.vertices
        appearance = replace(observer.appearance, reference=None)
        self.first_comparison = PoseComparison.of(graph, rest, appearance, self._view(0, rest))
        self.max_error = float(self.first_comparison(graph.rest_poses())[0]) + TUNING.max_error_increase

    def improved(self, time: int, pose: Poses, previous: Poses, fit: Fit, further: Sequence[Poses] = ()) -> Poses:
        """The pose of a frame, or a better one where it does not explain the frame.

        Args:
            time: index of the frame.
            pose: one, as tracked.
            previous: one, of the frame before.
            fit: fits a pose to the frame.
            further: poses of the frame that are tried, too.

        Returns:
            ``pose`` itself where its error is at most ``max_error``, where nothing better is found, and where the
            frame shows no object.
        """
        comparison = self.comparison(time, pose)
        tracked = self._hypothesis(comparison, pose, previous)
        if tracked.error <= self.max_error or not (comparison.view.mask > 0.5).any():
            return pose
        starts = [
            start
            for origin in (previous, self.graph.rest_poses())
            for start in rigid_motions(comparison, origin, TUNING.rigid_hypotheses)
        ]
        starts += [*further, *self._with_rotated_limbs(comparison, pose)]

        def better(starts: list[Poses], than: PoseHypothesis) -> PoseHypothesis:
            ranked = sorted((self._hypothesis(comparison, start, previous) for start in starts), key=lambda it: it.cost)
            fits = [self._hypothesis(comparison, fit(it.poses), previous) for it in ranked[: TUNING.fitted_hypotheses]]
            return min([than, *fits], key=lambda it: it.cost)

        best = better(starts, tracked)
        if best.error > self.max_error:
            best = better(self._with_rotated_limbs(comparison, best.poses), best)
        if best.cost >= tracked.cost - TUNING.min_search_gain * tracked.error:
            return pose
        name = self.observer.frames[time].name
        log.info("frame %s: another pose found, image error %.2f -> %.2f", name, tracked.error, best.error)
        return best.poses

    def comparison(self, time: int, pose: Poses) -> PoseComparison:
        """Comparison with a frame, in a window that holds its object and a pose."""
        vertices = torch.from_numpy(self.first_comparison.vertices(pose)).float()
        return self.first_comparison.with_view(self._view(time, vertices))

    def _view(self, time: int, vertices: Tensor) -> ImageWindow:
        """Image window of a frame that holds vertices (V, 3), at the resolution of the search."""
        return ImageWindow.of(self.observer.frames[time], self.observer.camera, TUNING.search_size, [vertices])

    def _hypothesis(self, comparison: PoseComparison, pose: Poses, previous: Poses) -> PoseHypothesis:
        error = float(comparison(pose)[0])
        motion = float(np.linalg.norm(pose.positions - previous.positions, axis=2).mean()) / self.graph.unit
        return PoseHypothesis(pose, error, error + TUNING.motion_penalty * motion)

    def _with_rotated_limbs(self, comparison: PoseComparison, pose: Poses) -> list[Poses]:
        """Poses with some limbs rotated that have less error."""
        found = search_limbs(comparison, self.limbs, pose, TUNING.frame_beam_width, TUNING.frame_rotated_limbs)
        return [hypothesis.poses for hypothesis in found if hypothesis.rotated_limbs]


def rigid_motions(comparison: PoseComparison, pose: Poses, count: int) -> list[Poses]:
    """The best rotations of a pose as a whole, translated to the frame's object.

    Args:
        comparison: with the frame.
        pose: one.
        count: of results at most; no two of them are nearer than ``VideoTuning.distinct_angle``.
    """
    vertices = comparison.vertices(pose)
    center = vertices.mean(0)
    vectors = np.concatenate([np.zeros((1, 3)), points_in_ball(TUNING.rigid_candidates, math.pi)])
    rotations = rotation_exp(vectors)
    costs = _evaluated(comparison, vertices, center, rotations)[0]
    costs = costs + TUNING.rotation_penalty * np.linalg.norm(vectors, axis=1)
    kept: list[np.ndarray] = []
    for index in np.argsort(costs, kind="stable"):
        if all(angles_between(rotations[index], other) > TUNING.distinct_angle for other in kept):
            kept.append(rotations[index])
        if len(kept) == count:
            break
    found, ball = [], points_in_ball(TUNING.refinement_candidates, 1.0)
    for start in kept:
        vector, shift = np.zeros(3), np.zeros(3)
        for radius in TUNING.refinement_radii:
            nearby = np.concatenate([vector[None], vector + radius * ball])
            errors, shifts = _evaluated(comparison, vertices, center, rotation_exp(nearby) @ start)
            best = int(errors.argmin())
            vector, shift = nearby[best], shifts[best]
        rotation = rotation_exp(vector[None])[0] @ start
        found.append(Poses(rotation @ pose.rotations, (pose.positions - center) @ rotation.T + center + shift))
    return found


def _evaluated(
    comparison: PoseComparison, vertices: np.ndarray, center: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate vertices, translate them to the frame's object, compare.

    Args:
        comparison: with the frame.
        vertices: (V, 3) of its mesh.
        center: (3,) of the rotations.
        rotations: (N, 3, 3).

    Returns:
        Image errors (N,) and translations (N, 3).
    """
    moved = (vertices - center) @ rotations.transpose(0, 2, 1) + center
    total = np.zeros((len(moved), 3))
    for _ in range(2):  # the size in the image changes with the place
        shift = shifts_to_box(moved, comparison.view)
        moved = moved + shift[:, None]
        total += shift
    return comparison.image_errors(moved), total


def shifts_to_box(vertices: np.ndarray, view: ImageWindow) -> np.ndarray:
    """Translations (N, 3) that bring the projected boxes of vertices (N, V, 3) to the box of the frame's object.

    The distance changes so that the boxes' areas become alike, by ``VideoTuning.max_size_ratio`` at most: the object
    may have another shape in this frame.
    """
    intrinsics = Intrinsics.of(view.camera.cropped((0.0, 0.0, 1.0, 1.0)))
    focal = np.array([intrinsics.focal_x, intrinsics.focal_y])
    depth = vertices[..., 2].mean(1, keepdims=True)
    fractions = vertices[..., :2] / np.maximum(vertices[..., 2:], 1e-6) * focal + 0.5
    low, high, box = fractions.min(1), fractions.max(1), np.array(view.box)
    target, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    across = (target - (low + high) / 2) / focal * depth
    ratio = np.sqrt((high - low).prod(1, keepdims=True) / max(float(size.prod()), 1e-9))
    away = depth * (np.clip(ratio, 1 / TUNING.max_size_ratio, TUNING.max_size_ratio) - 1)
    return np.concatenate([across + (target - 0.5) / focal * away, away], 1)
