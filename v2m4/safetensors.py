"""Tensors in safetensors files, read and written without the package of that name.

The format (https://github.com/huggingface/safetensors): the length of a JSON header as a little-endian 64-bit integer,
the header with each tensor's type, shape and byte range, then the bytes of all tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_MAX_HEADER = 1_000_000
_NOTES = "__metadata__"


def write_tensors(
    path: Path, state: Mapping[str, Tensor], notes: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write tensors in single or half precision; the file appears whole.

    Args:
        path: of the file.
        state: tensors by name.
        notes: further text for the header.
        half: store them in half precision.
    """
    kind = "F16" if half else "F32"
    header: dict[str, object] = {_NOTES: dict(notes or {})}
    offset = 0
    for name, tensor in state.items():
        size = tensor.numel() * _TYPES[kind].itemsize
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in state.values():
            file.write(tensor.detach().cpu().float().numpy().astype(_TYPES[kind]).tobytes())
    temporary.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a file in single precision, and the notes in its header.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file, or broken.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_MAX_HEADER, len(content) - 8):
        raise ValueError(f"{path}: not a safetensors file")
    try:
        header = json.loads(content[8 : 8 + length])
        notes = dict(header.pop(_NOTES, {}))
        state = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind = _TYPES[entry["dtype"]]
            values = np.frombuffer(content[8 + length + start : 8 + length + stop], kind)
            state[name] = torch.from_numpy(values.reshape(entry["shape"]).astype(np.float32))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: a broken safetensors file ({type(error).__name__}: {error})") from error
    return state, notes
