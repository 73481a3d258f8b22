"""Energy terms in the video's view: silhouette, colour, and point tracks from optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, huber_loss

from registration.keyframes.energy import State
from registration.keyframes.image_difference import PyramidEnergies, add_squares, huber_where, pooled, pyramid_energy
from v2m4.camera import Camera, image_fractions
from v2m4.frame import Frame
from v2m4.geometry import vertex_normals
from v2m4.mesh import Mesh
from v2m4.render import Rendering, render


@dataclass(frozen=True, eq=False)  # compared by identity: the key of cached renderings
class VideoView:
    """A window of one frame around the object, and the mesh whose poses are rendered in it.

    Attributes:
        camera: the video's, cropped to the window.
        color: (h, w, 3) over ``background``.
        mask: (h, w, 1).
        mesh: topology with its texture or vertex colours; its vertices are not used.
        background: gray value in [0, 1].
    """

    camera: Camera
    color: Tensor
    mask: Tensor
    mesh: Mesh
    background: float = 0.5

    @classmethod
    def of(cls, frame: Frame, window: tuple[float, float, float, float], size: int, mesh: Mesh) -> VideoView:
        """The ``window`` (x0, y0, x1, y1) of a frame, resampled to ``size`` rows."""
        device = mesh.vertices.device
        color, mask = frame.tensors(size, window, background=cls.background)
        camera = frame.camera(device).cropped(window)
        return cls(camera, color.to(device), mask.to(device), mesh)

    def rendering(self, state: State) -> Rendering:
        """The rendering of the pose in this view, cached in ``state``."""
        return state.shared(("rendering", self), lambda: self.render(state.vertices))

    def render(self, vertices: Tensor) -> Rendering:
        """Renders the colour and mask of a pose (V, 3) in this view."""
        return render_views([self], vertices[None])


def render_views(views: Sequence[VideoView], poses: Tensor) -> Rendering:
    """Renders the colour and mask of one pose in each of B views of the same mesh and size; poses (B, V, 3).

    Colours are weighted by the mask: no term compares them where it is not 1.
    """
    first = views[0]
    mesh, size = first.mesh, (first.mask.shape[0], first.mask.shape[1])
    textured = mesh.uvs is not None and mesh.texture is not None
    return render(
        poses,
        mesh.faces,
        [view.camera for view in views],
        size,
        colors=mesh.colors,
        uvs=mesh.uvs if textured else None,
        uv_faces=mesh.uv_faces if textured else None,
        texture=mesh.texture if textured else None,
        channels=("color",),
    )


def pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """An image pyramid of (1, h, w, C) as (1, C, h, w): each level is the previous one averaged over 4 x 4 pixels."""
    layers = [picture.permute(0, 3, 1, 2)]
    for _ in range(levels - 1):
        if min(layers[-1].shape[2:]) < 8:
            break
        layers.append(avg_pool2d(layers[-1], 4))
    return layers


def on_cpu(levels: list[Tensor]) -> list[np.ndarray]:
    """The levels of an image pyramid (1, C, h, w) on the CPU as arrays (h, w, C)."""
    return [np.ascontiguousarray(level[0].permute(1, 2, 0).numpy()) for level in levels]


def stacked_areas(terms: Sequence[Silhouette] | Sequence[Colour]) -> Tensor:
    """The shares (B,) of their windows that the object fills in B views."""
    return torch.stack([term.area for term in terms])


class Silhouette:
    """Squared difference of the masks over an image pyramid; coarse levels have gradients without overlap."""

    name = "silhouette"

    def __init__(self, weight: float, view: VideoView, levels: int = 2) -> None:
        self.weight, self.view, self.levels = weight, view, levels
        self.target_levels = pyramid(view.mask[None], levels)
        self.area = view.mask.mean().clamp_min(1e-6)

    @property
    def nbytes(self) -> int:
        """Bytes of the target's pyramid, the view's mask among them."""
        return sum(level.nbytes for level in self.target_levels)

    def __call__(self, state: State) -> Tensor:
        """The mean over pixels, relative to the share of the window that the object fills, summed over the levels."""
        return self.each([self], self.view.rendering(state))[0]

    @staticmethod
    def each(terms: Sequence[Silhouette], rendering: Rendering) -> Tensor:
        """The energies (B,) of B terms, for a rendering in their views."""
        mask = rendering.mask
        if mask.device.type != "cpu":
            return torch.stack([term.reference(part[None]) for term, part in zip(terms, mask, strict=True)])
        return PyramidEnergies.apply(mask, [term.evaluate for term in terms]) / stacked_areas(terms)

    def evaluate(self, mask: np.ndarray, gradient: np.ndarray) -> float:
        """The energy of a rendered mask (h, w, 1), times ``area``; its gradient is written to zeros of that shape."""
        return pyramid_energy(mask, on_cpu(self.target_levels), add_squares, gradient)

    def reference(self, mask: Tensor) -> Tensor:
        """The energy of a rendered mask (1, h, w, 1) in torch, on its device: for GPUs and as a reference."""
        rendered = pyramid(mask, self.levels)
        pairs = zip(rendered, self.target_levels, strict=True)
        return sum(((a - b).square().mean() for a, b in pairs), torch.zeros_like(self.area)) / self.area


class Colour:
    """Huber loss of the colours where the frame and the rendering both show the object."""

    name = "colour"

    def __init__(self, weight: float, view: VideoView, levels: int = 2, threshold: float = 0.1) -> None:
        self.weight, self.view, self.levels, self.threshold = weight, view, levels, threshold
        self.target_levels = pyramid(view.color[None], levels)
        self.area = view.mask.mean().clamp_min(1e-6)

    @property
    def nbytes(self) -> int:
        """Bytes of the target's pyramid, the view's colours among them."""
        return sum(level.nbytes for level in self.target_levels)

    def __call__(self, state: State) -> Tensor:
        """Mean Huber loss over channels, the object's pixels and levels, over its threshold: L1 for large errors."""
        return self.each([self], self.view.rendering(state))[0]

    @staticmethod
    def each(terms: Sequence[Colour], rendering: Rendering) -> Tensor:
        """The energies (B,) of B terms, for a rendering in their views."""
        # Not at the outline, where colours are mixed with the background; the silhouette term covers it.
        shown = torch.stack([term.view.mask for term in terms]) > 0.99
        covered = ((rendering.mask.detach() > 0.99) & shown).float()
        color = rendering.color
        if color.device.type != "cpu":
            parts = zip(terms, color, covered, strict=True)
            return torch.stack([term.reference(part[None], inside[None]) for term, part, inside in parts])
        evaluate = [partial(term.evaluate, inside) for term, inside in zip(terms, covered.numpy(), strict=True)]
        return PyramidEnergies.apply(color, evaluate) / stacked_areas(terms)

    def evaluate(self, covered: np.ndarray, color: np.ndarray, gradient: np.ndarray) -> float:
        """The energy of a rendered picture, times ``area``.

        Args:
            covered: (h, w, 1) 1 where the frame and the rendering both show the object, else 0.
            color: (h, w, 3) rendered.
            gradient: (h, w, 3) zeros; the gradient in the rendered picture is written to it.
        """
        inside = [covered]
        for _ in self.target_levels[1:]:
            inside.append(pooled(inside[-1]))
        return pyramid_energy(color, on_cpu(self.target_levels), huber_where(inside, self.threshold), gradient)

    def reference(self, color: Tensor, covered: Tensor) -> Tensor:
        """The energy in torch, on the colours' device: for GPUs and as a reference.

        Args:
            color: (1, h, w, 3) rendered.
            covered: (1, h, w, 1) 1 where the frame and the rendering both show the object, else 0.
        """
        energy = torch.zeros_like(self.area)
        layers = zip(
            pyramid(color, self.levels),
            self.target_levels,
            pyramid(covered, self.levels),
            strict=True,
        )
        for rendered, target, inside in layers:
            loss = huber_loss(rendered, target, reduction="none", delta=self.threshold) / self.threshold
            energy = energy + (loss.mean(1, keepdim=True) * (inside > 0.999)).mean()
        return energy / self.area


