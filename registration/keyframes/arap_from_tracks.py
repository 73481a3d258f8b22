"""A pose from point tracks alone: as rigid as possible, with anchors on viewing rays, by local and global steps.

Each global step is two solves with factors made once, so a whole frame's motion, however large, is followed in a
fraction of a second; the descent that comes after only has to mend what is left.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from registration.elasticity.arap import Arap
from registration.elasticity.sparse_solver import factorize
from v2m4.camera import Camera

DEPTH_PULL = 1e-4  # weight of the depths' starting values: only what nothing else decides
# Weight of changes of the depths' second differences, so that a patch that shrinks in the picture is not dented.
DEPTH_BENDING = 100.0


def arap_from_tracks(
    vertices: Tensor,
    arap: Arap,
    camera: Camera,
    index: np.ndarray,
    targets: np.ndarray,
    confidence: np.ndarray,
    strength: float = 1.0,
    iterations: int = 20,
) -> Tensor:
    """Deform a pose so that vertices come to lie on the rays of their targets.

    An anchor pulls x and y towards the ray at the vertex's own depth; depths follow from the rest shape's lengths, and
    change as smoothly as they can: lengths alone would buckle what grows narrower in the picture.

    Args:
        vertices: (V, 3) in the space of the (identity) camera.
        arap: rest shape.
        camera: the video's, not cropped.
        index: (N,) anchored vertices, each once.
        targets: (N, 2) fractions of the picture.
        confidence: (N,) in [0, 1].
        strength: weight of a fully trusted anchor, relative to the mean diagonal of the graph's Laplacian.
        iterations: of local and global step.

    Returns:
        (V, 3).
    """
    if len(index) == 0:
        return vertices
    points = vertices.detach().cpu().double().numpy().copy()
    laplacian = arap.graph.laplacian()
    scale = laplacian.diagonal().mean()
    anchor = np.zeros(len(points))
    anchor[index] = strength * scale * confidence
    pull = DEPTH_PULL * scale
    across = factorize(laplacian + sparse.diags(anchor + 1e-8 * scale))
    bending = DEPTH_BENDING / scale * (laplacian @ laplacian)
    along = factorize(laplacian + bending + sparse.diags(np.full(len(points), pull)))
    pixels = torch.from_numpy(np.concatenate([targets, np.ones((len(targets), 1))], 1))
    rays = (pixels @ torch.linalg.inv(camera.intrinsics((1, 1)).double().cpu()).T).numpy()
    first_depth = points[:, 2].copy()
    for _ in range(iterations):
        right = arap.right_side(arap.fit(points)[0])
        right[index, :2] += anchor[index, None] * rays[:, :2] * points[index, 2:]
        right[:, :2] += 1e-8 * scale * points[:, :2]
        right[:, 2] += pull * first_depth + bending @ first_depth
        # The solvers work in single precision: solve for the change, which is small.
        change = right - np.concatenate(
            [
                laplacian @ points[:, :2] + (anchor + 1e-8 * scale)[:, None] * points[:, :2],
                (laplacian @ points[:, 2] + bending @ points[:, 2] + pull * points[:, 2])[:, None],
            ],
            1,
        )
        change = torch.from_numpy(change.astype(np.float32))
        points[:, :2] += across.solve(change[:, :2].contiguous()).numpy()
        points[:, 2:] += along.solve(change[:, 2:].contiguous()).numpy()
    return torch.from_numpy(points).to(vertices)
