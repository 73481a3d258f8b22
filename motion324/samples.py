"""Training samples: a window's frames from one random camera, and surface points with their true trajectories."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from motion324.clips import Clip
from motion324.observations import observe, visible_points
from motion324.view_frame import CUBE, crop_window, following_crops, view_frame
from v2m4.camera import Camera, Orbit
from v2m4.geometry import vertex_normals
from v2m4.render import render
from v2m4.rotation import rotation_exp

SUPERSAMPLING = 2
STRETCH = 0.12  # deviation of the logarithms of the stretches along the axes
JITTER = 0.03  # deviation of the camera's rotation from the one that the mesh is placed by, radians
LEAST_VISIBLE = 0.02  # share of the first frame that the object covers


@dataclass(frozen=True)
class SampleConfig:
    """What a sample consists of.

    Attributes:
        size: side of the frames, pixels.
        points: surface points stored, P.
        camera_axes: whether points have the camera's axes or the object's; see ``view_frame``.
        yaw: largest yaw of the camera from the front, degrees.
    """

    size: int = 112
    points: int = 4096
    camera_axes: bool = True
    yaw: float = 180.0


@dataclass(frozen=True)
class Sample:
    """A window of frames and the trajectories of surface points, as stored.

    Attributes:
        frames: (T, S, S, 4) uint8, sRGB and coverage; colours are straight (not weighted by the coverage).
        points: (T, P, 3) float16 in the normalised space of the first frame's pose.
        normals: (P, 3) float16 of the first frame's pose.
        colors: (P, 3) uint8 sRGB, without light.
        crops: (T, 3) float32, see ``view_frame.following_crops``.
        observed: (T - 1, P, ``observations.CHANNELS``) float16, see ``observations.observe``; without channels if the
            camera is unknown.
    """

    frames: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    crops: np.ndarray
    observed: np.ndarray


def random_camera(vertices: Tensor, yaw: float, rng: np.random.Generator) -> Camera:
    """A camera outside of the object: any yaw up to a limit (degrees), pitch about -20 to 40 degrees, any focal length.

    Args:
        vertices: (V, 3).
        yaw: largest yaw from the front, degrees.
        rng: of the camera.
    """
    lower, upper = vertices.amin(0), vertices.amax(0)
    size, centre = float((upper - lower).max()), (lower + upper) / 2
    fov = math.radians(rng.uniform(20, 50))
    distance = size * (rng.uniform(0.75, 1.0) / (2 * math.tan(fov / 2)) + 0.7)
    pitch = math.radians(float(np.clip(rng.normal(8, 12), -20, 40)))
    turn = math.radians(rng.uniform(-yaw, yaw))
    if yaw > 90 and rng.uniform() < 0.3:  # front and sides are frequent in videos
        turn = math.pi / 2 * int(rng.integers(4)) + rng.normal(0, 0.15)
    return Orbit.of(turn, pitch, distance, tuple(centre.tolist())).camera(fov)


def random_sample(clip: Clip, config: SampleConfig, rng: np.random.Generator) -> Sample | None:
    """A random view of a clip; None where the object is hardly visible in the first frame."""
    vertices = _unit(clip.vertices) * torch.from_numpy(np.exp(rng.normal(0, STRETCH, 3)).astype(np.float32))
    camera = random_camera(vertices[0], config.yaw, rng)
    turned = camera  # as a camera that was estimated would be
    if config.camera_axes:
        error = rotation_about(rng.normal(0, JITTER, 3))
        turned = Camera(error @ camera.extrinsics, camera.fov, camera.aspect)
    frame = view_frame(vertices[0], turned, config.camera_axes, CUBE * float(rng.uniform(0.95, 1.05)))
    # The picture is the true camera's; its window is the one about the reference's centre.
    window = view_frame(vertices[0], camera, config.camera_axes, CUBE).camera.window
    crops = following_crops(_boxes(vertices, camera.cropped(window)))
    if not config.camera_axes:
        crops = crops[:1].expand(len(vertices), -1)
    cameras = [camera.cropped(crop_window(window, crop)) for crop in crops]
    large = _pictures(clip, vertices, cameras, SUPERSAMPLING * config.size, rng)
    frames = _reduced(large)
    if float(frames[0, ..., 3].mean()) < LEAST_VISIBLE:
        return None
    faces, weights = surface_points(vertices[0], clip.faces, config.points, rng)
    corners = clip.faces[faces]

    def interpolated(values: Tensor, at: Tensor) -> Tensor:
        return (values[..., at.reshape(-1), :].unflatten(-2, (-1, 3)) * weights[..., None]).sum(-2)

    normals = normals_on(vertices[0], clip.faces, faces, weights) @ frame.rotation.T
    if clip.texture is not None and clip.uvs is not None:
        uvs = interpolated(clip.uvs, corners if clip.uv_faces is None else clip.uv_faces[faces])
        colors = texels(clip.texture, uvs)
    else:
        colors = torch.ones(len(faces), 3) if clip.colors is None else interpolated(clip.colors, corners)
    world = interpolated(vertices, corners)
    points = frame.normalised(world)
    observed = np.zeros((len(vertices) - 1, config.points, 0), np.float16)
    if config.camera_axes:
        visible = visible_points(world[0], normals @ frame.rotation, vertices[0], clip.faces, cameras[0])
        shown = large[..., :3].permute(0, 3, 1, 2)
        found = observe(shown, crops, points[0], normals, visible, frame.eye())
        observed = found.to(torch.float16).numpy()
    return Sample(
        (frames * 255).round().to(torch.uint8).numpy(),
        points.to(torch.float16).numpy(),
        normals.to(torch.float16).numpy(),
        (colors.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
        crops.numpy(),
        observed,
    )


def _unit(vertices: Tensor) -> Tensor:
    """Poses (T, V, 3), the first one's bounding box centred, its longest side 1: files have any unit."""
    lower, upper = vertices[0].amin(0), vertices[0].amax(0)
    return (vertices - (lower + upper) / 2) / (upper - lower).max().clamp_min(1e-9)


