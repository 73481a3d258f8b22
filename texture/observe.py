"""Observations of the texture: for each pixel that shows the mesh, texture coordinates, colour and weight.

Confidence in a pixel falls with the angle between surface normal and line of sight, and towards outlines and
occlusions, where pose errors and mixed pixels do most harm.
"""

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
from v2m4.camera import Camera, Orbit, hammersley_rig
from v2m4.frame import Frame
from v2m4.kernels import kernel
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.threads import in_order, in_runs, share

MARGIN = 0.02  # of the object's longer side, added on each side of a view's window
EDGE_RAMP = (1.0, 4.0)  # pixels from an edge at which confidence begins to rise from 0, and at which it is 1
OCCLUSION_STEP = 3.0  # distance of a neighbour from the tangent plane that counts as an occlusion, pixel footprints
FACING_POWER = 1.5  # exponent of the cosine between normal and line of sight, for the confidence
ASSET_GAP = 0.1  # of the object's size: depth difference beyond which the asset shows another part than the mesh
MOST_FRAMES = 32  # whose pixels are kept in memory; of longer videos each frame keeps its share
PHASE = 7919  # pixels from the first that one frame keeps to that of the next
MIN_COLOR_CONFIDENCE = 0.5  # in an asset's colours, below which they are not used


@dataclass(frozen=True)
class ObservedPixels:
    """The N pixels of one image that show the surface.

    Attributes:
        uvs: (N, 2) float32, texture coordinates of the surface at the pixels' centres.
        colors: (N, 3) float32 sRGB in [0, 1].
        weights: (N,) float32 in (0, 1].
        normals: (N, 3) float32, unit normals of the surface in the space of the poses.
    """

    uvs: np.ndarray
    colors: np.ndarray
    weights: np.ndarray
    normals: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def thinned(self, number: int, count: int) -> ObservedPixels:
        """The share of the pixels that one of ``count`` frames keeps: together no more than ``MOST_FRAMES`` have.

        Pixels are kept at even steps in the order of the rows, from another one in each frame, so that all frames see
        all parts of the surface, and memory does not grow with the length of a video.

        Args:
            number: of the frame.
            count: of all frames.
        """
        if count <= MOST_FRAMES:
            return self
        steps = (np.arange(len(self) + 1, dtype=np.int64) + number * PHASE) * MOST_FRAMES // count
        kept = np.flatnonzero(np.diff(steps))
        return ObservedPixels(self.uvs[kept], self.colors[kept], self.weights[kept], self.normals[kept])


@dataclass(frozen=True)
class RenderedSurface:
    """The rendering of a mesh from one camera, images (H, W, ...).

    Attributes:
        covered: (H, W) bool, pixels that show the mesh.
        uvs: (H, W, 2) float32 texture coordinates.
        depth: (H, W) float32, camera z in units of space.
        confidence: (H, W) float32 in [0, 1]: a power of the view cosine, falling to 0 at outlines and occlusions.
        normals: (H, W, 3) float32, normals of any length in the space of the mesh.
    """

    covered: np.ndarray
    uvs: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    normals: np.ndarray


