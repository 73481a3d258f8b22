"""What paint shows around a place, asked of outlines and of paint itself: parts move as bodies, not point by point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from registration.correspondences.constraints import Constraints
from v2m4.image_window import ImageWindow

NEIGHBOURS = 24
RADIUS = 0.06  # of the object's size, in space: standard deviation of how far neighbours are asked
ENOUGH = 0.2  # sum of confidences that makes a neighbourhood half trusted
CONTRARY = 1.5  # pixels that a way may differ by from the neighbours', and
CONTRARY_SHARE = 0.3  # of the way


@dataclass(frozen=True)
class MotionConsensus:
    """Ways that points of the surface go in a view, as paint shows them.

    Attributes:
        places: of the N points, in space, in sizes of the object.
        ways: (N, 2) pixels of the view.
        weights: (N,) confidence.
        size: of the object in units of space.
    """

    places: cKDTree
    ways: np.ndarray
    weights: np.ndarray
    size: float

    @classmethod
    def of(cls, paint: Constraints, vertices: Tensor, faces: Tensor, view: ImageWindow, size: float) -> MotionConsensus:
        """Of what is seen of a pose (V, 3); ``size`` is the object's, in units of space."""
        points = paint.points.on(vertices, faces)
        pixels, _ = view.camera.project(points, view.shape)
        ways = view.pixels(paint.targets) - pixels[0].double().numpy()
        return cls(cKDTree(points.numpy() / size), ways, np.square(paint.root).sum((1, 2)) / 2, size)

    def agreement(self, points: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """How far what is seen around points (M, 3) of the pose allows ways (M, 2): (M,), 1 where nothing is seen."""
        if len(self.ways) == 0 or len(points) == 0:
            return np.ones(len(points))
        count = min(NEIGHBOURS, len(self.ways))
        distance, index = self.places.query(points / self.size, k=np.arange(1, count + 1))
        near = self.weights[index] * np.exp(-0.5 * np.square(distance / RADIUS))
        total = near.sum(1)
        share = near / np.maximum(total, 1e-9)[:, None]
        mean = (share[..., None] * self.ways[index]).sum(1)
        length = np.linalg.norm(ways, axis=1)
        along = ways / np.maximum(length, 1e-6)[:, None]
        spread = (share * np.square(((self.ways[index] - mean[:, None]) * along[:, None]).sum(2))).sum(1)
        off = np.abs((mean * along).sum(1) - length)
        contrary = off / (CONTRARY + CONTRARY_SHARE * length + np.sqrt(spread))
        return 1 - total / (total + ENOUGH) * (1 - np.exp(-np.square(contrary)))
