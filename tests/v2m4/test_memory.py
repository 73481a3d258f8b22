import platform
import sys

import pytest
import torch

from v2m4.memory import return_free_memory


def resident() -> int:
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back what is free by itself")
def test_memory_between_arrays_in_use_is_returned() -> None:
    arrays = [torch.ones(25_000) for _ in range(2000)]  # 200 MB, of sizes that are not mapped each by itself
    kept = arrays[::20]
    del arrays
    before = resident()
    return_free_memory()
    assert resident() < before - 100e6
    assert all(bool((array == 1).all()) for array in kept)


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from v2m4 import memory

    memory._malloc_trim.cache_clear()
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory._malloc_trim() is None
    return_free_memory()
    memory._malloc_trim.cache_clear()
