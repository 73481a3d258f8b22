"""Pinhole and orbit cameras; the only module that defines the coordinate conventions (DESIGN section 2).

World: right-handed, y up, objects face +z. Camera: OpenCV axes (x right, y down, z forward). Image: row 0 is the top.
Clip space has y = -1 at row 0, so that a rasteriser whose first row is y = -1 gives an upright picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

DEFAULT_FOV = math.radians(40.0)
NEAR, FAR = 0.01, 100.0  # of a camera with the default field of view
OPENCV_TO_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))  # glTF's camera axes: y up, view direction -z


@dataclass(frozen=True)
class Camera:
    """A batch of pinhole cameras that share the intrinsics of one picture, or of a window of it.

    Attributes:
        extrinsics: (B, 4, 4) world to camera, rigid.
        fov: vertical field of view of the whole picture, radians.
        aspect: width / height of the whole picture.
        window: (x0, y0, x1, y1), the part of the picture that is rendered (a crop), in fractions of its width and
            height.
    """

    extrinsics: Tensor
    fov: float = DEFAULT_FOV
    aspect: float = 1.0
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.extrinsics.ndim != 3 or self.extrinsics.shape[1:] != (4, 4):
            raise ValueError(f"extrinsics: expected (B, 4, 4), got {tuple(self.extrinsics.shape)}")

    @classmethod
    def identity(cls, fov: float = DEFAULT_FOV, aspect: float = 1.0, device: torch.device | str = "cpu") -> Camera:
        """The video's camera: from stage 2 on all coordinates are in its space."""
        return cls(torch.eye(4, device=device)[None], fov, aspect)

    def __len__(self) -> int:
        return len(self.extrinsics)

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        extrinsics = self.extrinsics[index]
        return replace(self, extrinsics=extrinsics[None] if extrinsics.ndim == 2 else extrinsics)

    def to(self, device: torch.device | str) -> Camera:
        """The same cameras on ``device``."""
        return replace(self, extrinsics=self.extrinsics.to(device))

    def cropped(self, window: tuple[float, float, float, float]) -> Camera:
        """The same cameras with another window of the whole picture.

        Raises:
            ValueError: the window is empty.
        """
        x0, y0, x1, y1 = window
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"window: expected x0 < x1 and y0 < y1, got {window}")
        return replace(self, window=window)

    @property
    def zoom(self) -> float:
        """Focal length relative to that of the default field of view."""
        return math.tan(DEFAULT_FOV / 2) / math.tan(self.fov / 2)

    @property
    def depth_range(self) -> tuple[float, float]:
        """Near and far plane; proportional to the focal length, as the distance of an object of fixed apparent size is.

        With a fixed near plane, float32 depth could not resolve the front and back of an object far from a long lens.
        """
        return NEAR * self.zoom, FAR * self.zoom

    def positions(self) -> Tensor:
        """Camera centres in world space, (B, 3)."""
        rotation, translation = self.extrinsics[:, :3, :3], self.extrinsics[:, :3, 3]
        return -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]

    def intrinsics(self, size: tuple[int, int]) -> Tensor:
        """Intrinsic matrix (3, 3) of the window at ``size`` (height, width); pixel (0, 0) is centred at (0.5, 0.5)."""
        height, width = size
        x0, y0, x1, y1 = self.window
        focal_y = 0.5 / math.tan(self.fov / 2)
        focal_x = focal_y / self.aspect
        scale_x, scale_y = width / (x1 - x0), height / (y1 - y0)
        return torch.tensor(
            [
                [focal_x * scale_x, 0.0, (0.5 - x0) * scale_x],
                [0.0, focal_y * scale_y, (0.5 - y0) * scale_y],
                [0.0, 0.0, 1.0],
            ],
            dtype=self.extrinsics.dtype,
            device=self.extrinsics.device,
        )

    def projection(self) -> Tensor:
        """Projection matrix (4, 4) from camera space to clip space."""
        pixel = self.intrinsics((2, 2))  # clip coordinates are pixels of a 2 x 2 picture, minus one
        matrix = torch.zeros(4, 4, dtype=self.extrinsics.dtype, device=self.extrinsics.device)
        matrix[:2, :3] = pixel[:2]
        matrix[:2, 2] -= 1.0
        near, far = self.depth_range
        matrix[2, 2] = (far + near) / (far - near)
        matrix[2, 3] = -2.0 * far * near / (far - near)
        matrix[3, 2] = 1.0
        return matrix

    def to_camera_space(self, points: Tensor) -> Tensor:
        """Transform world points (N, 3) or (B, N, 3) to camera space, (B, N, 3)."""
        return points @ self.extrinsics[:, :3, :3].transpose(1, 2) + self.extrinsics[:, None, :3, 3]

    def clip(self, points: Tensor) -> Tensor:
        """Transform world points (N, 3) or (B, N, 3) to clip space, (B, N, 4)."""
        matrix = self.projection() @ self.extrinsics
        return points @ matrix[:, :, :3].transpose(1, 2) + matrix[:, None, :, 3]

    def project(self, points: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Project world points: pixels (B, N, 2) as (x, y), the first centred at (0.5, 0.5), and depths (B, N)."""
        seen = self.to_camera_space(points)
        depth = seen[..., 2]
        pixels = seen @ self.intrinsics(size).T
        return pixels[..., :2] / depth[..., None], depth

    def unproject(self, pixels: Tensor, depth: Tensor, size: tuple[int, int]) -> Tensor:
        """World points (B, N, 3) of pixels (B, N, 2) at depths (B, N); the inverse of ``project``."""
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
        rays = homogeneous @ torch.linalg.inv(self.intrinsics(size)).T
        seen = rays * depth[..., None]
        return (seen - self.extrinsics[:, None, :3, 3]) @ self.extrinsics[:, :3, :3]


@dataclass(frozen=True)
class Orbit:
    """A batch of upright cameras by six parameters (V2M4, section 3.2).

    Attributes:
        yaw: (B,) radians; at 0 the camera is on +z and views the object's front, at pi/2 on +x.
        pitch: (B,) radians; positive is above, looking down.
        radius: (B,) distance from ``look_at``.
        look_at: (B, 3).
    """

    yaw: Tensor
    pitch: Tensor
    radius: Tensor
    look_at: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor) -> Orbit:
        """Split parameters (B, 6): yaw, pitch, radius, look_at."""
        return cls(parameters[:, 0], parameters[:, 1], parameters[:, 2], parameters[:, 3:6])

    @classmethod
    def of(
        cls, yaw: float = 0.0, pitch: float = 0.0, radius: float = 2.0, look_at: tuple[float, ...] = (0, 0, 0)
    ) -> Orbit:
        """One camera (batch of 1); angles in radians."""
        return cls.from_parameters(torch.tensor([[yaw, pitch, radius, *look_at]], dtype=torch.float32))

    def parameters(self) -> Tensor:
        """The parameters (B, 6): yaw, pitch, radius, look_at."""
        return torch.cat([torch.stack([self.yaw, self.pitch, self.radius], 1), self.look_at], 1)

    def __len__(self) -> int:
        return len(self.yaw)

    def __getitem__(self, index: int | slice | Tensor) -> Orbit:
        chosen = self.parameters()[index]
        return Orbit.from_parameters(chosen[None] if chosen.ndim == 1 else chosen)

    def to(self, device: torch.device | str) -> Orbit:
        """The same cameras on ``device``."""
        return Orbit.from_parameters(self.parameters().to(device))

    def camera(self, fov: float = DEFAULT_FOV, aspect: float = 1.0) -> Camera:
        """The pinhole cameras, differentiable in the six parameters."""
        sin_yaw, cos_yaw = torch.sin(self.yaw), torch.cos(self.yaw)
        sin_pitch, cos_pitch = torch.sin(self.pitch), torch.cos(self.pitch)
        zero = torch.zeros_like(self.yaw)
        right = torch.stack([cos_yaw, zero, -sin_yaw], 1)
        backward = torch.stack([sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch], 1)
        down = torch.cross(right, backward, dim=1)
        rotation = torch.stack([right, down, -backward], 1)
        position = self.look_at + self.radius[:, None] * backward
        translation = -(rotation @ position[..., None])
        top = torch.cat([rotation, translation], 2)
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device).expand(len(top), 1, 4)
        return Camera(torch.cat([top, bottom], 1), fov, aspect)


def orbit_from_extrinsics(extrinsics: Tensor, depth: Tensor | float) -> Orbit:
    """Orbit parameters of upright cameras; ``look_at`` is the point of the optical axis at ``depth``.

    Args:
        extrinsics: (B, 4, 4); roll about the optical axis is not representable and is dropped.
        depth: (B,) or a number, the resulting radius.
    """
    rotation = extrinsics[:, :3, :3]
    backward = -rotation[:, 2]
    position = -(rotation.transpose(1, 2) @ extrinsics[:, :3, 3:])[..., 0]
    pitch = torch.asin(backward[:, 1].clamp(-1.0, 1.0))
    yaw = torch.atan2(backward[:, 0], backward[:, 2])
    radius = torch.as_tensor(depth, dtype=position.dtype, device=position.device).expand(len(position))
    return Orbit(yaw, pitch, radius, position - radius[:, None] * backward)


def framing(poses: Tensor, yaw: float, pitch: float, share: float, fov: float = DEFAULT_FOV) -> Tensor:
    """Camera whose square picture centres a motion and fits it to a fraction of the side, by fixed-point iteration.

    Args:
        poses: (T, V, 3).
        yaw: degrees.
        pitch: degrees.
        share: fraction of the picture's side.
        fov: vertical field of view, radians.

    Returns:
        (6,), the parameters of an ``Orbit``.
    """
    points = poses.reshape(-1, 3)
    angles = torch.deg2rad(torch.tensor([yaw, pitch]))[:, None]
    look_at, radius = (points.amin(0) + points.amax(0)) / 2, torch.tensor(2.0)
    for _ in range(8):
        orbit = Orbit(angles[0], angles[1], radius[None], look_at[None])
        camera = orbit.camera(fov)
        pixels, _ = camera.project(points, (1, 1))
        lower, upper = pixels[0].amin(0), pixels[0].amax(0)
        middle = camera.unproject(((lower + upper) / 2)[None, None], radius[None, None], (1, 1))
        look_at = middle[0, 0]
        # The share grows faster than 1 / radius where the camera is near: damp the step for wide lenses.
        radius = radius * ((upper - lower).max() / share) ** min(1.0, camera.zoom)
    return Orbit(orbit.yaw, orbit.pitch, radius[None], look_at[None]).parameters()[0]


def hammersley_rig(count: int, radius: float = 2.0, offset: float = 0.0) -> Orbit:
    """Cameras spread evenly over the sphere about the origin (Hammersley points).

    Args:
        count: number of cameras B.
        radius: distance of each.
        offset: in [0, 1), rotates the whole rig in yaw, by this fraction of a full turn.
    """
    index = torch.arange(count, dtype=torch.float64)
    reverse = torch.zeros_like(index)
    bits, base = index.long().clone(), 0.5
    while bool((bits > 0).any()):
        reverse += base * (bits % 2)
        bits, base = bits // 2, base / 2
    yaw = 2 * math.pi * ((reverse + offset) % 1.0)
    pitch = torch.asin(1 - 2 * (index + 0.5) / max(count, 1))
    zeros = torch.zeros(count, 3)
    return Orbit(yaw.float(), pitch.float(), torch.full((count,), float(radius)), zeros)


def image_fractions(camera: Camera, points: Tensor) -> Tensor:
    """Project points (N, 3) of the first camera to fractions of the picture's width and height, (N, 2)."""
    return camera.project(points, (1, 1))[0][0]


def picture_shape(aspect: float, longer: int) -> tuple[int, int]:
    """Height and width of a picture by its aspect (width / height) and its longer side, pixels."""
    return max(1, round(longer / max(aspect, 1.0))), max(1, round(longer * min(aspect, 1.0)))
