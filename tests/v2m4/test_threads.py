"""Work is shared by threads and put together in order."""

import os
import threading
import time

import cv2
import numpy as np
import pytest
import torch

from v2m4 import threads
from v2m4.kernels import kernel


@pytest.fixture(autouse=True)
def as_before():
    torches, cvs = torch.get_num_threads(), cv2.getNumThreads()
    yield
    threads.use(0)
    torch.set_num_threads(torches)
    cv2.setNumThreads(cvs)


@kernel("i8, i8, f8[::1], f8[::1]", ahead=False)
def squares(first, last, values, out):
    for i in range(first, last):
        out[i] = values[i] * values[i]


def test_all_cores_unless_told_otherwise() -> None:
    threads.use(0)
    assert threads.count() == threads.available() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert threads.available() == len(os.sched_getaffinity(0))
    threads.use(3)
    assert (threads.count(), cv2.getNumThreads(), torch.get_num_threads()) == (3, 3, 1)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="-2"):
        threads.use(-2)


@pytest.mark.parametrize("count", [1, 2, 5, 64])
@pytest.mark.parametrize("tasks", [0, 1, 7, 1000])
def test_a_loop_is_run_whole_whoever_shares_it(count, tasks) -> None:
    threads.use(count)
    values, out = np.random.default_rng(0).normal(size=tasks), np.full(tasks, np.nan)
    threads.share(squares, tasks, values, out)
    assert np.array_equal(out, values**2)


def test_results_come_in_the_order_of_the_items_from_several_threads() -> None:
    threads.use(3)
    seen = set()

    def late(item: int) -> int:
        seen.add(threading.get_ident())
        time.sleep(0.02 * (6 - item))
        return item**2

    assert threads.in_order(late, range(6)) == [0, 1, 4, 9, 16, 25]
    assert len(seen) == 3
    assert threading.get_ident() not in seen


def test_inside_of_a_piece_nothing_is_shared_again() -> None:
    threads.use(2)

    def piece(item: int) -> tuple[bool, set[int]]:
        callers = set(threads.in_order(lambda _: threading.get_ident(), range(3)))
        threads.share(lambda first, last: callers.add(threading.get_ident()), 4)
        return callers == {threading.get_ident()}, callers

    results = threads.in_order(piece, range(4))
    assert all(alone for alone, _ in results)
    threads.share(lambda first, last: results.append((first, last)), 4)
    assert sorted(results[4:]) == [(0, 2), (2, 4)]  # outside of one it is


def test_an_error_in_a_piece_or_in_a_loop_comes_out() -> None:
    threads.use(2)

    def broken(first, last):
        raise OSError(f"task {last}")

    with pytest.raises(OSError, match="task"):
        threads.share(broken, 10)
    with pytest.raises(ZeroDivisionError):
        threads.in_order(lambda item: 1 // item, [1, 0, 2])


def test_networks_have_all_threads_for_a_while() -> None:
    threads.use(2)
    with threads.for_networks():
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1
