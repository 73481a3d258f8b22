"""Pose of a user mesh in the first frame, where it differs from the mesh's own: arms down in one, up in the other.

The camera of stage 2 is as accurate as the pose allows. So first the mesh moves as a whole, nearly rigidly. Then rounds
alternate between a search for the rotations of limbs (``limb_search``) and a deformation by the constraints of
appearance and outline, coarse to fine, as long as the image error falls. One view does not determine depth: nodes
without constraints keep their place by a prior.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.observe import frame_constraints
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.gauss_newton import Intrinsics, Problem, SolverWeights, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.limb_search import LimbHypothesis, PoseComparison, search_limbs
from registration.video.limbs import find_limbs
from registration.video.tuning import TUNING
from v2m4.camera import Camera
from v2m4.config import VideoTrackingConfig
from v2m4.files import Arrays
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.partial_results import PartialResults

log = logging.getLogger("v2m4.registration")

STATE = "state"  # name of the stored state


@dataclass(frozen=True)
class FirstFrameFit:
    """Result of ``fit_first_frame``.

    Attributes:
        vertices: (V, 3) in the video camera's space; the mesh's own, to the byte, where no other pose has less error.
        errors: image error (``limb_search.PoseComparison``) before and after; 0 is the frame's own image.
        rotated_limbs: number of limb rotations that were taken from the search.
    """

    vertices: Tensor
    errors: tuple[float, float]
    rotated_limbs: int


def fit_first_frame(
    mesh: Mesh, frame: Frame, config: VideoTrackingConfig, parts: PartialResults | None = None
) -> FirstFrameFit:
    """Fit a mesh to a frame by an articulated, as-rigid-as-possible deformation.

    Args:
        mesh: in the video camera's space, posed by stage 2; with a texture or vertex colours.
        frame: the first of the video.
        config: of the stage.
        parts: storage of the pose after each round; None for none.

    Raises:
        ValueError: the mesh has no faces.
    """
    parts = parts or PartialResults()
    graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)
    camera = frame.camera()
    limbs = find_limbs(graph)
    best, rotated_limbs, errors = graph.rest_poses(), 0, (0.0, 0.0)
    first, stored = 0, parts.load(STATE)
    if stored is not None:
        best = Poses(stored["rotations"], stored["positions"])
        first, rotated_limbs = stored["counts"].tolist()
        errors = tuple(stored["errors"].tolist())
    for number in range(first, TUNING.first_frame_rounds):
        pose = _vertices(graph, best)
        appearance = _lit_appearance(mesh, pose, frame, camera, config)
        view = ImageWindow.of(frame, camera, TUNING.first_frame_search_size, [pose])
        comparison = PoseComparison.of(graph, pose, appearance, view)
        before = float(comparison(best)[0])
        errors = (before, before) if number == 0 else errors
        hypotheses = search_limbs(comparison, limbs, best) if number else []
        if all(hypothesis.rotated_limbs for hypothesis in hypotheses):
            hypotheses.append(LimbHypothesis(best, before))
        rigidity = TUNING.first_frame_rigidity if number else TUNING.first_frame_initial_rigidity
        fitted = [
            _fit_pose(graph, hypothesis.poses, appearance, frame, camera, config, rigidity) for hypothesis in hypotheses
        ]
        costs = comparison(Poses.joined(fitted))
        margins = [
            1.0 if hypothesis.rotated_limbs else 1 - TUNING.first_frame_min_limb_gain for hypothesis in hypotheses
        ]
        chosen = int((costs * margins).argmin())
        log.debug("%s: image error %.3f, of the hypotheses %s", frame.name, before, costs.round(3).tolist())
        if costs[chosen] <= (1 - TUNING.first_frame_min_gain) * before:
            best, rotated_limbs = fitted[chosen], rotated_limbs + len(hypotheses[chosen].rotated_limbs)
            errors = (errors[0], float(costs[chosen]))
        elif number > 0:
            break
        parts.save(STATE, partial(_state_arrays, best, number + 1, rotated_limbs, errors))
    vertices = mesh.vertices if errors[0] == errors[1] else _vertices(graph, best).to(mesh.vertices)
    log.info("%s: image error %.3f -> %.3f, %d limbs rotated", frame.name, *errors, rotated_limbs)
    return FirstFrameFit(vertices, errors, rotated_limbs)


def _state_arrays(best: Poses, rounds: int, rotated_limbs: int, errors: tuple[float, float]) -> Arrays:
    """The state after a number of rounds, as stored."""
    counts = np.array([rounds, rotated_limbs])
    return {
        "rotations": best.rotations,
        "positions": best.positions,
        "counts": counts,
        "errors": np.array(errors, np.float64),
    }


def _vertices(graph: DeformationGraph, poses: Poses) -> Tensor:
    """Vertices (V, 3) of the first of some poses."""
    return torch.from_numpy(graph.deform(poses)[0]).float()


def _lit_appearance(
    mesh: Mesh, pose: Tensor, frame: Frame, camera: Camera, config: VideoTrackingConfig
) -> AppearanceModel:
    """The mesh's appearance under lighting that is fitted to the frame with a pose (V, 3).

    Without vertex gains and reference: they would be learned from a pose that is not yet right.
    """
    return replace(
        AppearanceModel.of(mesh, pose, ImageWindow.of(frame, camera, config.size, [pose])),
        vertex_gain=None,
        reference=None,
    )


def _fit_pose(
    graph: DeformationGraph,
    start: Poses,
    appearance: AppearanceModel,
    frame: Frame,
    camera: Camera,
    config: VideoTrackingConfig,
    rigidity: tuple[float, float],
) -> Poses:
    """Pose from the constraints of appearance and outline, coarse to fine, with a prior on the start.

    Edges that bend from round to round become hinges (``Articulation``).

    Args:
        graph: of the mesh.
        start: one pose.
        appearance: of the mesh.
        frame: to be fitted to.
        camera: of the video.
        config: of the stage.
        rigidity: weight of rigidity relative to the search radius, and its least value.
    """
    poses, free = start, np.array([False, True])
    for radius in TUNING.first_frame_radii:
        pose = _vertices(graph, poses)
        view = ImageWindow.of(frame, camera, config.size, [pose])
        constraints = frame_constraints(pose, appearance, view, config, radius)
        weights = SolverWeights(
            rigidity=max(rigidity[0] * radius, rigidity[1]),
            velocity=TUNING.first_frame_prior,  # against the start, which is a fixed frame before this one
            acceleration=0.0,
            kernel_scale=max(radius, TUNING.first_frame_min_kernel_scale),
            bend_scale=TUNING.first_frame_bend_scale,
            strain_scale=TUNING.first_frame_strain_scale,
            expected_points=1,
        )
        articulation = Articulation.none(graph).updated(graph, poses)
        problem = Problem([graph, graph], Intrinsics.of(camera), [None, constraints], weights, articulation, free)
        poses = solve(problem, Poses.joined([start, poses]), TUNING.first_frame_steps).poses[1:]
    return poses
