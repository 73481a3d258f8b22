"""Weights of our own networks as safetensors files, in half precision.

The format (https://github.com/huggingface/safetensors): the length of a JSON header as a little-endian 64-bit integer,
the header with each tensor's type, shape and byte range, then the bytes of all tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_MAX_HEADER = 1_000_000


def write_weights(path: Path, state: dict[str, Tensor], notes: dict[str, str] | None = None) -> None:
    """Write tensors in half precision; the file appears whole.

    Args:
        path: of the file.
        state: tensors by name.
        notes: further text for the header.
    """
    header: dict[str, object] = {"__metadata__": notes or {}}
    blocks, offset = [], 0
    for name, tensor in state.items():
        data = tensor.detach().cpu().numpy().astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(data)]}
        blocks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))
    temporary.replace(path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, in single precision.

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
        state = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            kind = _TYPES[entry["dtype"]]
            values = np.frombuffer(content[8 + length + start : 8 + length + stop], kind)
            state[name] = torch.from_numpy(values.reshape(entry["shape"]).astype(np.float32))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: a broken safetensors file ({type(error).__name__}: {error})") from error
    return state


def read_notes(path: Path) -> dict[str, str]:
    """The notes in the header of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file, or broken.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError(f"{path}: not a safetensors file")
        try:
            return dict(json.loads(stream.read(length)).get("__metadata__", {}))
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}: a broken safetensors file ({type(error).__name__}: {error})") from error
