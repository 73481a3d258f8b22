"""What a mesh looks like in a video: a frame seen through a window, the light, a pose as the window shows it.

What the first frame shows of the surface is kept as the frame shows it, pixel for pixel, and carried along; elsewhere
the mesh's own paint stands, in the video's light.

Colours are compared as sRGB values. There light is close to a factor on the paint (a gamma curve keeps products), so
paint times a smooth function of the normal stands for a lit surface. The function is a series of spherical harmonics up
to the second order, which holds all that matte surfaces show of distant light (Ramamoorthi and Hanrahan 2001, "An
efficient representation for irradiance environment maps"). It is fitted to the first frame, whose pose is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.geometry import vertex_normals
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.render import render_attributes
from v2m4.surface_points import SurfacePoints

JUMP = 0.03  # of the object's size, the second difference of depths that is an edge
INSIDE = 0.99  # coverage from which on a pixel shows nothing else
ROBUST = 0.06  # difference of sRGB values from which on it counts linearly
BRIGHTNESS = (0.4, 2.5)  # what light and a vertex's own factor may make of paint


@dataclass(frozen=True)
class RenderedPose:
    """A pose as a view shows it.

    Attributes:
        view: the window.
        color: (h, w, 3) float32 sRGB, straight; 0 where there is no surface.
        mask: (h, w) float32, coverage.
        depth: (h, w) float32, camera z; 0 where there is no surface.
        facing: (h, w) float32, cosine between the normal and the way to the camera; 0 where there is no surface.
        rast: (h, w, 4) float32: two barycentric weights, unused, triangle + 1 (0 where there is none).
    """

    view: ImageWindow
    color: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    facing: np.ndarray
    rast: np.ndarray

    @property
    def size(self) -> float:
        """Of the frame's object in units of space, at the pose's depth."""
        shown = self.rast[..., 3] > 0
        depth = float(np.median(self.depth[shown])) if shown.any() else 1.0
        return 2 * math.tan(self.view.camera.fov / 2) * self.view.pixel[1] * self.view.extent * depth

    def places(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The surface at the centres of pixels (N,) that show it, in space: (N, 3)."""
        pixels = torch.from_numpy(np.stack([columns, rows], 1) + 0.5).float()[None]
        depth = torch.from_numpy(self.depth[rows, columns])[None]
        return self.view.camera.unproject(pixels, depth, self.view.shape)[0].numpy()

    def points(self, rows: np.ndarray, columns: np.ndarray) -> SurfacePoints:
        """The surface at the centres of pixels (N,) that show it."""
        u, v, _, face = torch.from_numpy(self.rast[rows, columns]).unbind(1)
        weights = torch.stack([u, v, 1 - u - v], 1).clamp(0, 1)
        return SurfacePoints(face.long() - 1, weights / weights.sum(1, keepdim=True))


@dataclass(frozen=True)
class ReferenceAppearance:
    """The surface as the first frame shows it.

    Attributes:
        picture: (h, w, 3) float32 sRGB, straight.
        places: (V, 2) where each vertex lies in it, pixels, the first centred at (0.5, 0.5).
        known: (V, 1) how far it is seen there, squarely and away from edges, in [0, 1].
        shade: (V, 3) what the light made of its paint.
    """

    picture: np.ndarray
    places: Tensor
    known: Tensor
    shade: Tensor


