"""Sparse symmetric positive definite systems, factored once: Cholesky by cholespy, or LU by scipy's SuperLU."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

log = logging.getLogger("v2m4.registration")

MAX_COLUMNS_ON_GPU = 128  # right-hand sides that cholespy's CUDA solver accepts in one call


class Solver(Protocol):
    """A factored symmetric positive definite matrix."""

    def solve(self, right: Tensor) -> Tensor:
        """Solution x of A x = right; right (V, C)."""


class CholeskySolver:
    """Sparse Cholesky by cholespy, single precision, on the device of the right-hand side.

    Args:
        matrix: (V, V) symmetric positive definite.
        device: that of the right-hand sides.
    """

    def __init__(self, matrix: sparse.spmatrix, device: torch.device | str = "cpu") -> None:
        from cholespy import CholeskySolverF, MatrixType

        self.max_columns = MAX_COLUMNS_ON_GPU if torch.device(device).type == "cuda" else None

        entries = matrix.tocoo()
        rows = torch.from_numpy(entries.row.astype(np.int32)).to(device)
        columns = torch.from_numpy(entries.col.astype(np.int32)).to(device)
        values = torch.from_numpy(entries.data.astype(np.float64)).to(device)
        self._factor = CholeskySolverF(matrix.shape[0], rows, columns, values, MatrixType.COO)

    def solve(self, right: Tensor) -> Tensor:
        """Solution x of A x = right; right (V, C) float32."""
        right = right.detach()
        if self.max_columns is not None and right.shape[1] > self.max_columns:
            return torch.cat([self.solve(part) for part in right.split(self.max_columns, 1)], 1)
        right = right.contiguous()
        solution = torch.zeros_like(right)
        self._factor.solve(right, solution)
        return solution


class LuSolver:
    """LU factorisation by scipy's SuperLU, double precision, CPU.

    It is factored faster and solved more slowly than by cholespy: for matrices with a few right-hand sides, and for
    platforms that cholespy has no wheel for.

    Args:
        matrix: (V, V) symmetric positive definite.
    """

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
    """Returns the factorisation installed that solves fastest; both agree to single precision.

    Args:
        matrix: (V, V) symmetric positive definite.
        device: that of the right-hand sides.
    """
    try:
        return CholeskySolver(matrix, device)
    except ImportError:
        log.warning("cholespy is not installed (pip install cholespy): solving with scipy's LU, at half the speed")
        return LuSolver(matrix)


def scipy_matrix(matrix: Tensor) -> sparse.coo_matrix:
    """Converts a sparse torch matrix to scipy's COO format, float64."""
    matrix = matrix.coalesce().cpu()
    rows, columns = matrix.indices().numpy()
    return sparse.coo_matrix((matrix.values().double().numpy(), (rows, columns)), shape=matrix.shape)
