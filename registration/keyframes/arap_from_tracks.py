"""As-rigid-as-possible deformation that puts vertices on the viewing rays of point tracks, by local and global steps.

Each global step is two solves with matrices that are factored once, so that a large motion between frames takes a
fraction of a second; the result is the initial pose of a descent on the full energy.
"""

from __future__ import annotations

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


def arap_from_tracks(
    vertices: Tensor,
    arap: Arap,
    camera: Camera,
    index: np.ndarray,
    targets: np.ndarray,
    confidence: np.ndarray,
    weight: float = 1.0,
    iterations: int = 20,
) -> Tensor:
    """Deforms a pose so that vertices project to their targets, as rigidly as possible.

    A target constrains a vertex's x and y to the ray at the vertex's current depth. Depths follow from the ARAP energy
    and a curvature penalty on their change; the ARAP energy alone would buckle a region that shrinks in the image.

    Args:
        vertices: (V, 3) in the space of the (identity) camera.
        arap: rest shape.
        camera: the video's, not cropped.
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
    points = vertices.detach().cpu().double().numpy().copy()
    laplacian = arap.graph.laplacian()
    scale = laplacian.diagonal().mean()
    track_weight = np.zeros(len(points))
    track_weight[index] = weight * scale * confidence
    depth_prior = DEPTH_PRIOR_WEIGHT * scale
    image_solver = LuSolver(laplacian + sparse.diags(track_weight + 1e-8 * scale))
    bending = DEPTH_CURVATURE_WEIGHT / scale * (laplacian @ laplacian)
    depth_solver = LuSolver(laplacian + bending + sparse.diags(np.full(len(points), depth_prior)))
    pixels = torch.from_numpy(np.concatenate([targets, np.ones((len(targets), 1))], 1))
    rays = (pixels @ torch.linalg.inv(camera.intrinsics((1, 1)).double().cpu()).T).numpy()
    initial_depth = points[:, 2].copy()
    for _ in range(iterations):
        right = arap.right_side(arap.fit(points)[0])
        right[index, :2] += track_weight[index, None] * rays[:, :2] * points[index, 2:]
        right[:, :2] += 1e-8 * scale * points[:, :2]
        right[:, 2] += depth_prior * initial_depth + bending @ initial_depth
        points[:, :2] = image_solver.solve(torch.from_numpy(right[:, :2])).numpy()
        points[:, 2:] = depth_solver.solve(torch.from_numpy(right[:, 2:])).numpy()
    return torch.from_numpy(points).to(vertices)
