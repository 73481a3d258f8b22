"""Edge lengths of a mesh at rest, and how far a pose stretches or compresses the edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from v2m4.geometry import unique_edges


@dataclass(frozen=True)
class EdgeLengths:
    """Edges of a mesh and their lengths in the rest pose.

    Attributes:
        edges: (E, 2) int64.
        lengths: (E,), above 0: edges of length 0 are left out.
    """

    edges: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, vertices: Tensor, faces: Tensor) -> EdgeLengths:
        """Edge lengths of a rest pose (V, 3) with faces (F, 3)."""
        edges = unique_edges(faces)
        lengths = _lengths(vertices, edges)
        kept = lengths > 1e-6 * lengths.max() if len(lengths) else lengths > 0
        return cls(edges[kept], lengths[kept])

    def stretch_ratios(self, vertices: Tensor) -> np.ndarray:
        """Ratio (E,) of each edge's length in a pose (V, 3) to that at rest, or its inverse: at least 1."""
        ratio = _lengths(vertices, self.edges) / self.lengths
        return torch.maximum(ratio, 1 / ratio.clamp_min(1e-6)).cpu().double().numpy()


def _lengths(vertices: Tensor, edges: Tensor) -> Tensor:
    first, second = (vertices.detach().index_select(0, edges[:, end]) for end in (0, 1))
    return (first - second).norm(dim=1)
