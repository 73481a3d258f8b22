"""Point tracks in rendered views of the key frames' meshes, lifted to the meshes' surfaces.

The meshes of all key frames are rendered by fixed cameras (V2M4's point tracking: 20 Hammersley views at
``--tracking_camera_radius``, field of view 40 degrees), each cropped to the meshes' bounding box in it. Points are
sampled on the triangles of one key frame's mesh; the ends of their tracks are lifted to the triangles of the mesh of
another key frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from registration.correspondences.point_trackers import VISIBLE
from registration.keyframes.nonrigid_icp import VertexTargets
from v2m4.camera import Camera, hammersley_rig
from v2m4.image_window import window_around
from v2m4.mesh import Mesh
from v2m4.render import rasterize, render_mesh
from v2m4.surface_points import SurfacePoints
from v2m4.workspace import Arrays

WINDOW_MARGIN = 0.06  # around the meshes in a view, of the longer side of their bounding box
MIN_FACING_COSINE = 0.2  # least cosine of a face's normal and the direction to the camera, to sample or lift
DISAGREEMENT_SCALE = 0.02  # of the object's size: standard deviation of tracks that halves their weight
HEADLIGHT_SHARE = 0.5  # of the lighting of rendered views, in [0, 1]; the rest is ambient
FULL_WINDOW = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TrackingViews:
    """Fixed cameras around all key frames' meshes.

    Attributes:
        matrix: (4, 4) similarity from the video camera's space to the views': the template's longest side is 1, the
            centre of all meshes' bounding box is the origin, and the axes are those of the template's canonical pose.
        cameras: one for each view, cropped to the meshes.
        radius: distance of the cameras from the origin.
        min_radius: least radius at which every view shows all meshes completely.
        leaving: (K,) whether part of each mesh is outside of some view.
    """

    matrix: Tensor
    cameras: list[Camera]
    radius: float
    min_radius: float
    leaving: np.ndarray

    @classmethod
    def around(
        cls, meshes: Sequence[Mesh], reference: int, upright: Tensor, radius: float, count: int
    ) -> TrackingViews:
        """Places Hammersley cameras around all meshes.

        Args:
            meshes: one for each key frame, in the video camera's space.
            reference: index of the template's mesh.
            upright: (4, 4) rigid, from its canonical pose to the video camera's space.
            radius: in units of the template's longest side.
            count: number of cameras.
        """
        every = torch.cat([mesh.vertices for mesh in meshes])
        lower, upper = meshes[reference].bounds()
        scale = 1.0 / float((upper - lower).max().clamp_min(1e-12))
        matrix = torch.eye(4, device=every.device)
        matrix[:3, :3] = scale * upright[:3, :3].to(matrix).T
        matrix[:3, 3] = -matrix[:3, :3] @ ((every.amin(0) + every.amax(0)) / 2)
        sets = [_transformed(mesh.vertices, matrix) for mesh in meshes]
        extent = max(float(points.norm(dim=1).max()) for points in sets)
        cameras, leaving = [], np.zeros(len(meshes), bool)
        rig = hammersley_rig(count, radius).to(every.device)
        for index in range(count):
            camera = rig[index].camera()
            boxes = []
            for position, points in enumerate(sets):
                pixels, depth = camera.project(points, (1, 1))
                in_front = pixels[0][depth[0] > 0]
                inside = in_front[((in_front >= 0) & (in_front <= 1)).all(1)]
                leaving[position] |= len(inside) < len(points)
                if len(inside):
                    low, high = inside.amin(0).tolist(), inside.amax(0).tolist()
                    boxes.append((low[0], low[1], high[0], high[1]))
            window = window_around(boxes, 1.0, WINDOW_MARGIN, square=True) if boxes else FULL_WINDOW
            cameras.append(camera.cropped(_within(window)))
        min_radius = extent / float(np.sin(cameras[0].fov / 2))
        return cls(matrix, cameras, radius, min_radius, leaving)

    def to_view_space(self, mesh: Mesh) -> Mesh:
        """Transforms a mesh from the video camera's space to the views'."""
        return mesh.with_vertices(_transformed(mesh.vertices, self.matrix))


@dataclass(frozen=True)
class SurfaceTracks:
    """P tracks of points of the template, in B views, over K key frames.

    Attributes:
        matrix: (4, 4), as in ``TrackingViews``.
        extrinsics: (B, 4, 4) of the views.
        windows: (B, 4) of the views, as in ``Camera``.
        view: (P,) int64, of each track.
        faces: (P,) int64, triangles of the template.
        weights: (P, 3) barycentric on them.
        positions: (K, P, 2) fractions of the uncropped image.
        confidence: (K, P) in [0, 1].
        counts: (B,) int64, points sampled in each view, also those whose tracks were lost.
    """

    matrix: Tensor
    extrinsics: Tensor
    windows: Tensor
    view: Tensor
    faces: Tensor
    weights: Tensor
    positions: Tensor
    confidence: Tensor
    counts: Tensor

    @property
    def points(self) -> SurfacePoints:
        """The tracked points on the template."""
        return SurfacePoints(self.faces, self.weights)

    def at(self, key: int) -> SurfaceTracks:
        """The tracks that are visible at key frame ``key``, with their positions at it alone, K = 1."""
        ends = replace(self, positions=self.positions[key : key + 1], confidence=self.confidence[key : key + 1])
        return ends.select(torch.nonzero(ends.confidence[0] >= VISIBLE)[:, 0])

    def joined(self, other: SurfaceTracks) -> SurfaceTracks:
        """The concatenation with tracks of the same views and key frames."""
        parts = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in ("view", "faces", "weights")}
        times = {
            name: torch.cat([getattr(self, name), getattr(other, name)], 1) for name in ("positions", "confidence")
        }
        return replace(self, **parts, **times, counts=self.counts + other.counts)

    def select(self, chosen: Tensor) -> SurfaceTracks:
        """The tracks of indices ``chosen`` (N,)."""
        parts = {name: getattr(self, name).index_select(0, chosen) for name in ("view", "faces", "weights")}
        times = {name: getattr(self, name).index_select(1, chosen) for name in ("positions", "confidence")}
        return replace(self, **parts, **times)

    def camera(self, view: int) -> Camera:
        """The camera of a view."""
        x0, y0, x1, y1 = self.windows[view].tolist()
        return Camera(self.extrinsics[view][None]).cropped((x0, y0, x1, y1))

    def project(self, points: Tensor) -> Tensor:
        """Projects points (P, 3) of the video camera's space into their tracks' views: (P, 2), as ``positions``."""
        matrices = self.extrinsics.index_select(0, self.view)
        camera_points = (matrices[:, :3, :3] @ _transformed(points, self.matrix)[..., None])[..., 0] + matrices[
            :, :3, 3
        ]
        pixels = camera_points @ Camera(self.extrinsics).intrinsics((1, 1)).T
        return pixels[:, :2] / pixels[:, 2:]

    def arrays(self) -> Arrays:
        """The fields as arrays by name, for ``from_arrays``."""
        return {field.name: getattr(self, field.name).cpu().numpy() for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> SurfaceTracks:
        """Tracks from their ``arrays``."""
        return cls(**{field.name: torch.from_numpy(arrays[field.name]).to(device) for field in fields(cls)})


def render_view(mesh: Mesh, camera: Camera, size: int) -> np.ndarray:
    """Renders a mesh in view space: (size, size, 4) uint8 sRGB, straight alpha.

    Unlike V2M4's unlit views, it is lit from the camera: shading gives a tracker features where the texture has none.
    """
    rendered = render_mesh(mesh, camera, size, channels=("color", "normal"))
    mask, cosine = rendered.mask[0], (-rendered.normal[0, ..., 2:]).clamp(0, 1)
    color = rendered.color[0] / mask.clamp_min(1e-3) * (1 - HEADLIGHT_SHARE + HEADLIGHT_SHARE * cosine)
    return (torch.cat([color, mask], -1).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def sample_visible_points(
    mesh: Mesh, camera: Camera, size: int, limit: int, generator: torch.Generator
) -> tuple[SurfacePoints, np.ndarray]:
    """Samples points on the visible surface: one for each pixel that shows it, or a random ``limit`` of them.

    Args:
        mesh: in the view's space.
        camera: the view.
        size: pixels (side).
        limit: points at most.
        generator: CPU.

    Returns:
        N points and their image positions, (N, 2) fractions of the view's window.
    """
    rast = rasterize(camera.clip(mesh.vertices), mesh.faces.to(torch.int32), (size, size))[0].reshape(-1, 4)
    visible = torch.nonzero((rast[:, 3] > 0) & _facing(mesh, camera)[(rast[:, 3].long() - 1).clamp_min(0)])[:, 0]
    order = torch.randperm(len(visible), generator=generator)[:limit].sort().values.to(visible.device)
    chosen = visible.index_select(0, order)
    u, v, _, face = rast.index_select(0, chosen).unbind(1)
    pixels = torch.stack([chosen % size, torch.div(chosen, size, rounding_mode="floor")], 1).double() + 0.5
    return SurfacePoints(face.long() - 1, torch.stack([u, v, 1 - u - v], 1)), (pixels / size).cpu().numpy()


def lift_pixels(pixels: Tensor, mesh: Mesh, camera: Camera, size: int) -> tuple[SurfacePoints, Tensor]:
    """Lifts image positions in a view to the surface of the mesh that it shows.

    Args:
        pixels: (N, 2) fractions of the uncropped image.
        mesh: in the view's space.
        camera: the view.
        size: side of the rasterised triangle image, pixels.

    Returns:
        points, and which of the N lie on the surface, not too obliquely (N,) bool.
    """
    rast = rasterize(camera.clip(mesh.vertices), mesh.faces.to(torch.int32), (size, size))[0]
    window = pixels.new_tensor(camera.window)
    at = (pixels - window[:2]) / (window[2:] - window[:2])
    column, row = (at * size).floor().long().clamp(0, size - 1).unbind(1)
    face = rast[row, column, 3].long() - 1
    on_surface = (face >= 0) & (at > 0).all(1) & (at < 1).all(1)
    face = face.clamp_min(0)
    on_surface &= _facing(mesh, camera).index_select(0, face)
    # Barycentric weights of the intersection of the viewing ray with the triangle's plane.
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1).to(mesh.vertices)
    rays = rays @ torch.linalg.inv(Camera(camera.extrinsics, camera.fov).intrinsics((1, 1))).T
    corners = camera.to_camera_space(mesh.vertices)[0].index_select(0, mesh.faces.index_select(0, face).reshape(-1))
    first, second, third = corners.reshape(-1, 3, 3).unbind(1)
    parts = [(rays * torch.linalg.cross(b, c)).sum(1) for b, c in ((second, third), (third, first), (first, second))]
    weights = torch.stack(parts, 1)
    weights = weights / torch.where(weights.sum(1, keepdim=True).abs() < 1e-20, 1.0, weights.sum(1, keepdim=True))
    weights = weights.clamp(0, 1)  # beside the pixel's centre, the ray may meet the neighbouring triangle
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    return SurfacePoints(face, weights), on_surface


@torch.no_grad()
def vertex_targets(ends: SurfaceTracks, pose: Tensor, triangles: Tensor, target: Mesh, size: int) -> VertexTargets:
    """Target positions of vertices at a key frame, from all tracks that end on its mesh.

    A vertex's displacement is the weighted mean displacement of the tracked points on its triangles. The weight of the
    target falls with the variance of these displacements, so that contradictory tracks count little.

    Args:
        ends: the template's tracks at one key frame, K = 1, see ``SurfaceTracks.at``.
        pose: (V, 3) of the template, near the target, in the video camera's space.
        triangles: (F, 3) of the template.
        target: the key frame's own mesh, in the video camera's space.
        size: side of the rasterised triangle image, pixels.
    """
    target_in_view_space = target.with_vertices(_transformed(target.vertices, ends.matrix))
    positions = pose.new_zeros(len(ends.view), 3)
    is_lifted = torch.zeros(len(ends.view), dtype=torch.bool, device=pose.device)
    for view in range(len(ends.extrinsics)):
        in_view = torch.nonzero(ends.view == view)[:, 0]
        if len(in_view):
            lifted, on_surface = lift_pixels(
                ends.positions[0].index_select(0, in_view), target_in_view_space, ends.camera(view), size
            )
            positions[in_view], is_lifted[in_view] = lifted.on(target.vertices, target.faces), on_surface
    kept = torch.nonzero(is_lifted)[:, 0]
    confidence, source = ends.confidence[0].index_select(0, kept), ends.select(kept).points
    displacement = positions.index_select(0, kept) - source.on(pose, triangles)
    corner_weight = source.weights * confidence[:, None]  # (N, 3)
    corners = triangles.index_select(0, source.faces).reshape(-1)
    total = pose.new_zeros(len(pose)).index_add(0, corners, corner_weight.reshape(-1))
    weighted_sum = (corner_weight[..., None] * displacement[:, None]).reshape(-1, 3)
    mean = pose.new_zeros(len(pose), 3).index_add(0, corners, weighted_sum) / total.clamp_min(1e-12)[:, None]
    squared_deviation = (displacement[:, None] - mean.index_select(0, corners).reshape(-1, 3, 3)).square().sum(2)
    variance = pose.new_zeros(len(pose)).index_add(
        0, corners, (corner_weight * squared_deviation).reshape(-1)
    ) / total.clamp_min(1e-12)
    unit = 1.0 / float(torch.linalg.det(ends.matrix[:3, :3].double()) ** (1 / 3))
    weight = total / (total + 1.0) / (1.0 + variance / (DISAGREEMENT_SCALE * unit) ** 2)
    index = torch.nonzero(total > 0)[:, 0]
    points = (pose + mean).index_select(0, index)
    return VertexTargets(
        index.cpu().numpy(), points.double().cpu().numpy(), weight.index_select(0, index).double().cpu().numpy()
    )


def merge_targets(first: VertexTargets, second: VertexTargets) -> VertexTargets:
    """The union of two sets of targets; a vertex in both has their weighted mean position and the sum of weights."""
    index, which = np.unique(np.concatenate([first.index, second.index]), return_inverse=True)
    weights, points = np.concatenate([first.weight, second.weight]), np.concatenate([first.points, second.points])
    total, position = np.zeros(len(index)), np.zeros((len(index), 3))
    np.add.at(total, which, weights)
    np.add.at(position, which, weights[:, None] * points)
    return VertexTargets(index, position / np.maximum(total, 1e-12)[:, None], total)


def _transformed(points: Tensor, matrix: Tensor) -> Tensor:
    """Points (N, 3) under an affine map (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _within(window: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A square window shrunk and translated to lie within the image."""
    x0, y0, x1, _ = window
    side = min(x1 - x0, 1.0)
    x0, y0 = min(max(x0, 0.0), 1.0 - side), min(max(y0, 0.0), 1.0 - side)
    return (x0, y0, x0 + side, y0 + side)


def _facing(mesh: Mesh, camera: Camera) -> Tensor:
    """Whether each face (F,) faces the camera, not too obliquely."""
    corners = mesh.vertices.index_select(0, mesh.faces.reshape(-1)).reshape(-1, 3, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    to_camera = camera.positions()[0] - corners.mean(1)
    return torch.nn.functional.cosine_similarity(normals, to_camera, dim=1) > MIN_FACING_COSINE
