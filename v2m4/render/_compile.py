"""How the kernels are compiled: without the interpreter lock, kept on disk, dividing as numpy does.

Numba's OpenMP threads are asked to sleep, not spin, while they wait for each other. Spinning saves some 10 us a kernel
on an idle machine, but where the cores are shared a kernel of 1 ms takes 100 ms. OpenMP reads the setting when it is
loaded, at the first kernel; set OMP_WAIT_POLICY to choose otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numba import njit

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function whose prange loops run on several threads; keep it short, for compilation takes its time."""
    return njit(parallel=True, nogil=True, cache=True, error_model="numpy")(function)
