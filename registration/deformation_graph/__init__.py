"""Embedded deformation graph and its Gauss-Newton solver."""
