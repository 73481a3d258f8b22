"""Which device the work is done on, decided by one function, also where PyTorch is not loaded yet.

CUDA is taken only where all that it needs is there: a PyTorch built for CUDA, a driver that counts a GPU, and
nvdiffrast, without which nothing is rendered on a GPU. ``main.check`` asks ``choose_device`` and writes the answer into
the options; the stages read it with ``device_of``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from v2m4.config import Config

if TYPE_CHECKING:
    import torch

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NVDIFFRAST = "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast@253ac4f"
CUDA_TORCH = (
    "pip install --force-reinstall torch -c requirements.txt --index-url https://download.pytorch.org/whl/cu128"
)


class NoCuda(Exception):
    """``--device cuda`` was asked for and something is missing; the message names it and the command."""


@dataclass(frozen=True)
class DeviceChoice:
    """The device, and why it is not the GPU where there is one.

    Attributes:
        name: ``cpu`` or ``cuda``.
        missing: what CUDA lacks although a GPU is in sight, with the command that mends it; empty otherwise.
    """

    name: Literal["cpu", "cuda"]
    missing: str = ""


def choose_device(asked: str, *, load: bool = False, rasteriser: bool = True) -> DeviceChoice:
    """Resolve ``auto``, ``cpu`` or ``cuda``; every decision for a device is made here.

    Args:
        asked: the option's value.
        load: also load PyTorch and nvdiffrast, which takes seconds, where everything seems to be there; their word is
            the last (a driver that is too old, an extension built for another PyTorch).
        rasteriser: whether nvdiffrast is needed for the work.

    Raises:
        NoCuda: ``cuda`` was asked for and cannot be had.
    """
    if asked == "cpu":
        return DeviceChoice("cpu")
    missing = _missing_for_cuda(rasteriser)
    if not missing and load:
        missing = _refused_by(["torch", "nvdiffrast.torch"] if rasteriser else ["torch"])
    if not missing:
        return DeviceChoice("cuda")
    if asked == "cuda":
        raise NoCuda(f"--device cuda: {missing}, or use --device cpu")
    return DeviceChoice("cpu", missing if _devices() > 0 or cuda_in_sight() else "")


def device_of(config: Config) -> torch.device:
    """The device that ``config.device`` names; an ``auto`` that nobody resolved is what ``choose_device`` says."""
    import torch

    return torch.device(choose_device(config.device).name if config.device == "auto" else config.device)


def on_gpu(config: Config) -> bool:
    """Whether ``device_of(config)`` is a GPU; does not load PyTorch."""
    return config.device == "cuda" or (config.device == "auto" and choose_device("auto").name == "cuda")


def cuda_in_sight() -> bool:
    """Whether PyTorch can use a GPU: its own word where it is loaded, which takes seconds, else a likely guess.

    The guess: PyTorch was built for CUDA, and the driver, which is asked directly, counts a device.
    """
    loaded = sys.modules.get("torch")
    if loaded is not None:
        return loaded.cuda.is_available()
    return torch_build()[1] != "" and _devices() > 0


def torch_build() -> tuple[str, str]:
    """Version of the PyTorch that would be loaded, and of the CUDA that it was built for; empty where there is none.

    Read from its ``version.py``: loading PyTorch takes seconds.
    """
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return "", ""
    file = Path(found.origin).with_name("version.py")
    text = file.read_text("utf-8") if file.is_file() else ""

    def value(name: str) -> str:
        match = re.search(rf"^{name}\b.*=\s*['\"](.*)['\"]", text, re.MULTILINE)
        return match.group(1) if match else ""

    return value("__version__"), value("cuda")


def placement(config: Config) -> str:
    """Which stages run on which device, in words, for the log; ``config.device`` is resolved."""
    if config.device != "cuda":
        return "all stages run on the CPU"
    registered = config.mesh is None and config.motion == "registration"
    on_the_gpu = {
        f"foreground ({config.frames.foreground})": config.frames.foreground in ("rembg", "sam2"),
        f"generation ({config.model})": config.mesh is None and config.model != "Inflate",
        "camera search": True,
        "registration of key frames (descents)": registered,
        "point tracks (CoTracker3)": config.use_tracking and config.registration.tracker == "cotracker",
        f"texture ({config.texture.solver})": config.mesh is None,
    }
    on_the_cpu = {
        f"foreground ({config.frames.foreground})": config.frames.foreground not in ("rembg", "sam2"),
        f"generation ({config.model})": config.mesh is None and config.model == "Inflate",
        "optical flow": True,
        "registration of key frames (non-rigid ICP)": registered and config.registration.trust != "no",
        "motion from the video": not registered,
        "frames between key frames": registered and config.inbetween == "fit",
        "export": True,
    }

    def named(parts: dict[str, bool]) -> str:
        return ", ".join(name for name, there in parts.items() if there)

    return f"on the GPU: {named(on_the_gpu)}; on the CPU: {named(on_the_cpu)}"


def _missing_for_cuda(rasteriser: bool) -> str:
    """What CUDA lacks here and the command for it; empty where nothing does. Loads nothing."""
    if not cuda_in_sight():
        version, cuda = torch_build()
        if not version:
            return "PyTorch is not installed; pip install -r requirements.txt"
        if _devices() == 0:
            return "the driver counts no GPU; install NVIDIA's driver, see Install.md"
        if not cuda:
            return f"PyTorch {version} is a build without CUDA; {CUDA_TORCH}"
        return f"PyTorch {version} (CUDA {cuda}) cannot use the GPU that the driver has; update the driver"
    if rasteriser and importlib.util.find_spec("nvdiffrast") is None:
        return f"nvdiffrast is not installed; {NVDIFFRAST}"
    return ""


def _refused_by(modules: list[str]) -> str:
    """Load what works on a GPU; what went wrong, or nothing."""
    for name in modules:
        try:
            module = import_module(name)
        except (ImportError, OSError) as error:
            line = " ".join(str(error).split())[:200]
            again = f"; build it anew: {NVDIFFRAST} --force-reinstall --no-deps" if name != "torch" else ""
            return f"{name} cannot be loaded ({line}){again}"
        if name == "torch" and not module.cuda.is_available():
            return _missing_for_cuda(rasteriser=False)
    return ""


def _devices() -> int:
    """GPUs that the CUDA driver counts; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
