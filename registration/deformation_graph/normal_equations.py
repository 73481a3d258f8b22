"""Gauss-Newton normal equations of several frames, solved by preconditioned conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registration.deformation_graph.block_cholesky import BlockPattern, factorize, multiply, solve_factored


@dataclass
class NormalEquations:
    """Normal equations of T frames of K nodes, with 6 unknowns a node (``kernels``).

    Attributes:
        energy: value of the energy.
        gradient: (T, 6K) gradient of the energy.
        pattern: of the blocks of one frame.
        blocks: (T, B, 6, 6) blocks of each frame's own matrix.
        pairs: (P, 2) frames that are coupled by differences over time.
        coupling: (P, K, 6, 6) the coupling of each node's unknowns in a pair; rows are the first frame's.
        free: (T,) bool, frames that are unknown; the others are fixed.
    """

    energy: float
    gradient: np.ndarray
    pattern: BlockPattern
    blocks: np.ndarray
    pairs: np.ndarray
    coupling: np.ndarray
    free: np.ndarray

    def diagonal(self) -> np.ndarray:
        """Diagonal of the free frames' matrices, (free frames, K, 6)."""
        return np.einsum("tkaa->tka", self.blocks[self.free][:, self.pattern.start[:-1]])

    def step(self, damping: float, tolerance: float, max_iterations: int) -> np.ndarray | None:
        """The damped Gauss-Newton step (T, 6K): minus the inverse of the damped matrix times the gradient.

        Conjugate gradients, preconditioned by the block Cholesky factors of the frames' own matrices; without coupled
        frames the factors alone give the step.

        Args:
            damping: added to the diagonal.
            tolerance: squared preconditioned residual, of the first, at which the iterations end.
            max_iterations: of conjugate gradients.

        Returns:
            None where a frame's matrix is not positive definite.
        """
        blocks = self.blocks.copy()
        for axis in range(6):
            blocks[:, self.pattern.start[:-1], axis, axis] += damping
        factor, positive_definite = factorize(blocks, self.pattern, self.free)
        if not positive_definite:
            return None
        residual = -self.gradient * self.free[:, None]
        preconditioned = solve_factored(factor, self.pattern, self.free, residual)
        if len(self.pairs) == 0:
            return preconditioned
        step, direction = np.zeros_like(preconditioned), preconditioned
        product = float((residual * preconditioned).sum())
        first_product = product
        for _ in range(max_iterations):
            if product <= tolerance * first_product:
                break
            image = multiply(blocks, self.pattern, self.free, self.pairs, self.coupling, direction)
            length = product / float((direction * image).sum())
            step += length * direction
            residual -= length * image
            preconditioned = solve_factored(factor, self.pattern, self.free, residual)
            last_product, product = product, float((residual * preconditioned).sum())
            direction = preconditioned + product / last_product * direction
        return step
