"""Selection of the compute device (CPU or CUDA), without loading PyTorch.

CUDA is selected only where all its requirements are met: a build of PyTorch for CUDA, a driver that reports a GPU, and
nvdiffrast, the rasteriser on GPUs. ``main.check`` calls ``choose_device`` and writes the result into the options; the
stages read it with ``device_of``.
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

from v2m4.config import OWN_MODELS, Config

if TYPE_CHECKING:
    import torch

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NVDIFFRAST = "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast@253ac4f"
CUDA_TORCH = (
    "pip install --force-reinstall torch -c requirements.txt --index-url https://download.pytorch.org/whl/cu128"
)


class NoCuda(Exception):
    """``--device cuda`` was requested and a requirement is missing; the message names it and its install command."""


@dataclass(frozen=True)
class DeviceChoice:
    """The selected device, and the reason where a GPU is present but not used.

    Attributes:
        name: ``cpu`` or ``cuda``.
        missing: the requirement that keeps a present GPU from use, with the command to install it; empty otherwise.
    """

    name: Literal["cpu", "cuda"]
    missing: str = ""


def choose_device(asked: str, *, load: bool = False, rasteriser: bool = True) -> DeviceChoice:
    """Select the device for ``auto``, ``cpu`` or ``cuda``; the only place that does.

    Args:
        asked: the option's value.
        load: where all requirements appear to be met, also load PyTorch and nvdiffrast, which takes seconds, to detect
            a driver that is too old or an extension built for another PyTorch.
        rasteriser: whether nvdiffrast is required.

    Raises:
        NoCuda: ``cuda`` was requested and is not available.
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
    """Return the device of ``config.device``; an unresolved ``auto`` is resolved by ``choose_device``."""
    import torch

    return torch.device(choose_device(config.device).name if config.device == "auto" else config.device)


def on_gpu(config: Config) -> bool:
    """Whether ``device_of(config)`` is a GPU; does not load PyTorch."""
    return config.device == "cuda" or (config.device == "auto" and choose_device("auto").name == "cuda")


def cuda_in_sight() -> bool:
    """Whether PyTorch can use a GPU.

    Where PyTorch is loaded already this is ``torch.cuda.is_available()``; else, as loading takes seconds, an estimate:
    it was built for CUDA and the driver, queried directly, reports a device.
    """
    loaded = sys.modules.get("torch")
    if loaded is not None:
        return loaded.cuda.is_available()
    return torch_build()[1] != "" and _devices() > 0


def torch_build() -> tuple[str, str]:
    """Version of the installed PyTorch and of the CUDA that it was built for; empty strings where there is none.

    Parsed from its ``version.py``, because loading PyTorch takes seconds.
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
    """Log line that lists the stages by device; ``config.device`` must be resolved."""
    if config.device != "cuda":
        return "all stages run on the CPU"
    registered = config.mesh is None and config.motion == "registration"
    on_the_gpu = {
        f"foreground ({config.frames.foreground})": config.frames.foreground in ("rembg", "sam2"),
        f"generation ({config.model})": config.mesh is None and config.model not in OWN_MODELS,
        "camera search": True,
        "registration of key frames (descents)": registered,
        "motion network": config.motion == "feedforward",
        "point tracks (CoTracker3)": config.use_tracking and config.registration.tracker == "cotracker",
        f"texture ({config.texture.solver})": config.mesh is None,
    }
    on_the_cpu = {
        f"foreground ({config.frames.foreground})": config.frames.foreground not in ("rembg", "sam2"),
        f"generation ({config.model})": config.mesh is None and config.model in OWN_MODELS,
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
    """The first unmet requirement of CUDA, with the command to install it; empty if all are met. Loads nothing."""
    if not cuda_in_sight():
        version, cuda = torch_build()
        if not version:
            return "PyTorch is not installed; pip install -r requirements.txt"
        if _devices() == 0:
            return "the driver reports no GPU; install NVIDIA's driver, see Install.md"
        if not cuda:
            return f"PyTorch {version} is a build without CUDA; {CUDA_TORCH}"
        return f"PyTorch {version} (CUDA {cuda}) cannot use the GPU that the driver reports; update the driver"
    if rasteriser and importlib.util.find_spec("nvdiffrast") is None:
        return f"nvdiffrast is not installed; {NVDIFFRAST}"
    return ""


def _refused_by(modules: list[str]) -> str:
    """Import the modules; the reason why one is not usable on a GPU, empty if all are."""
    for name in modules:
        try:
            module = import_module(name)
        except (ImportError, OSError) as error:
            line = " ".join(str(error).split())[:200]
            again = f"; rebuild it: {NVDIFFRAST} --force-reinstall --no-deps" if name != "torch" else ""
            return f"{name} cannot be loaded ({line}){again}"
        if name == "torch" and not module.cuda.is_available():
            return _missing_for_cuda(rasteriser=False)
    return ""


def _devices() -> int:
    """Number of GPUs that the CUDA driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