def object_window(vertices: Tensor, camera: Camera, margin: float = MARGIN) -> tuple[float, float, float, float]:
    """Window of the image, square in pixels, about a projected mesh.

    Args:
        vertices: (V, 3).
        camera: a batch of one.
        margin: free space on each side, of the object's longer side.

    Returns:
        x0, y0, x1, y1 in fractions of the image, as in ``Camera.window``.

    Raises:
        ValueError: every vertex is behind the camera.
    """
    clip = camera.clip(vertices)[0]
    ahead = clip[:, 3] > 1e-6
    if not bool(ahead.any()):
        raise ValueError("object_window: the whole mesh is behind the camera")
    points = (clip[ahead, :2] / clip[ahead, 3:] + 1) / 2
    points = points.clamp(-0.5, 1.5)
    lower, upper = points.amin(0).tolist(), points.amax(0).tolist()
    height = max((upper[0] - lower[0]) * camera.aspect, upper[1] - lower[1], 1e-3) * (1 + 2 * margin)
    width = height / camera.aspect
    x, y = (lower[0] + upper[0]) / 2, (lower[1] + upper[1]) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def render_surface(
    vertices: Tensor, faces: Tensor, normals: Tensor, atlas: Atlas, camera: Camera, size: tuple[int, int]
) -> RenderedSurface:
    """Rasterised mesh from one camera, with the confidence of each pixel.

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
    camera_normals = normals @ camera.extrinsics[0, :3, :3].T
    values = ops.interpolate(torch.cat([points, camera_normals[None]], 2), raster, faces.int())[0].cpu().numpy()
    uvs = torch.from_numpy(atlas.uvs).to(vertices.device)
    uv_faces = torch.from_numpy(atlas.uv_faces).to(vertices.device).int()
    surface_uvs = ops.interpolate(uvs[None], raster, uv_faces)[0].cpu().numpy()
    covered = raster[0, ..., 3].cpu().numpy() > 0
    footprint = 1.0 / float(camera.intrinsics(size)[1, 1])
    continuous, cosine = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.float32)
    share(_continuity_and_cosine, size[0], values, covered, OCCLUSION_STEP * footprint, continuous, cosine)
    confidence = cosine**FACING_POWER * _edge_confidence(continuous)
    world_normals = values[..., 3:] @ camera.extrinsics[0, :3, :3].cpu().numpy()
    return RenderedSurface(covered, surface_uvs, values[..., 2], confidence, world_normals)


def observe_frames(frames: list[Frame], poses: Tensor, mesh: Mesh, atlas: Atlas, size: int) -> list[ObservedPixels]:
    """Pixels of every frame that show the mesh in that frame's pose; see ``ObservedPixels.thinned``.

    Args:
        frames: T frames.
        poses: (T, V, 3) in the video camera's space.
        mesh: gives the faces.
        atlas: texture coordinates of the faces.
        size: rows of each view, which is cropped to the object.

    Raises:
        ValueError: not one pose per frame, or no frame shows the mesh.
    """
    if len(frames) != len(poses):
        raise ValueError(f"observe_frames: {len(frames)} frames, but {len(poses)} poses")

    def observe(number: int) -> ObservedPixels:
        rendered = render_in_frame(frames[number], mesh.with_vertices(poses[number]), atlas, size)
        return observed_pixels(*rendered).thinned(number, len(frames))

    views = list(in_runs(observe, range(len(frames)), several=poses.device.type == "cpu"))
    if not any(len(view) for view in views):
        raise ValueError("observe_frames: no frame shows any of the mesh; do the poses and the masks overlap?")
    return views


def render_in_frame(
    frame: Frame, posed: Mesh, atlas: Atlas, size: int
) -> tuple[RenderedSurface, np.ndarray, np.ndarray]:
    """Rendering of a posed mesh and the frame, both in the window about the mesh.

    Returns:
        The rendered surface (H, W), the frame's colours times its mask (H, W, 3) and the mask (H, W, 1).
    """
    camera = frame.camera(posed.vertices.device)
    camera = camera.cropped(object_window(posed.vertices, camera))
    image, mask = (value.numpy() for value in frame.tensors(size, camera.window, background=0.0))
    surface = render_surface(posed.vertices, posed.faces, posed.normals(), atlas, camera, image.shape[:2])
    return surface, image, mask


def observed_pixels(
    surface: RenderedSurface, image: np.ndarray, mask: np.ndarray, confidence: np.ndarray | float = 1.0
) -> ObservedPixels:
    """Pixels of an image that show the surface, with their weights.

    The weight is the product of the surface's confidence, the mask, a ramp at the mask's edge and ``confidence``.

    Args:
        surface: rendering of the mesh, (H, W).
        image: (H, W, 3) sRGB in [0, 1], times the mask.
        mask: (H, W, 1) in [0, 1].
        confidence: (H, W) or a number, a further factor.
    """
    alpha = mask[..., 0]
    weights = confidence * surface.confidence * alpha * _edge_confidence((alpha > 0.5).astype(np.uint8))
    kept = surface.covered & (weights > 1e-4)
    colors = np.clip(image[kept] / np.maximum(mask[kept], 1e-3), 0.0, 1.0)
    normals = surface.normals[kept]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return ObservedPixels(surface.uvs[kept], colors.astype(np.float32), weights[kept].astype(np.float32), normals)


def observe_asset(asset: Mesh, mesh: Mesh, atlas: Atlas, count: int, size: int, weight: float) -> list[ObservedPixels]:
    """Pixels of renders of the first frame's own asset from cameras on a sphere, with texture coordinates of the mesh.

    Pixels that show colours of low confidence (``Mesh.color_confidence``) are left out: the texels that nothing else
    shows are inpainted.

    Args:
        asset: with a texture or vertex colours, in the pose of ``mesh``, of any topology.
        mesh: in the first frame's pose.
        atlas: texture coordinates of ``mesh``.
        count: number of cameras, spread evenly over the sphere.
        size: pixels (side) of a view.
        weight: factor on the weights of these pixels; a frame's is 1.
    """
    extent = float(mesh.normalizing()[0, 0].reciprocal())

    def observe(camera: Camera) -> ObservedPixels:
        surface = render_surface(mesh.vertices, mesh.faces, mesh.normals(), atlas, camera, (size, size))
        rendered = render_mesh(asset, camera, size, channels=("color", "depth"), antialias=False)
        visible = rendered.mask[0, ..., 0].cpu().numpy() > 0.5
        gap = np.abs(rendered.depth[0, ..., 0].cpu().numpy() - surface.depth)
        agrees = (visible & (gap < ASSET_GAP * extent)).astype(np.float32)[..., None]
        confidence = weight * _color_confidence(asset, camera, size)
        return observed_pixels(surface, rendered.color[0].cpu().numpy() * agrees, agrees, confidence)

    on_cpu = mesh.vertices.device.type == "cpu"
    return in_order(observe, _surrounding_cameras(mesh, count, extent), several=on_cpu)


def _color_confidence(asset: Mesh, camera: Camera, size: int) -> np.ndarray | float:
    """Confidence in the colours of an asset's rendering, (H, W) in [0, 1]; 0 below ``MIN_COLOR_CONFIDENCE``."""
    if asset.color_confidence is None:
        return 1.0
    as_color = Mesh(asset.vertices, asset.faces, colors=asset.color_confidence[:, None].expand(-1, 3))
    rendered = render_mesh(as_color, camera, size, channels=("color",), antialias=False)
    confidence = rendered.color[0, ..., 0].cpu().numpy()
    return np.where(confidence >= MIN_COLOR_CONFIDENCE, confidence, 0.0).astype(np.float32)


