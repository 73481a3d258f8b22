"""The template: the mesh that is registered to all key frames, its rigidity, and its visible vertices in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.connectivity import component_connections
from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.arap_from_tracks import ArapFromTracks
from registration.keyframes.energy import EdgeLength, FaceArea, Rigidity, Term
from registration.keyframes.energy_image import VideoView, visible_vertices
from v2m4.camera import DEFAULT_FOV, Camera, image_fractions
from v2m4.config import RegistrationConfig
from v2m4.frame import Frame
from v2m4.image_window import Window, object_box, window_around
from v2m4.mesh import Mesh

WINDOW_MARGIN = 0.15  # around the object, of the longer side of its bounding box
PAPER_FACES = 10000  # faces of the meshes that the published smoothness was chosen for


@dataclass(frozen=True)
class Template:
    """A mesh with the operators that are the same in all frames.

    Attributes:
        mesh: topology and appearance; its vertices are the rest shape, in the space of the video's camera.
        camera: the video's, not cropped.
        arap: rigidity of the rest shape.
        large_steps: the change of variables of the descent.
        unit: the longest side of the rest shape's bounding box, "the object's size".
    """

    mesh: Mesh
    camera: Camera
    arap: Arap
    large_steps: LargeSteps
    unit: float

    @classmethod
    def of(cls, mesh: Mesh, aspect: float, config: RegistrationConfig, fov: float = DEFAULT_FOV) -> Template:
        """Builds the ARAP graph and factors the Large Steps matrix of a rest shape.

        Args:
            mesh: the rest shape, in the space of the video's camera.
            aspect: width over height of the frames.
            config: options of the stage.
            fov: vertical field of view, radians.
        """
        lower, upper = mesh.bounds()
        camera = Camera.identity(fov, aspect, mesh.vertices.device)
        connections = component_connections(mesh.vertices, mesh.faces)
        arap = Arap(shape_graph(mesh.vertices, mesh.faces, config.thickness, connections))
        # Scaled so that sqrt(lambda) edges have the same length at any resolution.
        smoothness = config.smoothness * len(mesh.faces) / PAPER_FACES
        large_steps = LargeSteps(mesh.faces, len(mesh.vertices), smoothness, connections=torch.from_numpy(connections))
        return cls(mesh, camera, arap, large_steps, float((upper - lower).max()))

    @cached_property
    def arap_from_tracks(self) -> ArapFromTracks:
        """The deformation of poses to point tracks."""
        return ArapFromTracks(self.arap, self.camera)

    def shape_terms(self, config: RegistrationConfig) -> list[Term]:
        """The terms that keep poses (V, 3) or (K, V, 3) close to the rest shape: rigidity, edge lengths, face areas."""
        weights, mesh = config.weights, self.mesh
        return [
            Rigidity(weights.arap, self.arap),
            EdgeLength(weights.edge_length, mesh.vertices, mesh.faces, self.unit),
            FaceArea(weights.face_area, mesh.vertices, mesh.faces, self.unit),
        ]

    def window(self, frame: Frame, poses: list[Tensor]) -> Window:
        """The square window of a frame around the object and poses (V, 3)."""
        boxes = [object_box(frame)]
        for pose in poses:
            pixels = image_fractions(self.camera, pose)
            lower, upper = pixels.amin(0), pixels.amax(0)
            boxes.append((float(lower[0]), float(lower[1]), float(upper[0]), float(upper[1])))
        return window_around(boxes, frame.aspect, WINDOW_MARGIN, square=True)

    def view(self, frame: Frame, size: int, poses: list[Tensor]) -> VideoView:
        """The view of a frame through ``window``, ``size`` rows."""
        return VideoView.of(frame, self.window(frame, poses), size, self.mesh)


@dataclass(frozen=True)
class VisiblePoints:
    """The visible vertices of a pose in a frame, and their image positions.

    Attributes:
        index: (N,) vertices.
        pixels: (N, 2) fractions of the picture.
        span: height of the object in fractions of the picture's height, at least its width.
    """

    index: Tensor
    pixels: Tensor
    span: float

    @classmethod
    def of(cls, vertices: Tensor, template: Template, frame: Frame, size: int) -> VisiblePoints:
        """The visible vertices of a pose (V, 3), from a depth image of ``size`` rows."""
        box = object_box(frame)
        window = window_around([box], frame.aspect, WINDOW_MARGIN, square=True)
        index = visible_vertices(vertices, template.mesh.faces, template.camera.cropped(window), size)
        pixels = image_fractions(template.camera, vertices[index])
        return cls(index, pixels, max((box[2] - box[0]) * frame.aspect, box[3] - box[1]))
