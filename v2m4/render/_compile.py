"""How the kernels are compiled: without the interpreter lock, kept on disk, dividing as numpy does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function whose prange loops run on several threads; keep it short, for compilation takes its time."""
    return njit(parallel=True, nogil=True, cache=True, error_model="numpy")(function)
