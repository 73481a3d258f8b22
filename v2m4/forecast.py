"""What a run will need: seconds, memory and disk, from its frames, their size and the speed of the machine."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from v2m4 import threads
from v2m4.config import Config
from v2m4.frame import Clip
from v2m4.optical_flow import MEDIUM, dense_flow
from v2m4.remaining_time import TYPICAL, way_of
from v2m4.report import NOTICE

log = logging.getLogger("v2m4")

# Seconds of each probe on the machine of ``TYPICAL``.
REFERENCE_SECONDS = {"optical_flow": 0.0039, "factorisation": 0.0030, "small_arrays": 0.0030}
REFERENCE_THREADS = 2
SPEED_UP = 0.6  # exponent: seconds fall with the threads to this power
PROBE_SIZE = 256  # pixels, of the optical flow's pictures
PROBE_NODES = 50  # along each side of the grid whose Laplacian is factored
PROBE_LOOPS = 1000  # of operations on small arrays
PROBE_RUNS = 3  # of each probe, of which the fastest counts
# Memory: of the program with its libraries, kernels and bounded caches, and of each frame (poses).
BASE_MIB, MIB_PER_FRAME = 1060.0, 0.7
# Disk: of the results apart from the frames, and of each frame, for pictures of the reference's size.
DISK_BASE_MIB, DISK_PER_FRAME_MIB, REFERENCE_PIXELS = 21.0, 1.6, 512 * 512
DISK_SHARE = 0.5  # of the disk's part of a frame that grows with its pixels


KNOWN_GENERATORS = ("Inflate", "Prior")  # the others' seconds depend on the GPU


@dataclass(frozen=True)
class Forecast:
    """Estimates for one animation, with nothing cached; each within a factor of two on the machines tried.

    Attributes:
        seconds: wall time.
        memory_mib: peak resident memory, MiB.
        disk_mib: of the animation's folder, MiB.
    """

    seconds: float
    memory_mib: float
    disk_mib: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        duration = f"{self.seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
        return f"about {duration}, {self.memory_mib / 1024:.1f} GiB of memory, {self.disk_mib:.0f} MiB on disk"


def forecast(way: str, frames: int, pixels: int, count: int, factor: float | None = None) -> Forecast:
    """Estimate what an animation needs on the CPU, by the generators that are part of the program.

    Args:
        way: key of ``remaining_time.TYPICAL``.
        frames: of the video.
        pixels: of a frame.
        count: of threads that the run works with.
        factor: seconds of this machine's threads relative to the reference's; None measures it (0.05 s).
    """
    factor = machine_factor() if factor is None else factor
    typical = sum(constant + per_frame * frames for constant, per_frame in TYPICAL[way].values())
    seconds = typical * factor * (REFERENCE_THREADS / max(count, 1)) ** SPEED_UP
    picture = (1 - DISK_SHARE) + DISK_SHARE * pixels / REFERENCE_PIXELS
    return Forecast(
        seconds,
        BASE_MIB + MIB_PER_FRAME * frames,
        DISK_BASE_MIB + DISK_PER_FRAME_MIB * frames * picture,
    )


@lru_cache(maxsize=1)
def machine_factor() -> float:
    """Seconds of what a run does most, relative to the reference machine's: the mean of the probes' ratios.

    One kind of work alone does not tell: the same optical flow takes half the time on a processor on which a whole run
    takes as long.
    """
    ratios = []
    for name, probe in _probes().items():
        times = []
        for _ in range(PROBE_RUNS):
            start = time.perf_counter()
            probe()
            times.append(time.perf_counter() - start)
        ratios.append(min(times) / REFERENCE_SECONDS[name])
    return sum(ratios) / len(ratios)


def _probes() -> dict[str, Callable[[], object]]:
    """Short samples of a run's work: dense optical flow, a sparse factorisation, and operations on small arrays."""
    noise = np.random.default_rng(0).integers(0, 256, (PROBE_SIZE, PROBE_SIZE), np.uint8)
    first = cv2.GaussianBlur(noise, (0, 0), 3)
    second = np.roll(first, 2, axis=1)
    line = sparse.diags([-1.0, 2.5, -1.0], [-1, 0, 1], (PROBE_NODES, PROBE_NODES))
    identity = sparse.identity(PROBE_NODES)
    grid = sparse.csc_matrix(
        sparse.kron(line, identity) + sparse.kron(identity, line) + sparse.identity(PROBE_NODES**2)
    )
    return {
        "optical_flow": partial(dense_flow, first, second, MEDIUM),
        "factorisation": partial(splu, grid, permc_spec="MMD_AT_PLUS_A"),
        "small_arrays": partial(_small_arrays, np.ones((64, 3))),
    }


def _small_arrays(points: np.ndarray) -> np.ndarray:
    for _ in range(PROBE_LOOPS):
        points = points / np.sqrt((points * points).sum(1, keepdims=True))
    return points


def shortages(needed: Forecast, folder: Path) -> list[str]:
    """What the machine has too little of, one sentence each.

    Args:
        needed: by the run.
        folder: of the results, or one that it will be made in.
    """
    found = []
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 2**20
    if free < needed.disk_mib:
        found.append(f"the disk of {folder} has {free:.0f} MiB left, and about {needed.disk_mib:.0f} are needed")
    available = available_memory_mib()
    if available is not None and available < needed.memory_mib:
        found.append(f"{available:.0f} MiB of memory are free, and about {needed.memory_mib:.0f} are needed")
    return found


def available_memory_mib() -> float | None:
    """Main memory that programs can still take, MiB; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(values[0]) / 1024 if values else None


def log_forecast(clip: Clip, config: Config) -> None:
    """Log what an animation will need, and warn of what the machine has too little of.

    Nothing is said where a network or a GPU decides the time.
    """
    if config.device != "cpu" or (config.mesh is None and config.model not in KNOWN_GENERATORS):
        return
    height, width = clip.frames[0].picture.shape[:2]
    needed = forecast(way_of(config), len(clip.frames), height * width, threads.count())
    log.info("%s: needs %s, less where an earlier run is continued", clip.name, needed, extra=NOTICE)
    for shortage in shortages(needed, config.output):
        log.warning("%s: %s", clip.name, shortage)