@dataclass(frozen=True)
class AppearanceModel:
    """Topology and paint of a mesh, and what the video's light makes of it.

    Attributes:
        mesh: its vertices are not used.
        lighting: (9, 3) factors on the paint by the normal (camera axes), see ``spherical_harmonics``; None for none.
        vertex_gain: (V, 3) each vertex's own factor on that, learned from the first frame: shade that hides from the
            light, and where the mesh's paint is not the video's.
        reference: of the first frame; None for none.
    """

    mesh: Mesh
    lighting: Tensor | None = None
    vertex_gain: Tensor | None = None
    reference: ReferenceAppearance | None = None

    @classmethod
    def of(cls, mesh: Mesh, pose: Tensor, view: ImageWindow) -> AppearanceModel:
        """Fit the light, then each vertex's own factor, to a frame whose pose (V, 3) is known.

        Where the frame shows too little of the pose, the paint stays as it is.
        """
        plain = cls(mesh)
        rendered = plain.render(pose, view)
        solid = eroded(np.minimum(rendered.mask, view.mask) > INSIDE, 2) & (rendered.facing > 0.2)
        rows, columns = np.nonzero(solid)
        if len(rows) < 100:
            return plain
        points, paint = rendered.points(rows, columns), torch.from_numpy(rendered.color[rows, columns]).double()
        wanted = torch.from_numpy(view.color[rows, columns]).double()
        corners = mesh.faces.index_select(0, points.faces).reshape(-1)
        normals = vertex_normals(pose, mesh.faces).index_select(0, corners).reshape(-1, 3, 3)
        basis = spherical_harmonics(
            torch.nn.functional.normalize((normals * points.weights[..., None]).sum(1), dim=1)
        ).double()
        lighting = torch.stack([_fit(basis * paint[:, c : c + 1], wanted[:, c]) for c in range(3)], 1)
        lit = paint * (basis @ lighting).clamp(*BRIGHTNESS)
        # Of each vertex's pixels, shrunk to 1 where they are few or dark.
        share = points.weights.double()
        above, below = (torch.zeros(len(mesh.vertices), 3, dtype=torch.float64) for _ in range(2))
        for total, value in ((above, lit * wanted), (below, lit * lit)):
            total.index_add_(0, corners, (share[..., None] * value[:, None]).reshape(-1, 3))
        prior = 0.01
        vertex_gain = ((above + prior) / (below + prior)).clamp(*BRIGHTNESS)
        found = replace(plain, lighting=lighting.float(), vertex_gain=vertex_gain.float())
        return replace(found, reference=found._remembered(pose, rendered))

    def _remembered(self, pose: Tensor, rendered: RenderedPose) -> ReferenceAppearance:
        """The frame's picture on the surface of a pose (V, 3), which ``rendered`` shows."""
        view = rendered.view
        pixels, depth = view.camera.project(pose, view.shape)
        rows, columns = (
            pixels[0, :, axis].floor().long().clamp(0, view.shape[axis == 0] - 1).numpy() for axis in (1, 0)
        )
        inside = continuous_surface(rendered) & (np.minimum(rendered.mask, view.mask) > INSIDE)
        distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)[rows, columns]
        ahead = depth[0].numpy() < rendered.depth[rows, columns] + 0.02 * rendered.size
        square = (rendered.facing[rows, columns] - 0.15) / 0.2
        known = np.clip(distance / 3 - 1, 0, 1) * np.clip(square, 0, 1) * ahead
        shade = self._shade(vertex_normals(pose, self.mesh.faces))
        # As sharp as the frame is: a picture sampled twice at one resolution would be blurred.
        window = view.camera.window
        finest = round((window[3] - window[1]) * view.frame.rgba.shape[0])
        sharp = ImageWindow.through(view.frame, view.camera, max(view.shape[0], min(finest, 2 * view.shape[0])))
        places = view.camera.project(pose, sharp.shape)[0][0]
        return ReferenceAppearance(sharp.color, places, torch.from_numpy(known.astype(np.float32))[:, None], shade)

    def _shade(self, normals: Tensor) -> Tensor:
        """What the light makes of paint, (V, 3), by unit normals (V, 3)."""
        if self.lighting is None:
            return torch.ones_like(normals)
        return (spherical_harmonics(normals) @ self.lighting).clamp(*BRIGHTNESS)

    def render(self, vertices: Tensor, view: ImageWindow) -> RenderedPose:
        """A pose (V, 3) in a view."""
        mesh, camera, triangles = self.mesh, view.camera, self.mesh.faces.to(torch.int32)
        vertices = vertices.detach().float()
        normals = vertex_normals(vertices, mesh.faces)
        lighting = self._shade(normals)
        shade = lighting if self.vertex_gain is None else lighting * self.vertex_gain
        toward = -(normals * torch.nn.functional.normalize(vertices, dim=1)).sum(1, keepdim=True)
        textured = None
        if mesh.texture is not None and mesh.uvs is not None:
            corners = triangles if mesh.uv_faces is None else mesh.uv_faces.to(torch.int32)
            textured = (mesh.texture[None], mesh.uvs[None], corners)
        elif mesh.colors is not None:
            shade = shade * mesh.colors
        attributes = [shade, vertices[:, 2:], toward]
        if self.reference is not None:
            attributes += [self.reference.known, self.reference.places, lighting / self.reference.shade]
        with torch.no_grad():
            picture, rast = render_attributes(
                camera.clip(vertices),
                triangles,
                torch.cat(attributes, 1)[None],
                view.shape,
                textured=textured,
                antialias=3,
            )
        mask, *parts = np.split(picture[0].numpy(), np.cumsum([1, 0 if textured is None else 3, 3, 1, 1, 1, 2]), 2)
        paint, shaded, depth, facing = parts[:4]
        weight = np.maximum(mask, 0.05)
        color = shaded / weight
        if textured is not None:
            color = color * paint / weight
        if self.reference is not None:
            known, places, change = parts[4:]
            places = places - 0.5
            seen = cv2.remap(self.reference.picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
            color = known * seen * change + (1 - known) * color
        mask, depth, facing = (np.ascontiguousarray(part[..., 0]) for part in (mask, depth, facing))
        return RenderedPose(view, color.clip(0, 1), mask, depth, facing, rast[0].numpy())


def spherical_harmonics(normals: Tensor) -> Tensor:
    """Real spherical harmonics up to the second order, without their constants, of unit vectors (N, 3): (N, 9)."""
    x, y, z = normals.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], 1)


def _fit(system: Tensor, wanted: Tensor, rounds: int = 4, ridge: float = 1e-3) -> Tensor:
    """Robust least squares (N, 9) x = (N,); what the pixels do not decide stays even light of factor 1."""
    start = torch.zeros(system.shape[1], dtype=system.dtype)
    start[0] = 1.0
    found, weight = start, torch.ones_like(wanted)
    pull = ridge * system.square().sum() / system.shape[1] * torch.eye(system.shape[1], dtype=system.dtype)
    for _ in range(rounds):
        weighted = system * weight[:, None]
        found = start + torch.linalg.solve(system.T @ weighted + pull, weighted.T @ (wanted - system @ start))
        weight = ROBUST / (wanted - system @ found).abs().clamp_min(ROBUST)
    return found


def continuous_surface(rendered: RenderedPose) -> np.ndarray:
    """Which pixels (h, w) show surface and do not touch an edge where one part hides another or it ends."""
    shown = rendered.rast[..., 3] > 0
    filled = np.where(shown, rendered.depth, 1e3).astype(np.float32)
    # Steep surfaces are no edges: the second difference is what jumps.
    edge = np.abs(cv2.Laplacian(filled, cv2.CV_32F)) > JUMP * rendered.size
    return shown & ~(cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & eroded(shown, 1)


def eroded(mask: np.ndarray, radius: int) -> np.ndarray:
    """A (h, w) bool mask less what lies within so many pixels of its border."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
