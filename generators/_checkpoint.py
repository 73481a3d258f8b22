"""Safe loading of other people's checkpoints: their tensors only, without running their code.

A checkpoint is a pickle, and unpickling runs the code that it names. PyTorch 2.6 and later refuse one that holds more
than tensors, as a trainer's does (its options, for example); earlier versions run it. Here every object that is neither
tensor nor plain container is replaced by a placeholder.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

CONTAINERS = {
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
TORCH_TYPES = (torch.dtype, torch.layout, torch.device, torch.Size)  # of the permitted members of ``torch`` itself


class Placeholder(dict):
    """Placeholder for an object that is no tensor; accepts all operations of a pickle and ignores them."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __call__(self, *_args: Any, **_kwargs: Any) -> Placeholder:
        return Placeholder()

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Unpickler that resolves tensors and plain containers, and everything else to ``Placeholder``."""

    def find_class(self, module: str, name: str) -> Any:
        """Class or function of a name in the pickle: only those of the allow lists, else ``Placeholder``."""
        if name in CONTAINERS.get(module, ()) or name in TENSORS.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and (name.endswith("Storage") or isinstance(getattr(torch, name, None), TORCH_TYPES)):
            return super().find_class(module, name)
        return Placeholder


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_TENSORS_ONLY = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="tensors only")


@contextmanager
def tensors_only() -> Iterator[None]:
    """Context in which ``torch.load`` accepts any checkpoint, but reads only its tensors, numbers and containers."""
    members = vars(torch)
    load = members["load"]
    members["load"] = partial(load, weights_only=False, pickle_module=_TENSORS_ONLY)
    try:
        yield
    finally:
        members["load"] = load
