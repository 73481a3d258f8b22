"""The checks that only a GPU can do: ``pytest -m gpu``, under 8 minutes; writes ``docs/performance_gpu.md`` at the end.

Without a GPU all of them skip. ``V2M4_GPU_TESTS_ON_CPU=1 pytest -m gpu`` runs them on the CPU instead, in place of the
GPU: it tells whether the checks themselves work, nothing about a GPU, and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.gpu.report import PAGE, Performance

INSTEAD = "V2M4_GPU_TESTS_ON_CPU"


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The device that is checked."""
    if os.environ.get(INSTEAD) == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: PyTorch sees none")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def rasteriser(gpu: torch.device) -> torch.device:
    """The device, where it can render."""
    if gpu.type == "cuda":
        pytest.importorskip(
            "nvdiffrast.torch", reason="nvdiffrast is not installed: see Install.md", exc_type=ImportError
        )
    return gpu


@pytest.fixture(scope="session")
def performance(gpu: torch.device) -> Iterator[Performance]:
    """Collects what is measured; the page is written once all checks have run, on a GPU only."""
    measured = Performance(gpu)
    yield measured
    if gpu.type == "cuda" and (measured.stages or measured.checks):
        PAGE.write_text(measured.page(), "utf-8")
