"""One mesh against one frame: renders views of it and says how much they look like the picture."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from camera_search.sampling import MaskBox
from camera_search.similarity import Pictures, Similarity
from camera_search.views import ViewSpace
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.render import render_mesh

BATCH_PIXELS = 64 * 96 * 96  # pixels rendered at once: more does not fit a CPU's caches, and is slower
BATCH_PIXELS_ON_CUDA = 512 * 96 * 96  # about 4 GiB with all that the comparison makes of them


class Comparison:
    """Renders of a mesh beside a frame, both through the window about the frame's object.

    Attributes:
        mesh: what is rendered.
        frame: what it is compared with.
        box: the box about the frame's foreground.
        window: the part of the picture that is compared.
        space: the views' conventions.
    """

    def __init__(self, mesh: Mesh, frame: Frame, similarity: Similarity) -> None:
        """Prepare.

        Args:
            mesh: with vertex colours or a texture.
            frame: with a foreground.
            similarity: what compares the pictures.

        Raises:
            ValueError: the frame has no foreground, or the mesh no faces.
        """
        if len(mesh.faces) == 0:
            raise ValueError(f"frame {frame.name}: the mesh to search a camera for has no faces")
        self.mesh, self.frame, self.similarity = mesh, frame, similarity
        self.box = MaskBox.of_frame(frame)
        self.window = self.box.window(frame.aspect)
        self.space = ViewSpace.of_mesh(mesh, frame.aspect, frame.fov)
        self.reference = lru_cache(maxsize=4)(self._reference)

    def _reference(self, size: int) -> Pictures:
        """The frame's window, ``size`` pixels square."""
        return Pictures.of_frame(self.frame, size, self.window).to(self.mesh.vertices.device)

    def camera(self, views: Tensor) -> Camera:
        """The cameras of views (B, 5 or 6), looking at the window."""
        return self.space.camera(views).cropped(self.window)

    def pictures(self, views: Tensor, size: int) -> Pictures:
        """Renders of views (B, 5), differentiable."""
        rendering = render_mesh(self.mesh, self.camera(views), size, channels=("color", "mask"))
        return Pictures(rendering.color, rendering.mask)

    def score(self, views: Tensor, size: int) -> Tensor:
        """How much views (B, 5) look like the frame, (B,), without gradients."""
        on_cuda = self.mesh.vertices.device.type == "cuda"
        batch = max(1, (BATCH_PIXELS_ON_CUDA if on_cuda else BATCH_PIXELS) // size**2)
        with torch.no_grad():
            return torch.cat(
                [self.similarity.score(self.pictures(part, size), self.reference(size)) for part in views.split(batch)]
            )
