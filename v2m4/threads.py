"""Thread parallelism: the number of threads (``--threads``), an ordered parallel map, and parallel compiled loops.

``in_order`` maps a function over independent items (frames), ``share`` splits the iterations of one compiled loop;
loops inside an item of ``in_order`` run serially. Neither changes a result: the tasks of a loop write disjoint memory,
and results are collected in the order of the items. PyTorch runs single-threaded on the CPU, because the rounding of
its sums depends on the number of threads, and because its tensors are small here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()  # .piece: whether this thread is a worker of ``in_order``
_lock = threading.Lock()
_asked = 0  # number of threads that was set; 0: all cores
_helpers: ThreadPoolExecutor | None = None  # workers of ``share``


def available() -> int:
    """Number of cores in this process's CPU affinity."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count() -> int:
    """Number of threads in use, at least 1."""
    return _asked or available()


def use(number: int) -> None:
    """Set the number of threads, also OpenCV's; PyTorch's becomes 1.

    Args:
        number: of threads; 0 for all cores that this process may use.

    Raises:
        ValueError: the number is negative.
    """
    global _asked, _helpers
    if number < 0:
        raise ValueError(f"threads: {number}; give a number of threads, or 0 for all cores")
    with _lock:
        _asked, _helpers = number, None  # busy workers finish their tasks, then their pool ends
    import cv2
    import torch

    cv2.setNumThreads(count())
    torch.set_num_threads(1)


@contextmanager
def for_networks() -> Iterator[None]:
    """Let PyTorch use all threads in the context: for networks, whose layers are large enough to gain on the CPU."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    done: Callable[[int], object] = lambda number: None,
    several: bool = True,
) -> list[Result]:
    """Parallel map: the results of a function in the order of its arguments.

    Args:
        function: must not depend on the order in which the items are processed.
        items: its arguments.
        done: progress callback, called in the calling thread with the number of results so far.
        several: False runs serially in the calling thread: for work on a GPU, whose rasteriser is not reentrant.
    """
    items = list(items)
    threads = min(count(), len(items))
    if threads <= 1 or not several or getattr(_here, "piece", False):
        return _collected(map(function, items), done)
    with ThreadPoolExecutor(threads, initializer=_begin_piece) as pool:
        return _collected(pool.map(function, items), done)


def _collected(results: Iterable[Result], done: Callable[[int], object]) -> list[Result]:
    found = []
    for result in results:
        found.append(result)
        done(len(found))
    return found


def _begin_piece() -> None:
    _here.piece = True


def share(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Run the iterations of a compiled loop on several threads, in contiguous ranges.

    Args:
        kernel: releases the interpreter lock; kernel(first, last, *arguments) runs iterations first to last - 1.
        tasks: number of iterations.
        arguments: passed to the kernel unchanged.
    """
    parts = 1 if getattr(_here, "piece", False) else min(count(), tasks)
    if parts <= 1:
        kernel(0, tasks, *arguments)
        return
    runs = [(part * tasks // parts, (part + 1) * tasks // parts) for part in range(parts)]
    pool = _pool()
    others = [pool.submit(kernel, first, last, *arguments) for first, last in runs[1:]]
    try:
        kernel(*runs[0], *arguments)
    finally:  # do not return while another thread still writes the arrays
        for other in others:
            other.result()


def _pool() -> ThreadPoolExecutor:
    """Return the pool of workers of ``share``, created at first use."""
    global _helpers  # noqa: PLW0603 - see ``use``
    with _lock:
        if _helpers is None:
            _helpers = ThreadPoolExecutor(max(count() - 1, 1), thread_name_prefix="kernels")
        return _helpers
