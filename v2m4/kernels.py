"""How the kernels are compiled: without the interpreter lock, kept on disk, dividing as numpy does.

Threads come from numba's own pool ("workqueue"), which every platform has and whose threads sleep while they wait for
each other. OpenMP's spin: where the cores are shared, a kernel of 1 ms then takes 100 ms. The pool serves one caller at
a time; `launch` sees to that. NUMBA_THREADING_LAYER chooses otherwise.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import njit

if "NUMBA_THREADING_LAYER" not in os.environ:
    numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]

launch = threading.Lock()  # to be held while a parallel kernel runs


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function whose prange loops run on several threads; keep it short, for compilation takes its time."""
    return njit(parallel=True, nogil=True, cache=True, error_model="numpy")(function)
