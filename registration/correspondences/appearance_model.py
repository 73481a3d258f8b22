"""Appearance model of a mesh in a video: its texture, the lighting, and the first frame as a reference.

Where the first frame shows the surface, the model shows that frame's own pixels, warped with the pose; elsewhere it
shows the mesh's texture under the lighting of the video.

Colours are compared as sRGB values. There lighting is close to a factor on the texture (a gamma curve keeps products),
so a lit surface is the texture times a smooth function of the normal: spherical harmonics up to the second order, which
hold nearly all that a matte surface shows of distant light (Ramamoorthi and Hanrahan 2001, "An efficient representation
for irradiance environment maps"). They are fitted to the first frame, whose pose is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from registration.correspondences.tuning import TUNING
from v2m4.geometry import vertex_normals
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.render import render_attributes
from v2m4.spherical_harmonics import spherical_harmonics
from v2m4.surface_points import SurfacePoints


@dataclass(frozen=True)
class RenderedPose:
    """The rendering of a pose in a frame's image window of h x w pixels.

    Attributes:
        view: the image window.
        color: (h, w, 3) float32 sRGB, not weighted by the mask; 0 where there is no surface.
        mask: (h, w) float32, coverage in [0, 1].
        depth: (h, w) float32, camera z in units of space; 0 where there is no surface.
        view_cosine: (h, w) float32, cosine between the normal and the direction to the camera; 0 where no surface is.
        rast: (h, w, 4) float32, from the rasteriser: two barycentric weights, unused, triangle + 1 (0 for none).
    """

    view: ImageWindow
    color: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    view_cosine: np.ndarray
    rast: np.ndarray

    @property
    def object_size(self) -> float:
        """Longer side of the box of the frame's object at the median depth of the pose, units of space."""
        visible = self.rast[..., 3] > 0
        depth = float(np.median(self.depth[visible])) if visible.any() else 1.0
        return 2 * math.tan(self.view.camera.fov / 2) * self.view.pixel[1] * self.view.extent * depth

    def positions(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in space of the surface at the centres of pixels (N,), all of which show it."""
        pixels = torch.from_numpy(np.stack([columns, rows], 1) + 0.5).float()[None]
        depth = torch.from_numpy(self.depth[rows, columns])[None]
        return self.view.camera.unproject(pixels, depth, self.view.shape)[0].numpy()

    def surface_points(self, rows: np.ndarray, columns: np.ndarray) -> SurfacePoints:
        """Triangles and barycentric weights at the centres of N pixels, all of which show the surface."""
        u, v, _, face = torch.from_numpy(self.rast[rows, columns]).unbind(1)
        weights = torch.stack([u, v, 1 - u - v], 1).clamp(0, 1)
        return SurfacePoints(face.long() - 1, weights / weights.sum(1, keepdim=True))


@dataclass(frozen=True)
class ReferenceAppearance:
    """The surface as the first frame shows it: that frame's image as a texture.

    Attributes:
        image: (h, w, 3) float32 sRGB, not weighted by a mask.
        pixels: (V, 2) projections of the vertices into it; the centre of the first pixel is at (0.5, 0.5).
        visibility: (V, 1) in [0, 1]; 1 where the surface faces the camera and is away from edges.
        lighting_factors: (V, 3) lighting of the vertices in that frame.
    """

    image: np.ndarray
    pixels: Tensor
    visibility: Tensor
    lighting_factors: Tensor


@dataclass(frozen=True)
class AppearanceModel:
    """Appearance of a mesh in a video.

    Attributes:
        mesh: topology, texture or vertex colours; its vertices are not used.
        lighting: (9, 3) coefficients of ``spherical_harmonics`` of the normal in camera axes, for each colour channel:
            factors on the mesh's colour; None for a factor of 1.
        vertex_gain: (V, 3) further factors on the colour of each vertex, learned from the first frame: ambient
            occlusion and cast shadows, and where the mesh's colours are not the video's; None for 1.
        reference: the first frame as a texture; None for none.
    """

    mesh: Mesh
    lighting: Tensor | None = None
    vertex_gain: Tensor | None = None
    reference: ReferenceAppearance | None = None

    @classmethod
    def of(cls, mesh: Mesh, pose: Tensor, view: ImageWindow) -> AppearanceModel:
        """Fit lighting, vertex gains and reference to a frame whose pose is known.

        Args:
            mesh: with a texture or vertex colours.
            pose: (V, 3) in camera coordinates.
            view: the frame, in a window that holds the pose.

        Returns:
            The model; without lighting, gains and reference where fewer than
            ``CorrespondenceTuning.min_lighting_pixels`` pixels of the frame show the pose.
        """
        plain = cls(mesh)
        rendered = plain.render(pose, view)
        covered = np.minimum(rendered.mask, view.mask) > TUNING.full_coverage
        rows, columns = np.nonzero(eroded(covered, 2) & (rendered.view_cosine > 0.2))
        if len(rows) < TUNING.min_lighting_pixels:
            return plain
        points = rendered.surface_points(rows, columns)
        unlit = torch.from_numpy(rendered.color[rows, columns]).double()
        observed = torch.from_numpy(view.color[rows, columns]).double()
        corners = mesh.faces.index_select(0, points.faces).reshape(-1)
        normals = vertex_normals(pose, mesh.faces).index_select(0, corners).reshape(-1, 3, 3)
        basis = spherical_harmonics(
            torch.nn.functional.normalize((normals * points.weights[..., None]).sum(1), dim=1)
        ).double()
        lighting = torch.stack([_fit_lighting(basis * unlit[:, c : c + 1], observed[:, c]) for c in range(3)], 1)
        lit = unlit * (basis @ lighting).clamp(*TUNING.lighting_range)
        # Least squares over the pixels of each vertex, shrunk to a gain of 1 where they are few or dark.
        share = points.weights.double()
        numerator, denominator = (torch.zeros(len(mesh.vertices), 3, dtype=torch.float64) for _ in range(2))
        for total, value in ((numerator, lit * observed), (denominator, lit * lit)):
            total.index_add_(0, corners, (share[..., None] * value[:, None]).reshape(-1, 3))
        prior = 0.01
        vertex_gain = ((numerator + prior) / (denominator + prior)).clamp(*TUNING.lighting_range)
        model = replace(plain, lighting=lighting.float(), vertex_gain=vertex_gain.float())
        return replace(model, reference=model._reference_of(pose, rendered))

    def _reference_of(self, pose: Tensor, rendered: RenderedPose) -> ReferenceAppearance:
        """The frame of ``rendered`` as a texture of the mesh, whose pose there is (V, 3)."""
        view = rendered.view
        pixels, depth = view.camera.project(pose, view.shape)
        rows, columns = (
            pixels[0, :, axis].floor().long().clamp(0, view.shape[axis == 0] - 1).numpy() for axis in (1, 0)
        )
        inside = continuous_surface(rendered) & (np.minimum(rendered.mask, view.mask) > TUNING.full_coverage)
        distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)[rows, columns]
        in_front = depth[0].numpy() < rendered.depth[rows, columns] + 0.02 * rendered.object_size
        frontal = (rendered.view_cosine[rows, columns] - 0.15) / 0.2
        visibility = np.clip(distance / 3 - 1, 0, 1) * np.clip(frontal, 0, 1) * in_front
        lighting_factors = self.lighting_factors(vertex_normals(pose, self.mesh.faces))
        # At the frame's own resolution: an image resampled twice at one resolution would be blurred.
        window = view.camera.window
        finest = round((window[3] - window[1]) * view.frame.rgba.shape[0])
        sharp = ImageWindow.through(view.frame, view.camera, max(view.shape[0], min(finest, 2 * view.shape[0])))
        pixels = view.camera.project(pose, sharp.shape)[0][0]
        return ReferenceAppearance(
            sharp.color, pixels, torch.from_numpy(visibility.astype(np.float32))[:, None], lighting_factors
        )

    def lighting_factors(self, normals: Tensor) -> Tensor:
        """Factors (V, 3) of the lighting on the mesh's colour, by unit normals (V, 3)."""
        if self.lighting is None:
            return torch.ones_like(normals)
        return (spherical_harmonics(normals) @ self.lighting).clamp(*TUNING.lighting_range)

    def render(self, vertices: Tensor, view: ImageWindow) -> RenderedPose:
        """Rendering of a pose (V, 3), in camera coordinates, in an image window."""
        mesh, camera, triangles = self.mesh, view.camera, self.mesh.faces.to(torch.int32)
        vertices = vertices.detach().float()
        normals = vertex_normals(vertices, mesh.faces)
        lighting = self.lighting_factors(normals)
        vertex_color = lighting if self.vertex_gain is None else lighting * self.vertex_gain
        vertex_cosine = -(normals * torch.nn.functional.normalize(vertices, dim=1)).sum(1, keepdim=True)
        textured = None
        if mesh.texture is not None and mesh.uvs is not None:
            corners = triangles if mesh.uv_faces is None else mesh.uv_faces.to(torch.int32)
            textured = (mesh.texture[None], mesh.uvs[None], corners)
        elif mesh.colors is not None:
            vertex_color = vertex_color * mesh.colors
        attributes = [vertex_color, vertices[:, 2:], vertex_cosine]
        if self.reference is not None:
            reference = self.reference
            attributes += [reference.visibility, reference.pixels, lighting / reference.lighting_factors]
        with torch.no_grad():
            image, rast = render_attributes(
                camera.clip(vertices),
                triangles,
                torch.cat(attributes, 1)[None],
                view.shape,
                textured=textured,
                antialias=3,
            )
        mask, *parts = np.split(image[0].numpy(), np.cumsum([1, 0 if textured is None else 3, 3, 1, 1, 1, 2]), 2)
        texture, shaded, depth, view_cosine = parts[:4]
        weight = np.maximum(mask, 0.05)
        color = shaded / weight
        if textured is not None:
            color = color * texture / weight
        if self.reference is not None:
            visibility, pixels, relighting = parts[4:]
            pixels = pixels - 0.5
            warped = cv2.remap(self.reference.image, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
            color = visibility * warped * relighting + (1 - visibility) * color
        mask, depth, view_cosine = (np.ascontiguousarray(part[..., 0]) for part in (mask, depth, view_cosine))
        return RenderedPose(view, color.clip(0, 1), mask, depth, view_cosine, rast[0].numpy())


def _fit_lighting(system: Tensor, observed: Tensor, iterations: int = 4, ridge: float = 1e-3) -> Tensor:
    """Coefficients (9,) of the lighting of one colour channel, by iteratively reweighted least squares.

    Huber kernel of scale ``CorrespondenceTuning.lighting_kernel_scale``; ridge regularised towards ambient light of
    factor 1.

    Args:
        system: (N, 9) float64, ``spherical_harmonics`` of the pixels' normals times their unlit colour.
        observed: (N,) colour of the pixels.
        iterations: of reweighting.
        ridge: weight of the regulariser, of the mean diagonal of the normal equations.
    """
    ambient = torch.zeros(system.shape[1], dtype=system.dtype)
    ambient[0] = 1.0
    if not bool(system.any()):  # a surface without any of this colour says nothing about its lighting
        return ambient
    solution, weight = ambient, torch.ones_like(observed)
    regularizer = ridge * system.square().sum() / system.shape[1] * torch.eye(system.shape[1], dtype=system.dtype)
    scale = TUNING.lighting_kernel_scale
    for _ in range(iterations):
        weighted = system * weight[:, None]
        solution = ambient + torch.linalg.solve(
            system.T @ weighted + regularizer, weighted.T @ (observed - system @ ambient)
        )
        weight = scale / (observed - system @ solution).abs().clamp_min(scale)
    return solution


def continuous_surface(rendered: RenderedPose) -> np.ndarray:
    """Pixels (h, w) bool that show surface and touch neither an occlusion edge nor the outline."""
    visible = rendered.rast[..., 3] > 0
    filled = np.where(visible, rendered.depth, 1e3).astype(np.float32)
    # The second difference: the first is large on oblique surfaces, too.
    edge = np.abs(cv2.Laplacian(filled, cv2.CV_32F)) > TUNING.depth_jump * rendered.object_size
    return visible & ~(cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & eroded(visible, 1)


def eroded(mask: np.ndarray, radius: int) -> np.ndarray:
    """Erosion of a mask (h, w) bool by a disc of ``radius`` pixels; the image's border counts as background."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
