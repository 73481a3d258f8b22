"""Large Steps: gradient descent on vertices, preconditioned by the Laplacian.

Source: Nicolet, Jacobson and Jakob 2021, "Large Steps in Inverse Rendering of Geometry".

The variables are u = (I + lambda L) v of vertices v: a step along a gradient in u is a smooth step in v, so that the
sparse, noisy gradients of silhouettes displace whole regions of the surface and leave no spikes.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from registration.elasticity.sparse_solver import Solver, factorize, scipy_matrix
from v2m4.geometry import uniform_laplacian

log = logging.getLogger("v2m4.registration")


class _Solve(torch.autograd.Function):
    """The linear solve as an autograd function: its gradient is a solve with the same symmetric matrix."""

    @staticmethod
    def forward(ctx: Any, right: Tensor, solver: Solver) -> Tensor:
        ctx.solver = solver
        return solver.solve(right)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.solver.solve(gradients[0]), None


class LargeSteps:
    """The change of variables u = (I + lambda L) v with the uniform Laplacian L, factored once.

    Args:
        faces: (F, 3).
        count: number of vertices V.
        smoothness: lambda; a step is spread over about sqrt(lambda) edges.
        solver: a factored matrix instead of the fastest one installed.
        connections: (N, 2) vertices, connections between components of the mesh.
    """

    def __init__(
        self,
        faces: Tensor,
        count: int,
        smoothness: float,
        solver: Solver | None = None,
        connections: Tensor | None = None,
    ) -> None:
        # As a degenerate face (a, b, b): the edge from b to itself cancels out of the Laplacian.
        triangles = (
            faces
            if connections is None or len(connections) == 0
            else torch.cat([faces, connections[:, [0, 1, 1]].to(faces)])
        )
        laplacian = uniform_laplacian(triangles, count)
        indices, values = laplacian.indices(), smoothness * laplacian.values()
        values = values + (indices[0] == indices[1])
        self.matrix = torch.sparse_coo_tensor(indices, values, (count, count), check_invariants=False).coalesce()
        self._solver = solver if solver is not None else factorize(scipy_matrix(self.matrix), faces.device)

    def to_differential(self, vertices: Tensor) -> Tensor:
        """The variables u = (I + lambda L) v of vertices v, (V, 3) or (T, V, 3)."""
        if vertices.ndim == 3:
            return _unfold(self.matrix @ _fold(vertices), len(vertices))
        return self.matrix @ vertices

    def from_differential(self, differential: Tensor) -> Tensor:
        """The vertices v = (I + lambda L)^-1 u, (V, 3) or (T, V, 3), differentiable."""
        if differential.ndim == 3:
            return _unfold(_Solve.apply(_fold(differential), self._solver), len(differential))
        return _Solve.apply(differential, self._solver)


def _fold(poses: Tensor) -> Tensor:
    """Poses (T, V, 3) as the columns of a matrix (V, 3 T)."""
    return poses.permute(1, 0, 2).reshape(poses.shape[1], -1)


def _unfold(columns: Tensor, count: int) -> Tensor:
    """A matrix (V, 3 T) as poses (T, V, 3): the inverse of ``_fold``."""
    return columns.reshape(len(columns), count, 3).permute(1, 0, 2)
