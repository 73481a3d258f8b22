"""Surface points by face and barycentric coordinates, valid in every pose of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh's surface, independent of its vertex positions.

    Attributes:
        faces: (N,) int64.
        weights: (N, 3) barycentric.
    """

    faces: Tensor
    weights: Tensor

    def on(self, vertices: Tensor, triangles: Tensor) -> Tensor:
        """Positions (N, 3) for vertices (V, 3) and faces ``triangles`` (F, 3)."""
        corners = triangles.index_select(0, self.faces).reshape(-1)
        return (vertices.index_select(0, corners).reshape(-1, 3, 3) * self.weights[..., None]).sum(1)
