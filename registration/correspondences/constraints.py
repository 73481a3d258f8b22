"""What a frame tells of a moving surface: points of it that lie on a ray, or on a line of rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from v2m4.surface_points import SurfacePoints


@dataclass(frozen=True)
class NormalConstraints:
    """Which way points of a mesh's surface face in one frame, as far as their shade tells.

    The residual of point i is ``sqrt(confidence[i]) (normal[i] . axes[i] - values[i])``, in radians where it is small.

    Attributes:
        points: M points, on triangles.
        axes: (M, 3) float64, unit vectors, camera axes.
        values: (M,) cosine between the normal and the axis.
        confidence: (M,) 0 to 1.
    """

    points: SurfacePoints
    axes: np.ndarray
    values: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Constraints:
    """Points of a mesh's surface and where one frame shows them.

    The residual of point i is ``root[i] @ ((projected[i] - targets[i]) * (aspect, 1))``, in heights of the picture:
    with ``root = sqrt(c) I`` the point is seen with confidence c, with ``root = sqrt(c) n n^T`` it may slide along a
    line across n (the aperture problem, an outline).

    Attributes:
        points: N points, on triangles.
        targets: (N, 2) float64, fractions of the picture's width and height.
        root: (N, 2, 2) float64, a square root of the information; 0 to 1.
        facing: what shade tells of other points' normals; None where nobody asked.
    """

    points: SurfacePoints
    targets: np.ndarray
    root: np.ndarray
    facing: NormalConstraints | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def at_points(cls, points: SurfacePoints, targets: np.ndarray, confidence: np.ndarray) -> Constraints:
        """Points seen at (N, 2), each with a confidence (N,) in [0, 1]."""
        return cls(points, targets, np.sqrt(confidence)[:, None, None] * np.eye(2))

    @classmethod
    def on_lines(
        cls, points: SurfacePoints, targets: np.ndarray, normals: np.ndarray, confidence: np.ndarray
    ) -> Constraints:
        """Points on lines through (N, 2) across unit normals (N, 2), these in units of the picture's height."""
        across = normals[:, :, None] * normals[:, None, :]
        return cls(points, targets, np.sqrt(confidence)[:, None, None] * across)

    @classmethod
    def joined(cls, parts: Sequence[Constraints]) -> Constraints:
        """All of several sets of one mesh and frame; at least one, and one at most that tells of normals."""
        faces = torch.cat([part.points.faces for part in parts])
        weights = torch.cat([part.points.weights for part in parts])
        targets, roots = ([getattr(part, name) for part in parts] for name in ("targets", "root"))
        facing = next((part.facing for part in parts if part.facing is not None), None)
        return cls(SurfacePoints(faces, weights), np.concatenate(targets), np.concatenate(roots), facing)

    def weighted(self, factor: float | np.ndarray) -> Constraints:
        """With all places' confidences times ``factor``, one or (N,)."""
        return replace(self, root=self.root * np.sqrt(np.asarray(factor)).reshape(-1, 1, 1))
