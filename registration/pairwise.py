"""One key frame after another: the pose of one is carried to the next, first coarsely, then in detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from registration.arap import Arap, shape_graph
from registration.coarse import align
from registration.deform import follow_tracks
from registration.energy import Chamfer, EdgeLength, FaceArea, NormalMaps, Rigidity, Term
from registration.energy_video import (
    Colour,
    PointTracks,
    Silhouette,
    VideoView,
    in_fractions,
    visible_vertices,
)
from registration.fine import Descent, descend
from registration.flow import FlowField, object_box, track, window_around
from registration.large_steps import LargeSteps
from v2m4.camera import Camera
from v2m4.config import RegistrationConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh

WINDOW_MARGIN = 0.15
PAPER_FACES = 10000  # the mesh that the published smoothness is meant for


@dataclass(frozen=True)
class Subject:
    """What stays the same over the whole clip.

    Attributes:
        mesh: topology and look; its vertices are the rest shape, in the space of the video's camera.
        camera: the video's, not cropped.
        arap: rigidity of the rest shape.
        large_steps: the change of variables.
        unit: the rest shape's longest side.
    """

    mesh: Mesh
    camera: Camera
    arap: Arap
    large_steps: LargeSteps
    unit: float

    @classmethod
    def of(cls, mesh: Mesh, aspect: float, config: RegistrationConfig) -> Subject:
        """Factor and measure once."""
        lower, upper = mesh.bounds()
        camera = Camera.identity(aspect=aspect, device=mesh.vertices.device)
        arap = Arap(shape_graph(mesh.vertices, mesh.faces, config.thickness))
        # sqrt(lambda) edges are one length on the surface, however finely it is cut.
        smoothness = config.smoothness * len(mesh.faces) / PAPER_FACES
        large_steps = LargeSteps(mesh.faces, len(mesh.vertices), smoothness)
        return cls(mesh, camera, arap, large_steps, float((upper - lower).max()))

    def shape_terms(self, config: RegistrationConfig) -> list[Term]:
        """What keeps a pose like the rest shape."""
        weights, mesh = config.weights, self.mesh
        return [
            Rigidity(weights.arap, self.arap),
            EdgeLength(weights.edge_length, mesh.vertices, mesh.faces, self.unit),
            FaceArea(weights.face_area, mesh.vertices, mesh.faces, self.unit),
        ]

    def view(self, frame: Frame, size: int, poses: list[Tensor]) -> VideoView:
        """A frame seen through a square window that holds the object and the given poses."""
        boxes = [object_box(frame)]
        for pose in poses:
            pixels = in_fractions(self.camera, pose)
            lower, upper = pixels.amin(0), pixels.amax(0)
            boxes.append((float(lower[0]), float(lower[1]), float(upper[0]), float(upper[1])))
        window = window_around(boxes, frame.aspect, WINDOW_MARGIN, square=True)
        return VideoView.of(frame, window, size, self.mesh)


@dataclass(frozen=True)
class SeenPoints:
    """Vertices of a pose that the video shows, and where.

    Attributes:
        index: (N,) vertices.
        pixels: (N, 2) fractions of the picture.
        span: height of the object in fractions of the picture's height, at least its width.
    """

    index: Tensor
    pixels: Tensor
    span: float

    @classmethod
    def of(cls, vertices: Tensor, subject: Subject, frame: Frame, size: int) -> SeenPoints:
        """The vertices that the camera sees in this pose."""
        box = object_box(frame)
        window = window_around([box], frame.aspect, WINDOW_MARGIN, square=True)
        index = visible_vertices(vertices, subject.mesh.faces, subject.camera.cropped(window), size)
        pixels = in_fractions(subject.camera, vertices[index])
        return cls(index, pixels, max((box[2] - box[0]) * frame.aspect, box[3] - box[1]))


def carry(
    previous: Tensor,
    subject: Subject,
    target: Mesh,
    frames: list[Frame],
    flows: list[FlowField],
    start: int,
    stop: int,
    config: RegistrationConfig,
    generator: torch.Generator,
) -> Descent:
    """The pose of frame ``stop`` from that of frame ``start``.

    Args:
        previous: (V, 3), the pose at frame ``start``.
        subject: the moving object.
        target: the mesh generated for frame ``stop``, in the space of the video's camera.
        frames: all frames.
        flows: flow t joins frames t and t + 1.
        start: frame index.
        stop: frame index.
        config: options of the stage.
        generator: for everything random.
    """
    weights, faces, device = config.weights, subject.mesh.faces, previous.device
    seen = SeenPoints.of(previous, subject, frames[start], config.video_size)
    tracks = track(seen.pixels.cpu().double().numpy(), start, stop, flows)
    targets, confidence = tracks.positions[-1], tracks.confidence[-1]
    points = PointTracks(
        weights.flow,
        subject.camera,
        seen.index,
        torch.from_numpy(targets.astype(np.float32)).to(device),
        torch.from_numpy(confidence.astype(np.float32)).to(device),
        seen.span,
    )
    shape: list[Term] = [
        Chamfer(weights.chamfer, faces, target, subject.unit, config.points),
        NormalMaps(weights.normals, faces, target, config.views, config.size),
    ]
    alignment = align(
        previous,
        [*shape, points],
        config.coarse_steps,
        generator,
        half_turns=config.half_turn_steps > 0,
        trial_steps=config.half_turn_steps,
    )
    index = seen.index.cpu().numpy()
    followed = follow_tracks(alignment(previous), subject.arap, subject.camera, index, targets, confidence)
    view = subject.view(frames[stop], config.video_size, [followed])
    terms: list[Term] = [
        *subject.shape_terms(config),
        *shape,
        points,
        Silhouette(weights.silhouette, view),
        Colour(weights.colour, view),
    ]
    rate = config.fine_rate * subject.unit
    return descend(followed, terms, subject.large_steps, config.fine_steps, rate, generator)
