"""What the pictures say about the texels: where each pixel looks them up, its colour, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from texture.unwrap import Atlas
from v2m4 import render as ops
from v2m4.camera import DEFAULT_FOV, Camera, Orbit, hammersley_rig
from v2m4.frame import Frame
from v2m4.kernels import kernel
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.threads import in_order, share

MARGIN = 0.02  # of the object's longer side, left free round it in a cropped view
RIM = (1.0, 4.0)  # pixels from an edge at which trust begins, and at which it is full
STEP = 3.0  # pixel footprints by which a neighbour must leave the tangent plane to count as an occlusion
FACING_POWER = 1.5  # trust falls with this power of the cosine between normal and line of sight
ASSET_GAP = 0.1  # of the object's size: where the first mesh and the sequence lie further apart they show other parts


@dataclass(frozen=True)
class View:
    """The pixels of one picture that see the surface.

    Attributes:
        uvs: (N, 2) float32, where each pixel's centre looks the texture up.
        colors: (N, 3) float32 sRGB in [0, 1].
        weights: (N,) float32 in (0, 1].
    """

    uvs: np.ndarray
    colors: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class Surface:
    """What one camera sees of a mesh, (H, W, ...).

    Attributes:
        covered: bool.
        uvs: (H, W, 2) float32.
        depth: float32, camera z.
        trust: float32 in [0, 1]: the facing cosine's power, falling to 0 at outlines and occlusions.
    """

    covered: np.ndarray
    uvs: np.ndarray
    depth: np.ndarray
    trust: np.ndarray


def object_window(vertices: Tensor, camera: Camera, margin: float = MARGIN) -> tuple[float, float, float, float]:
    """The square window of the picture (square in pixels) round a projected mesh (V, 3), as in ``Camera.window``."""
    clip = camera.clip(vertices)[0]
    ahead = clip[:, 3] > 1e-6
    if not bool(ahead.any()):
        raise ValueError("object_window: the whole mesh lies behind the camera")
    points = (clip[ahead, :2] / clip[ahead, 3:] + 1) / 2
    points = points.clamp(-0.5, 1.5)
    lower, upper = points.amin(0).tolist(), points.amax(0).tolist()
    height = max((upper[0] - lower[0]) * camera.aspect, upper[1] - lower[1], 1e-3) * (1 + 2 * margin)
    width = height / camera.aspect
    x, y = (lower[0] + upper[0]) / 2, (lower[1] + upper[1]) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def see_surface(
    vertices: Tensor, faces: Tensor, normals: Tensor, atlas: Atlas, camera: Camera, size: tuple[int, int]
) -> Surface:
    """Rasterise a mesh from one camera.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        normals: (V, 3) unit vertex normals.
        atlas: texture coordinates of the faces.
        camera: a batch of one.
        size: (height, width) of the picture.
    """
    raster = ops.rasterize(camera.clip(vertices), faces.int(), size)
    points = camera.to_camera_space(vertices)
    turned = normals @ camera.extrinsics[0, :3, :3].T
    values = ops.interpolate(torch.cat([points, turned[None]], 2), raster, faces.int())[0].cpu().numpy()
    uvs = torch.from_numpy(atlas.uvs).to(vertices.device)
    uv_faces = torch.from_numpy(atlas.uv_faces).to(vertices.device).int()
    looked_up = ops.interpolate(uvs[None], raster, uv_faces)[0].cpu().numpy()
    covered = raster[0, ..., 3].cpu().numpy() > 0
    footprint = 1.0 / float(camera.intrinsics(size)[1, 1])
    steady, cosine = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.float32)
    share(_judge_pixels, size[0], values, covered, STEP * footprint, steady, cosine)
    trust = cosine**FACING_POWER * _rim_trust(steady)
    return Surface(covered, looked_up, values[..., 2], trust)


def observe_frames(
    frames: list[Frame], poses: Tensor, mesh: Mesh, atlas: Atlas, size: int, fov: float = DEFAULT_FOV
) -> list[View]:
    """The aligned views: what every frame shows of the mesh in that frame's pose.

    Args:
        frames: T frames.
        poses: (T, V, 3) in the video camera's space.
        mesh: for its faces.
        atlas: texture coordinates of the faces.
        size: rows of each view, cropped to the object.
        fov: of the video's camera, radians.

    Raises:
        ValueError: not one pose per frame, or no frame shows the mesh.
    """
    if len(frames) != len(poses):
        raise ValueError(f"observe_frames: {len(frames)} frames, but {len(poses)} poses")

    def look(pair: tuple[Frame, Tensor]) -> View:
        frame, vertices = pair
        return make_view(*see_frame(frame, mesh.with_vertices(vertices), atlas, size, fov))

    views = in_order(look, zip(frames, poses, strict=True))
    if not any(len(view) for view in views):
        raise ValueError("observe_frames: no frame shows any of the mesh; do the poses and the masks overlap?")
    return views


def see_frame(
    frame: Frame, posed: Mesh, atlas: Atlas, size: int, fov: float = DEFAULT_FOV
) -> tuple[Surface, np.ndarray, np.ndarray]:
    """A frame and the mesh in its pose (V, 3), both in the window round the mesh.

    Returns:
        The surface, the colours times the mask (H, W, 3) and the mask (H, W, 1), all of one size.
    """
    camera = Camera.identity(fov, frame.aspect, posed.vertices.device)
    camera = camera.cropped(object_window(posed.vertices, camera))
    picture, mask = (value.numpy() for value in frame.tensors(size, camera.window, background=0.0))
    surface = see_surface(posed.vertices, posed.faces, posed.normals(), atlas, camera, picture.shape[:2])
    return surface, picture, mask


def make_view(surface: Surface, picture: np.ndarray, mask: np.ndarray, trust: np.ndarray | float = 1.0) -> View:
    """The pixels at which a picture shows the surface.

    Args:
        surface: (H, W).
        picture: (H, W, 3), times the mask.
        mask: (H, W, 1) in [0, 1].
        trust: (H, W) or a number, over and above the surface's own and the mask's.
    """
    alpha = mask[..., 0]
    weights = trust * surface.trust * alpha * _rim_trust((alpha > 0.5).astype(np.uint8))
    kept = surface.covered & (weights > 1e-4)
    colors = np.clip(picture[kept] / np.maximum(mask[kept], 1e-3), 0.0, 1.0)
    return View(surface.uvs[kept], colors.astype(np.float32), weights[kept].astype(np.float32))


def observe_asset(asset: Mesh, mesh: Mesh, atlas: Atlas, count: int, size: int, weight: float) -> list[View]:
    """What cameras all round see of the first frame's own textured asset, read off where the mesh lies in their view.

    Args:
        asset: textured or coloured, in the pose of ``mesh``, of any topology.
        mesh: in the first frame's pose.
        atlas: texture coordinates of ``mesh``.
        count: cameras, spread evenly over the sphere.
        size: pixels (side) of a view.
        weight: of these views, where a frame's weight is 1.
    """
    extent = float(mesh.normalizing()[0, 0].reciprocal())

    def look(camera: Camera) -> View:
        surface = see_surface(mesh.vertices, mesh.faces, mesh.normals(), atlas, camera, (size, size))
        shown = render_mesh(asset, camera, size, channels=("color", "depth"), antialias=False)
        drawn = shown.mask[0, ..., 0].cpu().numpy() > 0.5
        gap = np.abs(shown.depth[0, ..., 0].cpu().numpy() - surface.depth)
        agrees = (drawn & (gap < ASSET_GAP * extent)).astype(np.float32)[..., None]
        return make_view(surface, shown.color[0].cpu().numpy() * agrees, agrees, weight)

    return in_order(look, _cameras_round(mesh, count, extent))


def _cameras_round(mesh: Mesh, count: int, extent: float) -> Iterator[Camera]:
    """Cameras that see the whole mesh, spread evenly about the middle of its box."""
    lower, upper = mesh.bounds()
    rig = hammersley_rig(count, 2.0 * extent).to(mesh.vertices.device)
    orbit = Orbit(rig.yaw, rig.pitch, rig.radius, rig.look_at + (lower + upper) / 2)
    camera = orbit.camera()
    yield from (camera[index] for index in range(count))


def _rim_trust(inside: np.ndarray) -> np.ndarray:
    """From 0 at the edge of a mask (H, W) uint8 to 1 well inside it; the picture's own border is no edge."""
    padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip((distance - RIM[0]) / (RIM[1] - RIM[0]), 0.0, 1.0)