class FlowTracks:
    """Huber loss of the distances between projected vertices and their optical-flow tracks.

    Args:
        weight: factor in the sum.
        camera: the video's, not cropped.
        index: (N,) vertices.
        targets: (N, 2) fractions of the picture's width and height.
        confidence: (N,) in [0, 1].
        span: the object's size in fractions of the picture's height, the unit of distances.
        threshold: of the Huber loss, in that unit.
    """

    name = "flow"

    def __init__(
        self,
        weight: float,
        camera: Camera,
        index: Tensor,
        targets: Tensor,
        confidence: Tensor,
        span: float,
        threshold: float = 0.01,
    ) -> None:
        self.weight, self.camera, self.index = weight, camera, index
        self.targets, self.confidence, self.span, self.threshold = targets, confidence, span, threshold

    def __call__(self, state: State) -> Tensor:
        """Mean Huber loss over the tracks, divided by its threshold."""
        if len(self.index) == 0:
            return state.vertices.sum() * 0
        projected = image_fractions(self.camera, state.vertices.index_select(0, self.index))
        stretch = projected.new_tensor([self.camera.aspect, 1.0]) / self.span
        distance = (((projected - self.targets) * stretch).square().sum(1) + 1e-12).sqrt()
        loss = huber_loss(distance, torch.zeros_like(distance), reduction="none", delta=self.threshold) / self.threshold
        return (loss * self.confidence).mean()


@torch.no_grad()
def visible_vertices(vertices: Tensor, faces: Tensor, camera: Camera, size: int, min_cosine: float = 0.25) -> Tensor:
    """Indices (N,) of the vertices that are visible to the camera, by depth test, and not too oblique.

    Args:
        vertices: (V, 3) in the space of an identity camera.
        faces: (F, 3).
        camera: the video's, cropped to a window around the object.
        size: rows of the depth image.
        min_cosine: least cosine between the normal and the direction to the camera.
    """
    wide = (camera.window[2] - camera.window[0]) * camera.aspect / (camera.window[3] - camera.window[1])
    shape = (size, max(1, round(size * wide)))
    picture = render(vertices, faces, camera, shape, channels=("normal", "depth"), antialias=False)
    pixels, depth = camera.project(vertices, shape)
    column, row = pixels[0].floor().long().unbind(1)
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    column, row = column.clamp(0, shape[1] - 1), row.clamp(0, shape[0] - 1)
    extent = float((vertices.amax(0) - vertices.amin(0)).max())
    front = picture.depth[0, row, column, 0]
    visible = inside & (front > 0) & (depth[0] < front + 0.01 * extent)
    toward = torch.nn.functional.normalize(-vertices, dim=1)
    visible &= (vertex_normals(vertices, faces) * toward).sum(1) > min_cosine
    return torch.nonzero(visible)[:, 0]
