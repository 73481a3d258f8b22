"""Agreement of a displacement in the image with the displacements of the surface around it.

Parts of an object move as bodies, so a correspondence on an outline that contradicts the appearance matches of its
neighbourhood is likely to belong to another part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from registration.correspondences.constraints import Constraints
from registration.correspondences.tuning import TUNING
from v2m4.image_window import ImageWindow


@dataclass(frozen=True)
class MotionConsensus:
    """Image displacements of surface points, searchable by the points' positions in space.

    Attributes:
        tree: of the N points' positions, in sizes of the object.
        displacements: (N, 2) pixels of the image window.
        weights: (N,) confidence of each, in [0, 1].
        object_size: units of space.
    """

    tree: cKDTree
    displacements: np.ndarray
    weights: np.ndarray
    object_size: float

    @classmethod
    def of(
        cls, constraints: Constraints, vertices: Tensor, faces: Tensor, view: ImageWindow, object_size: float
    ) -> MotionConsensus:
        """Build it from the appearance constraints of a pose.

        Args:
            constraints: N, in the frame of ``view``.
            vertices: (V, 3) the pose.
            faces: (F, 3).
            view: image window that displacements are measured in.
            object_size: units of space.
        """
        points = constraints.points.on(vertices, faces)
        pixels, _ = view.camera.project(points, view.shape)
        displacements = view.pixels(constraints.targets) - pixels[0].double().numpy()
        weights = np.square(constraints.sqrt_information).sum((1, 2)) / 2
        return cls(cKDTree(points.numpy() / object_size), displacements, weights, object_size)

    def agreement(self, points: np.ndarray, displacements: np.ndarray) -> np.ndarray:
        """How well displacements agree with those of the neighbouring surface, along their own direction.

        The neighbours are averaged with weights that fall off as a Gaussian of the distance; where they disagree among
        each other, more is tolerated.

        Args:
            points: (M, 3) positions on the pose's surface.
            displacements: (M, 2) pixels of the image window.

        Returns:
            (M,) in [0, 1]; 1 where there is no neighbour.
        """
        if len(self.displacements) == 0 or len(points) == 0:
            return np.ones(len(points))
        count = min(TUNING.consensus_neighbours, len(self.displacements))
        distance, index = self.tree.query(points / self.object_size, k=np.arange(1, count + 1))
        weights = self.weights[index] * np.exp(-0.5 * np.square(distance / TUNING.consensus_radius))
        total = weights.sum(1)
        share = weights / np.maximum(total, 1e-9)[:, None]
        mean = (share[..., None] * self.displacements[index]).sum(1)
        length = np.linalg.norm(displacements, axis=1)
        direction = displacements / np.maximum(length, 1e-6)[:, None]
        deviations = ((self.displacements[index] - mean[:, None]) * direction[:, None]).sum(2)
        variance = (share * np.square(deviations)).sum(1)
        difference = np.abs((mean * direction).sum(1) - length)
        tolerance = TUNING.displacement_tolerance + TUNING.relative_displacement_tolerance * length + np.sqrt(variance)
        disagreement = 1 - np.exp(-np.square(difference / tolerance))
        return 1 - total / (total + TUNING.consensus_half_weight) * disagreement
