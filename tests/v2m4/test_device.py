"""Whether there is a GPU, told without PyTorch."""

import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from v2m4 import device
from v2m4.config import FAST


@pytest.mark.parametrize("there", [False, True])
def test_pytorch_has_the_last_word_where_it_is_loaded(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(device, "_devices", lambda: pytest.fail("asked for nothing"))
    assert device.cuda_in_sight() == there
    assert device.on_gpu(replace(FAST, device="auto")) == there
    assert device.on_gpu(replace(FAST, device="cuda"))
    assert not device.on_gpu(replace(FAST, device="cpu"))
    assert device.device_of(replace(FAST, device="auto")).type == ("cuda" if there else "cpu")


@pytest.mark.parametrize(
    ("built", "devices", "seen"),
    [
        ("cuda: Optional[str] = '13.0'", 2, True),
        ("cuda = '12.8'", 1, True),
        ("cuda: Optional[str] = '13.0'", 0, False),
        ("cuda: Optional[str] = None", 1, False),
        ("hip: Optional[str] = '6'\ncuda = None", 1, False),
    ],
)
def test_a_build_for_cuda_and_a_device_are_asked_for(monkeypatch, tmp_path, built, devices, seen):
    (tmp_path / "version.py").write_text(f"__version__ = '2'\n{built}\n")
    monkeypatch.delitem(sys.modules, "torch")
    origin = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: origin)
    monkeypatch.setattr(device, "_devices", lambda: devices)
    assert device.cuda_in_sight() == seen


def test_a_machine_without_a_driver_has_no_devices(monkeypatch):
    monkeypatch.setattr(device, "DRIVER", "no_such_library.so.1")
    assert device._devices() == 0
    assert torch.version.cuda is not None or not device._built_for_cuda()
