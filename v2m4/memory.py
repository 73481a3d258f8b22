"""Memory that the C library's allocator holds on to."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any


def return_free_memory() -> None:
    """Return freed memory to the system (glibc's ``malloc_trim``); does nothing with another C library.

    Freed arrays below 32 MiB stay with the process between others that are in use: several hundred MiB after a stage
    with many images. It takes some 10 ms.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    """The function of the C library; None where it has none."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
