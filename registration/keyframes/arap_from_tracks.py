"""As-rigid-as-possible deformation that puts vertices on the viewing rays of point tracks, by local and global steps.

Each global step is two solves with matrices that are factored once, so that a large motion between frames takes a
fraction of a second; the result is the initial pose of a descent on the full energy.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from registration.elasticity.arap import Arap
from registration.elasticity.sparse_solver import LuSolver
from v2m4.camera import Camera

DEPTH_PRIOR_WEIGHT = 1e-4  # of the initial depths, which makes them unique
# Weight of the depth changes' curvature, so that a region that shrinks in the image is not dented.
DEPTH_CURVATURE_WEIGHT = 100.0


class ArapFromTracks:
    """The deformation of poses of one rest shape.

    A target constrains a vertex's x and y to the ray at the vertex's current depth. Depths follow from the ARAP energy
    and a curvature penalty on their change; the ARAP energy alone would buckle a region that shrinks in the image. The
    matrix of the depths does not depend on the tracks, and is factored when it is first needed.

    Args:
        arap: rest shape.
        camera: the video's, not cropped.
    """

    def __init__(self, arap: Arap, camera: Camera) -> None:
        self.arap, self.camera = arap, camera
        self.laplacian = arap.graph.laplacian()
        self.scale = self.laplacian.diagonal().mean()
        self.depth_prior = DEPTH_PRIOR_WEIGHT * self.scale

    @cached_property
    def _bending(self) -> sparse.csr_matrix:
        return DEPTH_CURVATURE_WEIGHT / self.scale * (self.laplacian @ self.laplacian)

    @cached_property
    def _depth_solver(self) -> LuSolver:
        prior = sparse.diags(np.full(self.laplacian.shape[0], self.depth_prior))
        return LuSolver(self.laplacian + self._bending + prior)

    def __call__(
        self,
        vertices: Tensor,
        index: np.ndarray,
        targets: np.ndarray,
        confidence: np.ndarray,
        weight: float = 1.0,
        iterations: int = 20,
    ) -> Tensor:
        """Deforms a pose so that vertices project to their targets, as rigidly as possible.

        Args:
            vertices: (V, 3) in the space of the (identity) camera.
            index: (N,) vertices with a target, each once.
            targets: (N, 2) fractions of the picture.
            confidence: (N,) in [0, 1].
            weight: weight of a target of confidence 1, relative to the mean diagonal of the graph's Laplacian.
            iterations: number of local and global steps.

        Returns:
            the deformed pose, (V, 3).
        """
        if len(index) == 0:
            return vertices
        arap, scale, bending = self.arap, self.scale, self._bending
        points = vertices.detach().cpu().double().numpy().copy()
        track_weight = np.zeros(len(points))
        track_weight[index] = weight * scale * confidence
        image_solver = LuSolver(self.laplacian + sparse.diags(track_weight + 1e-8 * scale))
        pixels = torch.from_numpy(np.concatenate([targets, np.ones((len(targets), 1))], 1))
        rays = (pixels @ torch.linalg.inv(self.camera.intrinsics((1, 1)).double().cpu()).T).numpy()
        initial_depth = self.depth_prior * points[:, 2] + bending @ points[:, 2]
        for _ in range(iterations):
            right = arap.right_side(arap.fit(points)[0])
            right[index, :2] += track_weight[index, None] * rays[:, :2] * points[index, 2:]
            right[:, :2] += 1e-8 * scale * points[:, :2]
            right[:, 2] += initial_depth
            points[:, :2] = image_solver.solve(torch.from_numpy(right[:, :2])).numpy()
            points[:, 2:] = self._depth_solver.solve(torch.from_numpy(right[:, 2:])).numpy()
        return torch.from_numpy(points).to(vertices)
