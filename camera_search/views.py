"""Parametrisation of cameras for the search: rotation of the camera, and position of the object in the image.

With the paper's six numbers the object moves across the image when the camera rotates, and one of them (``look_at``
along the optical axis) has no effect. Here a view is (yaw, pitch, a, b, log depth): rotation of the camera, tangents of
the object's centre (0 is the optical axis, a to the right, b downwards), and the logarithm of the centre's depth.
A rotation leaves the object's centre in its place, and each number has its own effect on the image. These are the five
degrees of freedom of an upright camera; ``ViewParameters`` converts in both directions. An optional sixth is the roll.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from v2m4.camera import DEFAULT_FOV, Camera, Orbit, orbit_from_extrinsics
from v2m4.mesh import Mesh
from v2m4.rotation import angles_between, axis_rotation

DIMENSIONS = 5
NEAREST = 0.05  # least depth of an object's centre, units of space


@dataclass(frozen=True)
class ViewParameters:
    """Conversion between cameras and view parameters, for one object in one image.

    Attributes:
        center: (3,) the object's centre in its canonical pose.
        aspect: width / height of the whole image.
        fov: vertical field of view of the whole image, radians.
    """

    center: Tensor
    aspect: float = 1.0
    fov: float = DEFAULT_FOV

    @classmethod
    def of_mesh(cls, mesh: Mesh, aspect: float, fov: float = DEFAULT_FOV) -> ViewParameters:
        """Parameters about the centre of the mesh's bounding box."""
        lower, upper = mesh.bounds()
        return cls((lower + upper) / 2, aspect, fov)

    @property
    def half_width(self) -> float:
        """Tangent of half the horizontal field of view."""
        return math.tan(self.fov / 2) * self.aspect

    @property
    def half_height(self) -> float:
        """Tangent of half the vertical field of view."""
        return math.tan(self.fov / 2)

    def steps(self, sizes: Sequence[float]) -> Tensor:
        """Step sizes (D,) in view parameters, given for the default field of view, scaled to this one.

        The tangents of the object's centre shrink with the field of view; angles and relative depths do not.
        """
        narrower = math.tan(self.fov / 2) / math.tan(DEFAULT_FOV / 2)
        return torch.tensor([size * narrower if place in (2, 3) else size for place, size in enumerate(sizes)])

    def orbit(self, views: Tensor) -> Orbit:
        """Orbits of views (B, 5), differentiable; ``look_at`` is on the optical axis at the centre's depth."""
        yaw, pitch, across, downwards, log_depth = views.unbind(1)
        rotation = rotations(yaw, pitch)
        depth = log_depth.exp()
        aside = across[:, None] * rotation[:, 0] + downwards[:, None] * rotation[:, 1]
        return Orbit(yaw, pitch, depth, self.center.to(views) - depth[:, None] * aside)

    def camera(self, views: Tensor) -> Camera:
        """Cameras of views (B, 5), or (B, 6) with roll, for the whole image, differentiable."""
        if views.shape[1] == DIMENSIONS:
            return self.orbit(views).camera(self.fov, self.aspect)
        yaw, pitch, across, downwards, log_depth, roll = views.unbind(1)
        rotation = rolled(rotations(yaw, pitch), roll)
        place = log_depth.exp()[:, None] * torch.stack([across, downwards, torch.ones_like(across)], 1)
        translation = place - rotation @ self.center.to(views)
        bottom = views.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(views), 1, 4)
        return Camera(torch.cat([torch.cat([rotation, translation[..., None]], 2), bottom], 1), self.fov, self.aspect)

    def views(self, orbit: Orbit) -> Tensor:
        """Views (B, 5) of orbits.

        Raises:
            ValueError: the object's centre is behind a camera.
        """
        return self.views_of(orbit.camera(self.fov, self.aspect).extrinsics)

    def views_of(self, extrinsics: Tensor) -> Tensor:
        """Views (B, 5) of extrinsics (B, 4, 4); the centre keeps its position in the image, roll is dropped.

        Raises:
            ValueError: the object's centre is behind a camera.
        """
        center_in_camera = extrinsics[:, :3, :3] @ self.center.to(extrinsics) + extrinsics[:, :3, 3]
        if bool((center_in_camera[:, 2] < NEAREST).any()):
            raise ValueError(
                f"views: the object's centre is {float(center_in_camera[:, 2].min()):.3g} in front of the camera"
            )
        orbit = orbit_from_extrinsics(extrinsics, center_in_camera[:, 2])
        tangents = center_in_camera[:, :2] / center_in_camera[:, 2:]
        return torch.cat([orbit.yaw[:, None], orbit.pitch[:, None], tangents, center_in_camera[:, 2:].log()], 1)


def rotations(yaw: Tensor, pitch: Tensor) -> Tensor:
    """World to camera rotations (B, 3, 3) of upright cameras; yaw, pitch: (B,) radians."""
    zeros = torch.zeros_like(yaw)
    return Orbit(yaw, pitch, zeros + 1, torch.stack([zeros] * 3, 1)).camera().extrinsics[:, :3, :3]


def rolled(rotation: Tensor, roll: Tensor) -> Tensor:
    """World to camera rotations (B, 3, 3) followed by turns about the optical axis, (B,) radians, of the picture."""
    return axis_rotation(2, roll) @ rotation


def view_angles(first: Tensor, second: Tensor) -> Tensor:
    """Geodesic angles in radians between views (B, 5) and (C, 5), (B, C)."""
    return angles_between(rotations(first[:, 0], first[:, 1])[:, None], rotations(second[:, 0], second[:, 1])[None])