def _boxes(vertices: Tensor, camera: Camera) -> Tensor:
    """Bounding boxes (T, 4) of poses (T, V, 3) in fractions of the camera's window."""
    pixels, _ = camera.project(vertices.flatten(0, 1)[None], (1, 1))
    pixels = pixels[0].unflatten(0, vertices.shape[:2])
    return torch.cat([pixels.amin(1), pixels.amax(1)], 1)


def rotation_about(vector: np.ndarray) -> Tensor:
    """Extrinsics (1, 4, 4) of a rotation by a vector (3,), radians."""
    matrix = torch.eye(4)[None].clone()
    matrix[0, :3, :3] = torch.from_numpy(rotation_exp(np.asarray(vector)[None])[0]).float()
    return matrix


def surface_points(vertices: Tensor, faces: Tensor, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Uniform random points on a surface: faces (N,) and barycentric weights (N, 3)."""
    corners = vertices[faces]
    area = torch.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1).norm(dim=-1).double()
    cumulative = area.cumsum(0).numpy()
    chosen = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], count)).clip(max=len(faces) - 1)
    first, second = rng.uniform(size=(2, count))
    root = np.sqrt(first)
    weights = np.stack([1 - root, root * (1 - second), root * second], 1).astype(np.float32)
    return torch.from_numpy(chosen), torch.from_numpy(weights)


def normals_on(vertices: Tensor, faces: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Unit normals (N, 3) at surface points, interpolated between the vertices' normals."""
    corners = vertex_normals(vertices, faces)[faces[places]]
    return normalize((corners * weights[..., None]).sum(1), dim=-1)


def texels(texture: Tensor, uvs: Tensor) -> Tensor:
    """Nearest texels (N, 3) at texture coordinates (N, 2) that repeat."""
    height, width = texture.shape[:2]
    place = (uvs % 1.0 * torch.tensor([width, height])).long()
    return texture[place[:, 1].clamp(max=height - 1), place[:, 0].clamp(max=width - 1)]


def _pictures(clip: Clip, vertices: Tensor, cameras: list[Camera], size: int, rng: np.random.Generator) -> Tensor:
    """Frames (T, S, S, 4) under one random light, each by its own camera; colours are weighted by the coverage."""
    light = torch.from_numpy((rng.normal(0, 1, 3) * [1, 1, 0.7] + [0, -0.6, -0.8]).astype(np.float32))
    light = light / light.norm()
    ambient = 1.0 if rng.uniform() < 0.15 else float(rng.uniform(0.25, 0.8))
    gain, banded = float(rng.uniform(0.9, 1.3)), rng.uniform() < 0.15
    rendered = [
        render(
            pose[None], clip.faces, camera, size, colors=clip.colors, uvs=clip.uvs,
            uv_faces=clip.uv_faces, texture=clip.texture, channels=("color", "normal"),
        )
        for pose, camera in zip(vertices, cameras, strict=True)
    ]  # fmt: skip
    color, normal, mask = (torch.cat([getattr(one, part) for one in rendered]) for part in ("color", "normal", "mask"))
    lit = (normal @ light).clamp(0, 1)[..., None]
    if banded:
        lit = (lit * 3).floor() / 3 + 1 / 6
    shade = ambient + (1 - ambient) * lit * gain
    return torch.cat([(color * shade).clamp(0, 1), mask.clamp(0, 1)], -1)


def _reduced(pictures: Tensor) -> Tensor:
    """Pictures (T, S, S, 4) of half the size, colours not weighted by the coverage any more."""
    picture = avg_pool2d(pictures.permute(0, 3, 1, 2), SUPERSAMPLING)
    straight = (picture[:, :3] / picture[:, 3:].clamp_min(1e-3)).clamp(0, 1)
    return torch.cat([straight, picture[:, 3:]], 1).permute(0, 2, 3, 1)
