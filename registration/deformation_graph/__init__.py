"""The embedded deformation graph and its Gauss-Newton solver."""