def _surrounding_cameras(mesh: Mesh, count: int, extent: float) -> Iterator[Camera]:
    """Cameras that show the whole mesh, spread evenly on a sphere about the centre of its box (Hammersley points)."""
    lower, upper = mesh.bounds()
    rig = hammersley_rig(count, 2.0 * extent).to(mesh.vertices.device)
    orbit = Orbit(rig.yaw, rig.pitch, rig.radius, rig.look_at + (lower + upper) / 2)
    camera = orbit.camera()
    yield from (camera[index] for index in range(count))


def _edge_confidence(inside: np.ndarray) -> np.ndarray:
    """Ramp (H, W) from 0 at a mask's edge to 1 inside; mask (H, W) uint8. The image's border is no edge."""
    padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip((distance - EDGE_RAMP[0]) / (EDGE_RAMP[1] - EDGE_RAMP[0]), 0.0, 1.0)


@kernel("i8, i8, f4[:,:,::1], b1[:,::1], f8, u1[:,::1], f4[:,::1]")
def _continuity_and_cosine(first, last, values, covered, max_step, continuous, cosine):
    """Mark pixels without an outline or occlusion beside them, and compute the view cosine of each. Tasks: H.

    Two neighbouring pixels count as one surface when each is near the other's tangent plane. The distance between them
    would be no criterion: it is large on any oblique surface.

    Args:
        first: task to begin with.
        last: task to end before.
        values: (H, W, 6) float32, camera-space position and normal (of any length).
        covered: (H, W) bool.
        max_step: distance from the tangent plane, per unit of depth, that counts as an occlusion.
        continuous: (H, W) uint8, written.
        cosine: (H, W) float32, written; cosine between normal and line of sight, 0 where the surface faces away.
    """
    height, width = covered.shape
    for row in range(first, last):
        for column in range(width):
            if not covered[row, column]:
                continue
            a = values[row, column]
            length_a = math.sqrt(a[3] * a[3] + a[4] * a[4] + a[5] * a[5]) + 1e-12
            distance = math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]) + 1e-12
            facing = -(a[0] * a[3] + a[1] * a[4] + a[2] * a[5]) / (length_a * distance)
            cosine[row, column] = max(0.0, facing)
            is_continuous = True
            for k in range(4):
                r, c = row + (k == 0) - (k == 1), column + (k == 2) - (k == 3)
                if r < 0 or c < 0 or r >= height or c >= width:
                    continue
                if not covered[r, c]:
                    is_continuous = False
                    break
                b = values[r, c]
                length_b = math.sqrt(b[3] * b[3] + b[4] * b[4] + b[5] * b[5]) + 1e-12
                x, y, z = b[0] - a[0], b[1] - a[1], b[2] - a[2]
                offset_from_a = abs(x * a[3] + y * a[4] + z * a[5]) / length_a
                offset_from_b = abs(x * b[3] + y * b[4] + z * b[5]) / length_b
                if max(offset_from_a, offset_from_b) > max_step * a[2]:
                    is_continuous = False
                    break
            continuous[row, column] = is_continuous
