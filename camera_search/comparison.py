"""Similarity of renders of one mesh, from given views, with one frame."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from camera_search.sampling import MaskBox
from camera_search.similarity import MaskedImages, Similarity
from camera_search.views import ViewParameters
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.threads import in_order

BATCH_PIXELS = 32 * 96 * 96  # pixels rendered at once by a thread; more exceeds a CPU's caches and is slower
BATCH_PIXELS_ON_CUDA = 512 * 96 * 96  # about 4 GiB with the temporaries of the comparison
# Surfaces whose area vectors sum to more than this share of their area are sheets; a half sphere has 0.5. Seen from
# behind, a sheet without texture looks as from the front, but viewers do not show the back of a single-sided material.
SHEET = 0.4
BACK_PENALTY = 0.03  # of similarity


class RenderComparison:
    """Comparison of a mesh with a frame, both in the window about the frame's object.

    Attributes:
        mesh: the mesh that is rendered.
        frame: the reference.
        similarity: compares renders with the frame.
        box: bounding box of the frame's foreground.
        window: the part of the image that is compared.
        view_parameters: converts view parameters and cameras.
    """

    def __init__(
        self, mesh: Mesh, frame: Frame, similarity: Similarity, view_parameters: ViewParameters | None = None
    ) -> None:
        """Compute the box and the window of the frame.

        Args:
            mesh: with vertex colours or a texture.
            frame: with a foreground.
            similarity: compares renders with the frame.
            view_parameters: where views are shared between several simplifications of a mesh, whose bounding boxes may
                differ; those of ``mesh`` if None.

        Raises:
            ValueError: the frame has no foreground, or the mesh no faces.
        """
        if len(mesh.faces) == 0:
            raise ValueError(f"frame {frame.name}: the mesh to search a camera for has no faces")
        self.mesh, self.frame, self.similarity = mesh, frame, similarity
        self.box = MaskBox.of_frame(frame)
        self.window = self.box.window(frame.aspect)
        self.view_parameters = view_parameters or ViewParameters.of_mesh(mesh, frame.aspect, frame.fov)
        self.front = sheet_normal(mesh)
        self.reference = lru_cache(maxsize=4)(self._reference)

    def _reference(self, size: int) -> MaskedImages:
        """Window of the frame, ``size`` pixels square."""
        return MaskedImages.of_frame(self.frame, size, self.window).to(self.mesh.vertices.device)

    def camera(self, views: Tensor) -> Camera:
        """Cameras of views (B, 5 or 6), cropped to the window."""
        return self.view_parameters.camera(views).cropped(self.window)

    def render(self, views: Tensor, size: int) -> MaskedImages:
        """Renders of views (B, 5), ``size`` pixels square, differentiable."""
        rendering = render_mesh(self.mesh, self.camera(views), size, channels=("color", "mask"))
        return MaskedImages(rendering.color, rendering.mask)

    def score(self, views: Tensor, size: int) -> Tensor:
        """Similarity (B,) of renders of views (B, 5) with the frame, without gradients."""
        on_cuda = self.mesh.vertices.device.type == "cuda"
        batch = max(1, (BATCH_PIXELS_ON_CUDA if on_cuda else BATCH_PIXELS) // size**2)
        self.reference(size)  # before several threads ask for it

        def of_batch(part: Tensor) -> Tensor:
            with torch.no_grad():  # which holds for one thread
                return self.similarity.score(self.render(part, size), self.reference(size))

        several = not on_cuda and getattr(self.similarity, "concurrent", False)
        scores = torch.cat(in_order(of_batch, views.split(batch), several=several))
        return scores if self.front is None else scores - BACK_PENALTY * self._from_behind(views).to(scores)

    def _from_behind(self, views: Tensor) -> Tensor:
        """Whether views (B, 5 or 6) see the back of a sheet, (B,) bool."""
        assert self.front is not None
        towards = self.view_parameters.camera(views).positions() - self.view_parameters.center.to(views)
        return towards @ self.front.to(views) < 0


def sheet_normal(mesh: Mesh) -> Tensor | None:
    """Mean normal (3,) of a mesh that is rather a sheet than a body, by its faces' areas; None for any other.

    The area vectors of a closed surface sum to 0, those of a plane to its area times its normal.
    """
    corners = mesh.vertices.detach()[mesh.faces.long()]
    vectors = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = vectors.sum(0)
    return total if float(total.norm()) > SHEET * float(vectors.norm(dim=1).sum()) > 0 else None
