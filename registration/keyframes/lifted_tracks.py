"""Tracks in rendered views, lifted to the surfaces they show.

Meshes of all key frames are looked at from cameras that stand still (V2M4's point tracking: 20 Hammersley views at
``--tracking_camera_radius``, field of view 40 degrees). Each view is cropped to what it shows of the motion, so that
no pixels are spent on empty space. Points are set on the triangles of one key frame's mesh; where their tracks end,
they are lifted to the triangles of the mesh that is seen there.
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

MARGIN = 0.06  # around what a view shows, of its longer side
FACING = 0.2  # least cosine between a face's normal and the way to the camera, where points are set or lifted
AGREEMENT = 0.02  # of the object's size: tracks that differ by so much count half
LIGHT = 0.5  # share of the light in pictures that comes from the camera
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TrackingViews:
    """Cameras about the middle of a motion.

    Attributes:
        matrix: (4, 4) similarity from the video camera's space to the views': the mesh that moves is 1 long there, the
            middle of the motion is the origin, and axes are those of its canonical pose.
        cameras: one each, cropped to what it shows.
        radius: their distance from the origin.
        needed: the distance from which on every view shows the whole motion.
        leaving: (K,) whether part of each mesh is outside of some view.
    """

    matrix: Tensor
    cameras: list[Camera]
    radius: float
    needed: float
    leaving: np.ndarray

    @classmethod
    def around(cls, meshes: Sequence[Mesh], moved: int, upright: Tensor, radius: float, count: int) -> TrackingViews:
        """Cameras that look at all meshes.

        Args:
            meshes: one for each key frame, in the video camera's space.
            moved: position of the mesh that moves.
            upright: (4, 4) rigid, from its canonical pose to the video camera's space.
            radius: in units of that mesh's longest side.
            count: number of cameras.
        """
        every = torch.cat([mesh.vertices for mesh in meshes])
        lower, upper = meshes[moved].bounds()
        scale = 1.0 / float((upper - lower).max().clamp_min(1e-12))
        matrix = torch.eye(4, device=every.device)
        matrix[:3, :3] = scale * upright[:3, :3].to(matrix).T
        matrix[:3, 3] = -matrix[:3, :3] @ ((every.amin(0) + every.amax(0)) / 2)
        sets = [_moved(mesh.vertices, matrix) for mesh in meshes]
        reach = max(float(points.norm(dim=1).max()) for points in sets)
        cameras, leaving = [], np.zeros(len(meshes), bool)
        rig = hammersley_rig(count, radius).to(every.device)
        for index in range(count):
            camera = rig[index].camera()
            boxes = []
            for position, points in enumerate(sets):
                pixels, depth = camera.project(points, (1, 1))
                shown = pixels[0][depth[0] > 0]
                inside = shown[((shown >= 0) & (shown <= 1)).all(1)]
                leaving[position] |= len(inside) < len(points)
                if len(inside):
                    low, high = inside.amin(0).tolist(), inside.amax(0).tolist()
                    boxes.append((low[0], low[1], high[0], high[1]))
            window = window_around(boxes, 1.0, MARGIN, square=True) if boxes else WHOLE
            cameras.append(camera.cropped(_within(window)))
        needed = reach / float(np.sin(cameras[0].fov / 2))
        return cls(matrix, cameras, radius, needed, leaving)

    def moved(self, mesh: Mesh) -> Mesh:
        """A mesh of the video camera's space, in the views'."""
        return mesh.with_vertices(_moved(mesh.vertices, self.matrix))


@dataclass(frozen=True)
class SurfaceTracks:
    """Points of the mesh that moves, as P tracks in B views say where they are at K key frames.

    Attributes:
        matrix: (4, 4), as in ``TrackingViews``.
        extrinsics: (B, 4, 4) of the views.
        windows: (B, 4) of the views, as in ``Camera``.
        view: (P,) int64.
        faces: (P,) int64, triangles of the mesh that moves.
        weights: (P, 3) barycentric on them.
        positions: (K, P, 2) fractions of the whole, uncropped picture.
        confidence: (K, P) in [0, 1].
        counts: (B,) int64, points that were set in each view, lost ones too.
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
        """On the mesh that moves."""
        return SurfacePoints(self.faces, self.weights)

    def at(self, key: int) -> SurfaceTracks:
        """One key frame's ends of the tracks that are seen there, K = 1."""
        ends = replace(self, positions=self.positions[key : key + 1], confidence=self.confidence[key : key + 1])
        return ends.of(torch.nonzero(ends.confidence[0] >= VISIBLE)[:, 0])

    def joined(self, other: SurfaceTracks) -> SurfaceTracks:
        """The tracks of both; of the same views and key frames."""
        parts = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in ("view", "faces", "weights")}
        times = {
            name: torch.cat([getattr(self, name), getattr(other, name)], 1) for name in ("positions", "confidence")
        }
        return replace(self, **parts, **times, counts=self.counts + other.counts)

    def of(self, chosen: Tensor) -> SurfaceTracks:
        """Some of the tracks, by their indices (N,)."""
        parts = {name: getattr(self, name).index_select(0, chosen) for name in ("view", "faces", "weights")}
        times = {name: getattr(self, name).index_select(1, chosen) for name in ("positions", "confidence")}
        return replace(self, **parts, **times)

    def camera(self, view: int) -> Camera:
        """One of the views."""
        x0, y0, x1, y1 = self.windows[view].tolist()
        return Camera(self.extrinsics[view][None]).cropped((x0, y0, x1, y1))

    def project(self, points: Tensor) -> Tensor:
        """Where each track's view sees its point (P, 3) of the video camera's space, as ``positions``, (P, 2)."""
        matrices = self.extrinsics.index_select(0, self.view)
        seen = (matrices[:, :3, :3] @ _moved(points, self.matrix)[..., None])[..., 0] + matrices[:, :3, 3]
        pixels = seen @ Camera(self.extrinsics).intrinsics((1, 1)).T
        return pixels[:, :2] / pixels[:, 2:]

    def arrays(self) -> Arrays:
        """The tensors by name; ``from_arrays`` reads them back."""
        return {field.name: getattr(self, field.name).cpu().numpy() for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> SurfaceTracks:
        """The inverse of ``arrays``."""
        return cls(**{field.name: torch.from_numpy(arrays[field.name]).to(device) for field in fields(cls)})


def picture(mesh: Mesh, camera: Camera, size: int) -> np.ndarray:
    """What a view shows of a mesh of its space: (size, size, 4) uint8 sRGB, straight alpha.

    Lit from the camera, where V2M4 shows colours alone: shades let a tracker hold on where the paint is plain.
    """
    seen = render_mesh(mesh, camera, size, channels=("color", "normal"))
    mask, toward = seen.mask[0], (-seen.normal[0, ..., 2:]).clamp(0, 1)
    color = seen.color[0] / mask.clamp_min(1e-3) * (1 - LIGHT + LIGHT * toward)
    return (torch.cat([color, mask], -1).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def set_points(
    mesh: Mesh, camera: Camera, size: int, limit: int, generator: torch.Generator
) -> tuple[SurfacePoints, np.ndarray]:
    """Points on a mesh, one at each pixel that shows it, or ``limit`` of them drawn at random.

    Args:
        mesh: in the view's space.
        camera: the view.
        size: pixels (side).
        limit: points at most.
        generator: CPU.

    Returns:
        N points and where they are seen, (N, 2) fractions of the view's window.
    """
    rast = rasterize(camera.clip(mesh.vertices), mesh.faces.to(torch.int32), (size, size))[0].reshape(-1, 4)
    found = torch.nonzero((rast[:, 3] > 0) & _facing(mesh, camera)[(rast[:, 3].long() - 1).clamp_min(0)])[:, 0]
    order = torch.randperm(len(found), generator=generator)[:limit].sort().values.to(found.device)
    chosen = found.index_select(0, order)
    u, v, _, face = rast.index_select(0, chosen).unbind(1)
    pixels = torch.stack([chosen % size, torch.div(chosen, size, rounding_mode="floor")], 1).double() + 0.5
    return SurfacePoints(face.long() - 1, torch.stack([u, v, 1 - u - v], 1)), (pixels / size).cpu().numpy()


def lift_pixels(pixels: Tensor, mesh: Mesh, camera: Camera, size: int) -> tuple[SurfacePoints, Tensor]:
    """Where a view's pixels lie on the mesh that it shows.

    Args:
        pixels: (N, 2) fractions of the whole picture.
        mesh: in the view's space.
        camera: the view.
        size: pixels (side) that triangles are looked up in.

    Returns:
        points, and which of the N lie on the surface, not too obliquely (N,) bool.
    """
    rast = rasterize(camera.clip(mesh.vertices), mesh.faces.to(torch.int32), (size, size))[0]
    window = pixels.new_tensor(camera.window)
    at = (pixels - window[:2]) / (window[2:] - window[:2])
    column, row = (at * size).floor().long().clamp(0, size - 1).unbind(1)
    face = rast[row, column, 3].long() - 1
    there = (face >= 0) & (at > 0).all(1) & (at < 1).all(1)
    face = face.clamp_min(0)
    there &= _facing(mesh, camera).index_select(0, face)
    # The ray through the exact place meets the triangle's plane where the corners' weights say.
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1).to(mesh.vertices)
    rays = rays @ torch.linalg.inv(Camera(camera.extrinsics, camera.fov).intrinsics((1, 1))).T
    corners = camera.to_camera_space(mesh.vertices)[0].index_select(0, mesh.faces.index_select(0, face).reshape(-1))
    first, second, third = corners.reshape(-1, 3, 3).unbind(1)
    parts = [(rays * torch.linalg.cross(b, c)).sum(1) for b, c in ((second, third), (third, first), (first, second))]
    weights = torch.stack(parts, 1)
    weights = weights / torch.where(weights.sum(1, keepdim=True).abs() < 1e-20, 1.0, weights.sum(1, keepdim=True))
    weights = weights.clamp(0, 1)  # a place beside the pixel's centre may lie on the neighbouring triangle
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    return SurfacePoints(face, weights), there


@torch.no_grad()
def vertex_targets(ends: SurfaceTracks, pose: Tensor, triangles: Tensor, target: Mesh, size: int) -> VertexTargets:
    """Where vertices belong at a key frame, by all tracks that end on its mesh.

    A track tells how far its point has to go; a vertex goes as far as the points on its triangles, on average. Tracks
    of different views that contradict each other count little.

    Args:
        ends: one key frame's ends of the tracks of the mesh that moves, see ``SurfaceTracks.at``.
        pose: (V, 3) of the mesh that moves, near the target, in the video camera's space.
        triangles: (F, 3) of the mesh that moves.
        target: the key frame's own mesh, in the video camera's space.
        size: pixels (side) that triangles are looked up in.
    """
    there_too = target.with_vertices(_moved(target.vertices, ends.matrix))
    wanted = pose.new_zeros(len(ends.view), 3)
    lift_to_surface = torch.zeros(len(ends.view), dtype=torch.bool, device=pose.device)
    for view in range(len(ends.extrinsics)):
        here = torch.nonzero(ends.view == view)[:, 0]
        if len(here):
            found, there = lift_pixels(ends.positions[0].index_select(0, here), there_too, ends.camera(view), size)
            wanted[here], lift_to_surface[here] = found.on(target.vertices, target.faces), there
    kept = torch.nonzero(lift_to_surface)[:, 0]
    confidence, source = ends.confidence[0].index_select(0, kept), ends.of(kept).points
    way = wanted.index_select(0, kept) - source.on(pose, triangles)
    share = source.weights * confidence[:, None]  # (N, 3)
    corners = triangles.index_select(0, source.faces).reshape(-1)
    total = pose.new_zeros(len(pose)).index_add(0, corners, share.reshape(-1))
    spread = (share[..., None] * way[:, None]).reshape(-1, 3)
    mean = pose.new_zeros(len(pose), 3).index_add(0, corners, spread) / total.clamp_min(1e-12)[:, None]
    off = (way[:, None] - mean.index_select(0, corners).reshape(-1, 3, 3)).square().sum(2)
    variance = pose.new_zeros(len(pose)).index_add(0, corners, (share * off).reshape(-1)) / total.clamp_min(1e-12)
    unit = 1.0 / float(torch.linalg.det(ends.matrix[:3, :3].double()) ** (1 / 3))
    weight = total / (total + 1.0) / (1.0 + variance / (AGREEMENT * unit) ** 2)
    index = torch.nonzero(total > 0)[:, 0]
    points = (pose + mean).index_select(0, index)
    return VertexTargets(
        index.cpu().numpy(), points.double().cpu().numpy(), weight.index_select(0, index).double().cpu().numpy()
    )


def merge_targets(first: VertexTargets, second: VertexTargets) -> VertexTargets:
    """Both; where they name the same vertex, the mean of its places with the sum of its weights."""
    index, which = np.unique(np.concatenate([first.index, second.index]), return_inverse=True)
    weights, points = np.concatenate([first.weight, second.weight]), np.concatenate([first.points, second.points])
    total, place = np.zeros(len(index)), np.zeros((len(index), 3))
    np.add.at(total, which, weights)
    np.add.at(place, which, weights[:, None] * points)
    return VertexTargets(index, place / np.maximum(total, 1e-12)[:, None], total)


def _moved(points: Tensor, matrix: Tensor) -> Tensor:
    """Points (N, 3) under an affine map (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _within(window: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A square window moved, then cut, to lie within the picture."""
    x0, y0, x1, _ = window
    side = min(x1 - x0, 1.0)
    x0, y0 = min(max(x0, 0.0), 1.0 - side), min(max(y0, 0.0), 1.0 - side)
    return (x0, y0, x0 + side, y0 + side)


def _facing(mesh: Mesh, camera: Camera) -> Tensor:
    """Which faces (F,) are turned to the camera, not too obliquely."""
    corners = mesh.vertices.index_select(0, mesh.faces.reshape(-1)).reshape(-1, 3, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    toward = camera.positions()[0] - corners.mean(1)
    return torch.nn.functional.cosine_similarity(normals, toward, dim=1) > FACING
