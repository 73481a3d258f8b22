"""Checkpoints of other people: their tensors, and none of their code.

A checkpoint is a pickle, and a pickle runs what it names. PyTorch 2.6 and later refuse one that holds more than
tensors, as a trainer's does (its options, say); earlier versions run it. Here whatever is no tensor becomes a blank.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

PLAIN = {
    "collections": ("OrderedDict", "defaultdict"),
    "builtins": ("set", "frozenset", "complex", "bytearray", "slice"),
}
TENSORS = {
    "torch._utils": ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"),
    "torch.serialization": ("_get_layout",),
    "torch._tensor": ("_rebuild_from_type_v2",),
    "torch.nn.parameter": ("Parameter",),
    "torch.storage": ("UntypedStorage", "TypedStorage"),
}
KINDS = (torch.dtype, torch.layout, torch.device, torch.Size)  # of what stands in ``torch`` itself


class Blank(dict):
    """Stands for what is no tensor; takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *_given: Any, **_named: Any) -> Blank:
        return super().__new__(cls)

    def __init__(self, *_given: Any, **_named: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __call__(self, *_given: Any, **_named: Any) -> Blank:
        return Blank()

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Finds tensors and plain containers, and a ``Blank`` for everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Called for every name in the pickle, never with one that could run code of its own."""
        if name in PLAIN.get(module, ()) or name in TENSORS.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and (name.endswith("Storage") or isinstance(getattr(torch, name, None), KINDS)):
            return super().find_class(module, name)
        return Blank


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_TENSORS_ALONE = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="tensors alone")


@contextmanager
def tensors_alone() -> Iterator[None]:
    """While an owner's code loads: ``torch.load`` takes any checkpoint, and nothing but tensors and numbers of it."""
    members = vars(torch)
    load = members["load"]
    members["load"] = partial(load, weights_only=False, pickle_module=_TENSORS_ALONE)
    try:
        yield
    finally:
        members["load"] = load
