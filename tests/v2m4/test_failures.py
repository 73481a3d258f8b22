"""One line for every failure, with what to do."""

import errno
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from v2m4 import failures
from v2m4.lock import LockedError

FOLDER = Path("results/arms")


def pytorch_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


def numpy_error() -> MemoryError:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    return caught.value


@pytest.mark.parametrize("make", [pytorch_error, numpy_error, MemoryError])
def test_missing_memory_is_told_with_advice(make: type[BaseException]) -> None:
    line = failures.describe(make(), FOLDER)
    assert line.startswith("out of memory (") and "--frames.max_side" in line and "\n" not in line


def test_missing_memory_of_a_gpu_is_told_with_advice() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1 GiB")
    line = failures.describe(error, FOLDER)
    assert line.startswith("out of the GPU's memory (") and "--low_vram" in line and "\n" not in line
    failures.release_memory()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EFBIG, "a limit on it is reached"),
        (errno.EROFS, "no permission to write in results/arms"),
        (errno.EACCES, "choose another --output"),
        (errno.EIO, r"OSError: .* \(working on results/arms\)"),
    ],
)
def test_errors_of_the_disk_name_the_place(code: int, words: str) -> None:
    assert re.search(words, failures.describe(OSError(code, "why"), FOLDER))


def test_other_errors_keep_their_type_and_our_own_lines_stand_alone() -> None:
    assert failures.describe(ValueError("what\nwhere"), FOLDER) == "ValueError: what where"
    assert failures.describe(LockedError("in use"), FOLDER) == "in use"
    assert not failures.is_out_of_memory(RuntimeError("a memory of things"))
