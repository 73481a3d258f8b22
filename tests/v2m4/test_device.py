"""One function decides the device; a GPU is told without PyTorch."""

import importlib.util
import re
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from v2m4 import device
from v2m4.config import FAST
from v2m4.device import NVDIFFRAST, DeviceChoice, NoCuda, choose_device


@pytest.fixture
def machine(monkeypatch):
    """A machine with or without what CUDA needs; PyTorch is loaded, as everywhere in the tests."""
    find = importlib.util.find_spec

    def made(gpus: int, usable: bool, *, nvdiffrast: bool = False, build: tuple[str, str] = ("2.11.0", "13.0")) -> None:
        monkeypatch.setattr(device, "_devices", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
        monkeypatch.setattr(device, "torch_build", lambda: build)
        there = SimpleNamespace(origin="nvdiffrast/__init__.py") if nvdiffrast else None
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: there if name == "nvdiffrast" else find(name, *more)
        )

    return made


@pytest.mark.parametrize("load", [False, True])
def test_auto_takes_cuda_where_all_is_there(machine, monkeypatch, load):
    machine(1, True, nvdiffrast=True)
    monkeypatch.setitem(sys.modules, "nvdiffrast", ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", ModuleType("nvdiffrast.torch"))
    assert choose_device("auto", load=load) == choose_device("cuda", load=load) == DeviceChoice("cuda")
    assert choose_device("cpu", load=load) == DeviceChoice("cpu")
    config = replace(FAST, device="auto")
    assert device.on_gpu(config)
    assert device.device_of(config).type == "cuda"


@pytest.mark.parametrize(
    ("gpus", "usable", "build", "told"),
    [
        (1, True, ("2.11.0", "13.0"), f"nvdiffrast is not installed; {re.escape(NVDIFFRAST)}"),
        (1, False, ("2.13.0+cpu", ""), r"PyTorch 2\.13\.0\+cpu is a build without CUDA; pip install .*whl/cu128"),
        (1, False, ("2.11.0", "13.0"), r"PyTorch 2\.11\.0 \(CUDA 13\.0\) cannot use the GPU .* update the driver"),
    ],
)
def test_what_is_missing_beside_a_gpu_is_named_with_its_command(machine, gpus, usable, build, told):
    machine(gpus, usable, build=build)
    chosen = choose_device("auto")
    assert chosen.name == "cpu"
    with pytest.raises(NoCuda, match=f"^--device cuda: {told}, or use --device cpu$") as refused:
        choose_device("cuda")
    assert str(refused.value) == f"--device cuda: {chosen.missing}, or use --device cpu"
    assert not device.on_gpu(FAST)
    assert device.device_of(FAST).type == "cpu"


def test_a_plain_machine_takes_the_cpu_without_a_word(machine):
    machine(0, False, build=("2.13.0+cpu", ""))
    assert choose_device("auto") == DeviceChoice("cpu")
    with pytest.raises(NoCuda, match="the driver reports no GPU"):
        choose_device("cuda")


def test_work_that_renders_nothing_needs_no_rasteriser(machine):
    machine(1, True)
    assert choose_device("auto", rasteriser=False) == DeviceChoice("cuda")
    assert choose_device("auto").name == "cpu"


def test_an_extension_that_does_not_load_is_told(machine, monkeypatch):
    machine(1, True, nvdiffrast=True)
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    assert choose_device("auto") == DeviceChoice("cuda")
    found = choose_device("auto", load=True)
    assert found.name == "cpu"
    assert found.missing.startswith("nvdiffrast.torch cannot be loaded")
    assert NVDIFFRAST in found.missing


def test_a_resolved_device_is_not_decided_again(monkeypatch):
    monkeypatch.setattr(device, "choose_device", lambda *asked, **more: pytest.fail("decided again"))
    assert device.device_of(replace(FAST, device="cuda")).type == "cuda"
    assert device.device_of(replace(FAST, device="cpu")).type == "cpu"
    assert device.on_gpu(replace(FAST, device="cuda"))
    assert not device.on_gpu(replace(FAST, device="cpu"))


@pytest.mark.parametrize("there", [False, True])
def test_pytorch_has_the_last_word_where_it_is_loaded(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(device, "_devices", lambda: pytest.fail("asked for nothing"))
    assert device.cuda_in_sight() == there


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
    assert device.torch_build()[0] == "2"


def test_a_machine_without_a_driver_has_no_devices(monkeypatch):
    monkeypatch.setattr(device, "DRIVER", "no_such_library.so.1")
    assert device._devices() == 0
    assert device.torch_build() == (torch.__version__, torch.version.cuda or "")


def test_the_log_says_which_stage_runs_where():
    assert device.placement(replace(FAST, device="cpu")) == "all stages run on the CPU"
    gpu, cpu = device.placement(replace(FAST, device="cuda")).split("; ")
    assert gpu == "on the GPU: camera search, registration of key frames (descents), texture (least_squares)"
    assert "generation (Prior)" in cpu and "texture" not in cpu and "frames between key frames" in cpu
    learned = replace(FAST, device="cuda", model="Hunyuan", texture=replace(FAST.texture, solver="adam"))
    gpu, cpu = device.placement(learned).split("; ")
    assert "generation (Hunyuan)" in gpu and "texture (adam)" in gpu
    assert "generation" not in cpu and "texture" not in cpu
