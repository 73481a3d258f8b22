"""As-rigid-as-possible energies, smooth descent, sparse solvers, and the connectivity that they work on."""
