"""Which device the work is done on, also where PyTorch is not loaded yet."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from v2m4.config import Config

if TYPE_CHECKING:
    import torch

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def cuda_in_sight() -> bool:
    """Whether PyTorch can use a GPU: its own word where it is loaded, which takes seconds, else a likely guess.

    The guess: PyTorch was built for CUDA, and the driver, which is asked directly, counts a device.
    """
    loaded = sys.modules.get("torch")
    if loaded is not None:
        return loaded.cuda.is_available()
    return _built_for_cuda() and _devices() > 0


def on_gpu(config: Config) -> bool:
    """Whether ``config.device`` stands for a GPU."""
    return config.device == "cuda" or (config.device == "auto" and cuda_in_sight())


def device_of(config: Config) -> torch.device:
    """The device that ``config.device`` stands for."""
    import torch

    return torch.device("cuda" if on_gpu(config) else "cpu")


def _built_for_cuda() -> bool:
    """Whether the PyTorch that would be loaded was built for CUDA: it is written in its ``version.py``."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    version = Path(found.origin).with_name("version.py")
    return version.is_file() and re.search(r"^cuda\b.*=\s*['\"]", version.read_text("utf-8"), re.MULTILINE) is not None


def _devices() -> int:
    """GPUs that the CUDA driver counts; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
