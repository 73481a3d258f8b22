"""Terms in the video's own view: outline, colour, point tracks. They decide how the animation looks over the video."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, huber_loss

from registration.keyframes.energy import State
from v2m4.camera import Camera, image_fractions
from v2m4.frame import Frame
from v2m4.geometry import vertex_normals
from v2m4.mesh import Mesh
from v2m4.render import Rendering, render


@dataclass(frozen=True, eq=False)  # one is equal to itself alone: a pose keeps its rendering by the view
class VideoView:
    """One frame seen through a window around the object, with the look that the mesh is rendered with.

    Attributes:
        camera: the video's, cropped to the window.
        color: (h, w, 3) over ``background``.
        mask: (h, w, 1).
        mesh: topology with its texture or vertex colours; its vertices are not used.
        background: gray value.
    """

    camera: Camera
    color: Tensor
    mask: Tensor
    mesh: Mesh
    background: float = 0.5

    @classmethod
    def of(cls, frame: Frame, window: tuple[float, float, float, float], size: int, mesh: Mesh) -> VideoView:
        """The frame's window at ``size`` rows."""
        device = mesh.vertices.device
        color, mask = frame.tensors(size, window, background=cls.background)
        camera = frame.camera(device).cropped(window)
        return cls(camera, color.to(device), mask.to(device), mesh)

    def rendering(self, state: State) -> Rendering:
        """The pose in this view, rendered once a step."""
        return state.shared(("rendering", self), lambda: self.render(state.vertices))

    def render(self, vertices: Tensor) -> Rendering:
        """A pose (V, 3) in this view: colour and mask."""
        mesh, size = self.mesh, (self.mask.shape[0], self.mask.shape[1])
        textured = mesh.uvs is not None and mesh.texture is not None
        return render(
            vertices,
            mesh.faces,
            self.camera,
            size,
            colors=mesh.colors,
            uvs=mesh.uvs if textured else None,
            uv_faces=mesh.uv_faces if textured else None,
            texture=mesh.texture if textured else None,
            channels=("color",),
            background=self.background,
        )


def pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """A picture (1, h, w, C) at full, quarter, ... size as (1, C, h, w): each is the last averaged over 4 x 4."""
    layers = [picture.permute(0, 3, 1, 2)]
    for _ in range(levels - 1):
        if min(layers[-1].shape[2:]) < 8:
            break
        layers.append(avg_pool2d(layers[-1], 4))
    return layers


class Silhouette:
    """Squared difference of the masks over two scales; the coarse one reaches where outlines do not overlap."""

    name = "silhouette"

    def __init__(self, weight: float, view: VideoView, levels: int = 2) -> None:
        self.weight, self.view, self.levels = weight, view, levels
        self.wanted = pyramid(view.mask[None], levels)
        self.area = view.mask.mean().clamp_min(1e-6)

    def __call__(self, state: State) -> Tensor:
        """Mean over pixels, relative to the share of the window that the object fills."""
        seen = pyramid(self.view.rendering(state).mask, self.levels)
        pairs = zip(seen, self.wanted, strict=True)
        return sum(((a - b).square().mean() for a, b in pairs), torch.zeros_like(self.area)) / self.area


class Colour:
    """Robust difference of colours where the frame and the pose both show the object; holds the texture in place."""

    name = "colour"

    def __init__(self, weight: float, view: VideoView, levels: int = 2, threshold: float = 0.1) -> None:
        self.weight, self.view, self.levels, self.threshold = weight, view, levels, threshold
        self.wanted = pyramid(view.color[None], levels)
        self.area = view.mask.mean().clamp_min(1e-6)

    def __call__(self, state: State) -> Tensor:
        """Mean Huber loss over channels, the object's pixels and scales, over its threshold: L1 for large errors."""
        rendering = self.view.rendering(state)
        # Outlines are the silhouette term's work: there both pictures show the background through.
        both = (rendering.mask.detach() > 0.99) & (self.view.mask[None] > 0.99)
        energy = torch.zeros_like(self.area)
        layers = zip(
            pyramid(rendering.color, self.levels), self.wanted, pyramid(both.float(), self.levels), strict=True
        )
        for seen, wanted, inside in layers:
            loss = huber_loss(seen, wanted, reduction="none", delta=self.threshold) / self.threshold
            energy = energy + (loss.mean(1, keepdim=True) * (inside > 0.999)).mean()
        return energy / self.area


class FlowTracks:
    """Vertices come to lie where their tracks are seen.

    Args:
        weight: factor in the sum.
        camera: the video's, not cropped.
        index: (N,) vertices.
        targets: (N, 2) fractions of the picture's width and height.
        confidence: (N,) in [0, 1].
        span: the object's size in fractions of the picture's height, the unit of distances.
        threshold: distance, in that unit, from which on a deviation counts linearly.
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
        found = image_fractions(self.camera, state.vertices.index_select(0, self.index))
        stretch = found.new_tensor([self.camera.aspect, 1.0]) / self.span
        distance = (((found - self.targets) * stretch).square().sum(1) + 1e-12).sqrt()
        loss = huber_loss(distance, torch.zeros_like(distance), reduction="none", delta=self.threshold) / self.threshold
        return (loss * self.confidence).mean()


@torch.no_grad()
def visible_vertices(vertices: Tensor, faces: Tensor, camera: Camera, size: int, facing: float = 0.25) -> Tensor:
    """Indices (N,) of the vertices that the camera sees, not too obliquely.

    Args:
        vertices: (V, 3) in the space of an identity camera.
        faces: (F, 3).
        camera: the video's, cropped to a window around the object.
        size: pixels (rows) that visibility is decided at.
        facing: least cosine between the normal and the way to the camera.
    """
    wide = (camera.window[2] - camera.window[0]) * camera.aspect / (camera.window[3] - camera.window[1])
    shape = (size, max(1, round(size * wide)))
    picture = render(vertices, faces, camera, shape, channels=("normal", "depth"), antialias=False)
    pixels, depth = camera.project(vertices, shape)
    column, row = pixels[0].floor().long().unbind(1)
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    column, row = column.clamp(0, shape[1] - 1), row.clamp(0, shape[0] - 1)
    reach = float((vertices.amax(0) - vertices.amin(0)).max())
    front = picture.depth[0, row, column, 0]
    seen = inside & (front > 0) & (depth[0] < front + 0.01 * reach)
    toward = torch.nn.functional.normalize(-vertices, dim=1)
    seen &= (vertex_normals(vertices, faces) * toward).sum(1) > facing
    return torch.nonzero(seen)[:, 0]
