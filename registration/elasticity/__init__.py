"""As-rigid-as-possible energies, preconditioned descent, sparse solvers, connectivity and proxy binding."""
