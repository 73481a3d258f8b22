"""Factored sparse symmetric systems: Cholesky by cholespy, or scipy's LU."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

log = logging.getLogger("v2m4.registration")

ON_GPU_AT_ONCE = 128  # right-hand sides that cholespy's CUDA code takes


class Solver(Protocol):
    """A factored symmetric positive definite matrix."""

    def solve(self, right: Tensor) -> Tensor:
        """Solution x of A x = right; right (V, C)."""


class CholeskySolver:
    """Sparse Cholesky by cholespy, single precision, on the device of the right-hand side.

    Args:
        matrix: (V, V) symmetric positive definite.
        device: where the right-hand sides will lie.
    """

    def __init__(self, matrix: sparse.spmatrix, device: torch.device | str = "cpu") -> None:
        from cholespy import CholeskySolverF, MatrixType

        self.at_once = ON_GPU_AT_ONCE if torch.device(device).type == "cuda" else None

        entries = matrix.tocoo()
        rows = torch.from_numpy(entries.row.astype(np.int32)).to(device)
        columns = torch.from_numpy(entries.col.astype(np.int32)).to(device)
        values = torch.from_numpy(entries.data.astype(np.float64)).to(device)
        self._factor = CholeskySolverF(matrix.shape[0], rows, columns, values, MatrixType.COO)

    def solve(self, right: Tensor) -> Tensor:
        """Solution x of A x = right; right (V, C) float32."""
        right = right.detach()
        if self.at_once is not None and right.shape[1] > self.at_once:
            return torch.cat([self.solve(part) for part in right.split(self.at_once, 1)], 1)
        right = right.contiguous()
        solution = torch.zeros_like(right)
        self._factor.solve(right, solution)
        return solution


class LuSolver:
    """The same by scipy's SuperLU in double precision, for machines that cholespy has no wheel for; on the CPU only."""

    def __init__(self, matrix: sparse.spmatrix) -> None:
        self._factor = splu(
            sparse.csc_matrix(matrix, dtype=np.float64),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def solve(self, right: Tensor) -> Tensor:
        """Solution x of A x = right; right (V, C)."""
        solution = self._factor.solve(right.detach().double().cpu().numpy())
        return torch.from_numpy(solution).to(right)


def factorize(matrix: sparse.spmatrix, device: torch.device | str = "cpu") -> Solver:
    """The fastest factorisation installed; both give the same solution to single precision."""
    try:
        return CholeskySolver(matrix, device)
    except ImportError:
        log.warning("cholespy is not installed (pip install cholespy): solving with scipy's LU, about 3 times slower")
        return LuSolver(matrix)


def scipy_matrix(matrix: Tensor) -> sparse.coo_matrix:
    """A torch sparse matrix as scipy's."""
    matrix = matrix.coalesce().cpu()
    rows, columns = matrix.indices().numpy()
    return sparse.coo_matrix((matrix.values().double().numpy(), (rows, columns)), shape=matrix.shape)
