"""The tuned numbers of this package, in one place; the weights of the energy's terms are in ``SolverWeights``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphTuning:
    """Numbers of the graph's construction and of its solver.

    Hand-set, unless a field's comment names the data that it was chosen on.
    """

    # --- Construction (graph.py) ---

    # Nodes that influence a vertex, at most.
    influences: int = 4
    # Influence weights at and below this are set to 0.
    min_influence: float = 0.03
    # Share of the nodes, at most, that become the first node of a connected component of the mesh. Components beyond
    # that, the smallest, share the nodes of those that they are connected to.
    component_share: float = 0.5
    # Lengths of graph edges, and distances between nodes, are at least these, of the longest side of the mesh's box.
    min_edge_length: float = 1e-3
    min_node_distance: float = 1e-6

    # --- Articulation (articulation.py) ---

    # Share of its resistance to stretch that an edge keeps at least. Chosen on suite given_mesh (Fox, RobotExpressive).
    min_stretch_weight: float = 0.01

    # --- Solver (gauss_newton.py) ---

    # Scale of the Cauchy kernel of the normal constraints, radians.
    normal_kernel_scale: float = 0.4
    # First, and least, damping; a step is given up beyond the greatest. Of the mean diagonal of the normal equations.
    min_damping: float = 1e-6
    max_damping: float = 1e3
    # Squared residual, of the first, at which conjugate gradients end.
    conjugate_gradient_tolerance: float = 1e-6


TUNING = GraphTuning()
