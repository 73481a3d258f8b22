"""A given mesh's pose brought to the first frame's, where the two differ: arms down in one, up in the other.

The camera is known about as well as the pose allows. First the whole moves, nearly rigid, which is the camera's last
refinement. Then limbs are searched for (``limb_search``), and the deformation graph follows what the frame shows of
paint and outline, coarse to fine; and so again from there, as long as the picture gets more like the frame. One view
says nothing of depth: what it does not ask for stays where it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.appearance_model import AppearanceModel
from registration.correspondences.observe import frame_constraints
from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.gauss_newton import Intrinsics, Problem, SolverWeights, solve
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.limb_search import Comparison, Guess, search_limbs
from registration.video.limbs import find_limbs
from v2m4.camera import Camera
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh

log = logging.getLogger("v2m4.registration")

SEARCHED = 64  # pixels (side) of the pictures that limbs are searched in
BEAM = 3  # guesses of the first search that are solved for
ROUNDS = 6  # of search and solution, at most
SEARCH_RADII = (0.15, 0.1, 0.06, 0.04, 0.03)  # of the object's size, how far what is seen may pull, coarse to fine
STIFF = (0.1, 0.002)  # rigidity relative to the reach, and the least
RIGID = (10.0, 0.1)  # the same before anything is searched for: the whole moves first
STAY = 0.003  # weight of staying where the search has put the nodes, where what is seen has 1
STEPS = 12  # of each solution
BENT = 0.3  # radians between nodes from which on they are a joint
GAIN = 0.02  # part by which a round must lower the error to be kept
TURNED_GAIN = 0.05  # part by which turned limbs must lower it against following the frame from where they are


@dataclass(frozen=True)
class FirstFrame:
    """How the mesh stands in the first frame.

    Attributes:
        vertices: (V, 3) in the video camera's space; exactly those given where no other pose fits better.
        error: what is wrong with the picture, before and after (``limb_search.Comparison``; 0 is the same picture).
        turned: how many limbs the search has turned.
    """

    vertices: Tensor
    error: tuple[float, float]
    turned: int


def fit_first_frame(mesh: Mesh, frame: Frame, config: VideoTrackingConfig) -> FirstFrame:
    """Deform a mesh as rigidly as possible, in pieces, until it looks like the frame.

    Args:
        mesh: in the video camera's space, posed by stage 2; with a texture or vertex colours.
        frame: the first of the video.
        config: of the stage.

    Raises:
        ValueError: the mesh has no faces.
    """
    graph = DeformationGraph.of(mesh.vertices, mesh.faces, config.nodes)
    camera = frame.camera()
    limbs = find_limbs(graph)
    best, turned, errors = graph.rest_poses(), 0, (0.0, 0.0)
    for number in range(ROUNDS):
        pose = _vertices(graph, best)
        appearance = _lit(mesh, pose, frame, camera, config)
        comparison = Comparison.of(graph, pose, appearance, ImageWindow.of(frame, camera, SEARCHED, [pose]))
        before = float(comparison(best)[0])
        errors = (before, before) if number == 0 else errors
        guesses = search_limbs(comparison, limbs, best, BEAM) if number else []
        if all(guess.turned for guess in guesses):
            guesses.append(Guess(best, before))
        stiff = STIFF if number else RIGID
        solved = [_solved(graph, guess.poses, appearance, frame, camera, config, stiff) for guess in guesses]
        costs = comparison(Poses.joined(solved))
        doubted = costs * [1.0 if guess.turned else 1 - TURNED_GAIN for guess in guesses]
        chosen = int(doubted.argmin())
        log.debug("%s: error %.3f, guesses %s", frame.name, before, costs.round(3).tolist())
        if costs[chosen] <= (1 - GAIN) * before:
            best, turned = solved[chosen], turned + len(guesses[chosen].turned)
            errors = (errors[0], float(costs[chosen]))
        elif number > 0:
            break
    vertices = mesh.vertices if errors[0] == errors[1] else _vertices(graph, best).to(mesh.vertices)
    log.info("%s: picture's error %.3f -> %.3f, %d limbs turned", frame.name, *errors, turned)
    return FirstFrame(vertices, errors, turned)


def _vertices(graph: DeformationGraph, poses: Poses) -> Tensor:
    """Vertices (V, 3) of one pose."""
    return torch.from_numpy(graph.deform(poses)[0]).float()


def _lit(mesh: Mesh, pose: Tensor, frame: Frame, camera: Camera, config: VideoTrackingConfig) -> AppearanceModel:
    """The mesh in the frame's light; what single vertices lack would be learned from a pose that is not right yet."""
    return replace(
        AppearanceModel.of(mesh, pose, ImageWindow.of(frame, camera, config.size, [pose])),
        vertex_gain=None,
        reference=None,
    )


def _solved(
    graph: DeformationGraph,
    start: Poses,
    appearance: AppearanceModel,
    frame: Frame,
    camera: Camera,
    config: VideoTrackingConfig,
    stiff: tuple[float, float],
) -> Poses:
    """The pose that follows what the frame shows from a start, coarse to fine; edges that bend become joints."""
    poses, free = start, np.array([False, True])
    for reach in SEARCH_RADII:
        pose = _vertices(graph, poses)
        seen = frame_constraints(pose, appearance, ImageWindow.of(frame, camera, config.size, [pose]), config, reach)
        weights = SolverWeights(
            rigidity=max(stiff[0] * reach, stiff[1]),
            velocity=STAY,
            acceleration=0.0,
            kernel_scale=max(reach, 0.02),
            bend_scale=BENT,
            strain_scale=1.0,
            expected_points=1,
        )
        articulation = Articulation.none(graph).updated(graph, poses)
        problem = Problem([graph, graph], Intrinsics.of(camera), [None, seen], weights, articulation, free)
        poses = solve(problem, Poses.joined([start, poses]), STEPS).poses[1:]
    return poses
