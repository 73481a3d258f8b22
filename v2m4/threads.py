"""How many threads the program works with: all cores that this process may use, or as many as ``--threads`` says.

Work is shared in two ways: ``in_order`` hands out independent pieces of the work (frames), ``share`` the runs of one
compiled loop; inside of a piece, loops are not shared again. Neither changes a result: a task of a loop writes what no
other does, and pieces are put together in the order in which they were handed out. PyTorch has one thread on the CPU,
for its sums depend on how many share them, and its tensors are small here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any, TypeVar

from v2m4.memory import return_free_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOP_THREADS = 8  # that share one loop, at most: handing a run to one more takes 0.03 ms, many loops 1 ms in all

_here = threading.local()  # .piece: whether this thread works on a piece, while others work on other pieces
_lock = threading.Lock()
_asked = 0  # 0: all
_helpers: ThreadPoolExecutor | None = None  # threads that loops are shared with


def available() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count() -> int:
    """Threads that this thread may share its work with, itself among them; 1 inside of a piece of ``in_order``."""
    return 1 if getattr(_here, "piece", False) else _asked or available()


def use(number: int) -> None:
    """Set how many threads the process works with.

    Args:
        number: of threads; 0 for all cores that this process may use.

    Raises:
        ValueError: the number is negative.
    """
    global _asked, _helpers
    if number < 0:
        raise ValueError(f"threads: {number}; give a number of threads, or 0 for all cores")
    with _lock:
        _asked, _helpers = number, None  # helpers that are at work finish; without work left they end
    import cv2
    import torch

    cv2.setNumThreads(count())
    torch.set_num_threads(1)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Run PyTorch with a number of threads, and restore the number from before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def for_networks() -> AbstractContextManager[None]:
    """Run PyTorch with all threads: around networks, whose layers are large enough to be shared on the CPU."""
    return torch_threads(count())


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    done: Callable[[int], object] = lambda number: None,
    several: bool = True,
) -> list[Result]:
    """The results of a function in the order of its arguments, worked out by several threads.

    Args:
        function: may not depend on which of the arguments were handled before.
        items: its arguments.
        done: called in this thread with the number of results that are there so far.
        several: False works them out in this thread, one after the other: for work on a GPU, whose rasteriser takes
            one caller at a time.
    """
    items = list(items)
    threads = min(count(), len(items))
    if threads <= 1 or not several:
        return _collected(map(function, items), done)
    with ThreadPoolExecutor(threads, initializer=_begin_piece) as pool:
        return _collected(pool.map(function, items), done)


def in_runs(
    function: Callable[[Item], Result], items: Iterable[Item], length: int = 32, several: bool = True
) -> Iterator[Result]:
    """Yield what ``in_order`` returns, from so many arguments at a time: neither they nor the results are all held.

    What a run has freed is returned to the system, so that memory does not grow with the number of arguments.

    Args:
        function: as that of ``in_order``.
        items: its arguments, which are taken when a run begins.
        length: of a run.
        several: as that of ``in_order``.
    """
    remaining = iter(items)
    while run := list(islice(remaining, length)):
        yield from in_order(function, run, several=several)
        return_free_memory()


def _collected(results: Iterable[Result], done: Callable[[int], object]) -> list[Result]:
    found = []
    for result in results:
        found.append(result)
        done(len(found))
    return found


def _begin_piece() -> None:
    _here.piece = True


def share(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Run a compiled loop over all its tasks, on several threads at once.

    Args:
        kernel: releases the interpreter lock; called as kernel(first, last, *arguments) for tasks first to last - 1.
        tasks: how many there are.
        arguments: handed on.
    """
    parts = min(count(), tasks, LOOP_THREADS)
    if parts <= 1:
        kernel(0, tasks, *arguments)
        return
    runs = [(part * tasks // parts, (part + 1) * tasks // parts) for part in range(parts)]
    pool = _pool()
    others = [pool.submit(kernel, first, last, *arguments) for first, last in runs[1:]]
    try:
        kernel(*runs[0], *arguments)
    finally:  # arrays are not handed back while another thread writes them
        for other in others:
            other.result()


def _pool() -> ThreadPoolExecutor:
    """The helpers, started when they are first needed."""
    global _helpers  # noqa: PLW0603 - see ``use``
    with _lock:
        if _helpers is None:
            _helpers = ThreadPoolExecutor(LOOP_THREADS - 1, thread_name_prefix="kernels")
        return _helpers
