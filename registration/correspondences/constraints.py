"""Constraints that one frame puts on the pose of a mesh: image positions of surface points, and surface normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from v2m4.surface_points import SurfacePoints


@dataclass(frozen=True)
class NormalConstraints:
    """Cosines between surface normals and given axes, as estimated from shading in one frame.

    The residual of point i is ``sqrt(confidence[i]) (normal[i] . axes[i] - cosines[i])``: radians, where it is small.

    Attributes:
        points: M points on the mesh's triangles.
        axes: (M, 3) float64, unit vectors in camera coordinates.
        cosines: (M,) float64, between the normal and the axis.
        confidence: (M,) float64, in [0, 1].
    """

    points: SurfacePoints
    axes: np.ndarray
    cosines: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.cosines)


@dataclass(frozen=True)
class Constraints:
    """Correspondences between points of a mesh's surface and positions, or lines, in one frame.

    The residual of point i is ``sqrt_information[i] @ ((projected[i] - targets[i]) * (aspect, 1))``, in heights of the
    image. With ``sqrt_information = sqrt(c) I`` the point corresponds to its target with confidence c; with
    ``sqrt(c) n n^T`` only the distance across n counts, and the point may slide along a line (an outline; the aperture
    problem).

    Attributes:
        points: N points on the mesh's triangles.
        targets: (N, 2) float64, fractions of the image's width and height.
        sqrt_information: (N, 2, 2) float64, symmetric, eigenvalues in [0, 1].
        normal_constraints: constraints on the normals of other points of the surface; None for none.
    """

    points: SurfacePoints
    targets: np.ndarray
    sqrt_information: np.ndarray
    normal_constraints: NormalConstraints | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def at_points(cls, points: SurfacePoints, targets: np.ndarray, confidence: np.ndarray) -> Constraints:
        """Point-to-point correspondences.

        Args:
            points: N.
            targets: (N, 2) fractions of the image.
            confidence: (N,) in [0, 1].
        """
        return cls(points, targets, np.sqrt(confidence)[:, None, None] * np.eye(2))

    @classmethod
    def on_lines(
        cls, points: SurfacePoints, targets: np.ndarray, normals: np.ndarray, confidence: np.ndarray
    ) -> Constraints:
        """Point-to-line correspondences.

        Args:
            points: N.
            targets: (N, 2) fractions of the image, a point of each line.
            normals: (N, 2) unit normals of the lines, in units of the image's height.
            confidence: (N,) in [0, 1].
        """
        across = normals[:, :, None] * normals[:, None, :]
        return cls(points, targets, np.sqrt(confidence)[:, None, None] * across)

    @classmethod
    def joined(cls, parts: Sequence[Constraints]) -> Constraints:
        """Several sets of one mesh and frame, concatenated.

        Args:
            parts: at least one, of which one at most has normal constraints.
        """
        faces = torch.cat([part.points.faces for part in parts])
        weights = torch.cat([part.points.weights for part in parts])
        targets, roots = ([getattr(part, name) for part in parts] for name in ("targets", "sqrt_information"))
        normals = next((part.normal_constraints for part in parts if part.normal_constraints is not None), None)
        return cls(SurfacePoints(faces, weights), np.concatenate(targets), np.concatenate(roots), normals)

    def weighted(self, factor: float | np.ndarray) -> Constraints:
        """The constraints with the confidence of their points multiplied by ``factor``, a number or (N,)."""
        root = self.sqrt_information * np.sqrt(np.asarray(factor)).reshape(-1, 1, 1)
        return replace(self, sqrt_information=root)
