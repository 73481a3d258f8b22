"""Weights of the network as a safetensors file, in half precision."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from v2m4.safetensors import read_tensors, write_tensors

FILE = Path(__file__).with_name("weights.safetensors")


def write_weights(path: Path, state: dict[str, Tensor], notes: dict[str, str] | None = None) -> None:
    """Write tensors in half precision, as ``write_tensors``."""
    write_tensors(path, state, notes, half=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file in single precision, see ``read_tensors`` for the errors."""
    return read_tensors(path)[0]