@kernel("i8, i8, f4[:,:,::1], b1[:,::1], f8, u1[:,::1], f4[:,::1]")
def _judge_pixels(first, last, values, covered, step, steady, cosine):
    """Mark pixels that have no outline or occlusion beside them, and find the cosine at which each is seen. Tasks: H.

    Two neighbouring pixels lie on one surface when each lies near the other's tangent plane; the distance between them
    says little, for a slanted surface leaves it large.

    Args:
        first: task to begin with.
        last: task to end before.
        values: (H, W, 6) float32, camera-space position and normal (of any length).
        covered: (H, W) bool.
        step: tangent-plane distance at depth 1 that counts as an occlusion.
        steady: (H, W) uint8, written.
        cosine: (H, W) float32, written; 0 where the surface faces away.
    """
    height, width = covered.shape
    for row in range(first, last):
        for column in range(width):
            if not covered[row, column]:
                continue
            a = values[row, column]
            length = math.sqrt(a[3] * a[3] + a[4] * a[4] + a[5] * a[5]) + 1e-12
            reach = math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]) + 1e-12
            facing = -(a[0] * a[3] + a[1] * a[4] + a[2] * a[5]) / (length * reach)
            cosine[row, column] = max(0.0, facing)
            whole = True
            for k in range(4):
                r, c = row + (k == 0) - (k == 1), column + (k == 2) - (k == 3)
                if r < 0 or c < 0 or r >= height or c >= width:
                    continue
                if not covered[r, c]:
                    whole = False
                    break
                b = values[r, c]
                other = math.sqrt(b[3] * b[3] + b[4] * b[4] + b[5] * b[5]) + 1e-12
                x, y, z = b[0] - a[0], b[1] - a[1], b[2] - a[2]
                mine = abs(x * a[3] + y * a[4] + z * a[5]) / length
                its = abs(x * b[3] + y * b[4] + z * b[5]) / other
                if max(mine, its) > step * a[2]:
                    whole = False
                    break
            steady[row, column] = whole
