"""Rembg: our file in its session, nothing fetched unasked; networks made here run in it where it is installed."""

import importlib.util
import inspect
import os
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar, get_args

import numpy as np
import pytest
import torch

from v2m4 import threads
from v2m4.config import FAST, FramesConfig
from v2m4.io import _rembg
from v2m4.stage_config import RembgModel
from v2m4.weights import Unavailable

CONFIG = replace(FAST, frames=FramesConfig(foreground="rembg", rembg_model="u2netp"), device="cpu")

needs_rembg = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("rembg", "onnx", "onnxruntime")),
    reason="rembg, onnx and onnxruntime are not installed",
)


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    """A home without weights."""
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


def put(path, data=b"onnx"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class FakeRembgSession:
    """A session of rembg, as their base class has it: the file first, then whatever the caller names."""

    made: ClassVar[list] = []
    works: ClassVar[list] = []

    def __init__(self, model_name, sess_opts, *args, **kwargs):
        FakeRembgSession.made.append(
            (model_name, self.download_models(*args, **kwargs), sess_opts, kwargs["providers"])
        )
        self.inner_session = SimpleNamespace(
            get_providers=lambda: [p for p in kwargs["providers"] if p in FakeRembgSession.works]
        )

    @classmethod
    def name(cls, *args, **kwargs):
        return "u2netp"

    @classmethod
    def download_models(cls, *args, **kwargs):
        return str(put(Path(os.environ["U2NET_HOME"]) / "models/u2netp/u2netp.onnx"))


@pytest.fixture
def contract(monkeypatch):
    """What the adapter uses of rembg and ONNX Runtime, with their signatures; the mask is the red channel."""
    rembg, sessions, runtime = ModuleType("rembg"), ModuleType("rembg.sessions"), ModuleType("onnxruntime")

    def remove(data, alpha_matting=False, session=None, only_mask=False, post_process_mask=False):
        assert isinstance(session, FakeRembgSession) and only_mask and data.flags.c_contiguous
        print("talk")
        return data[..., 0]

    rembg.remove, rembg.sessions, sessions.sessions_class = remove, sessions, [FakeRembgSession]
    runtime.SessionOptions = type("SessionOptions", (), {"intra_op_num_threads": 0})
    runtime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    for module in (rembg, sessions, runtime):
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    FakeRembgSession.made.clear()
    FakeRembgSession.works[:] = runtime.get_available_providers()
    return runtime


def test_every_model_that_can_be_asked_for_has_its_file():
    assert set(get_args(RembgModel)) == set(_rembg.RELEASED)


@pytest.mark.parametrize(
    "place",
    [
        "weights/danielgatis/rembg/u2netp.onnx",
        "weights/rembg/u2netp.onnx",
        "weights/danielgatis/rembg/models/u2netp/u2netp.onnx",
        "home/.rembg/models/u2netp/u2netp.onnx",
        "home/.u2net/u2netp.onnx",
    ],
)
def test_weights_are_found(contract, tmp_path, place):
    (tmp_path / "weights").mkdir()
    config = replace(CONFIG, weights_dir=tmp_path / "weights")
    with pytest.raises(Unavailable):
        _rembg.require_rembg(config)
    file = put(tmp_path / place)
    assert _rembg.open_rembg(config).file == file.resolve()


def test_another_file_is_another_input(tmp_path):
    file = put(tmp_path / "u2netp.onnx")
    network = _rembg.Rembg("u2netp", file, torch.device("cpu"))
    before = network.identity
    assert before == network.identity != _rembg.Rembg("u2net", file, torch.device("cpu")).identity
    put(file, b"another")
    assert before != network.identity


def test_its_own_variables_say_where_too(contract, tmp_path, monkeypatch):
    file = put(tmp_path / "there/models/u2netp/u2netp.onnx")
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "there"))
    assert _rembg.open_rembg(CONFIG).file == file.resolve()
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "elsewhere"))  # has the last word in rembg
    with pytest.raises(Unavailable, match="elsewhere"):
        _rembg.open_rembg(CONFIG)


def test_missing_weights_are_told_in_one_line(contract, tmp_path):
    with pytest.raises(Unavailable) as told:
        _rembg.require_rembg(CONFIG)
    message = str(told.value)
    assert (
        "\n" not in message and "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx" in message
    )
    assert "FOLDER/danielgatis/rembg/u2netp.onnx and add --weights_dir FOLDER" in message
    assert str(tmp_path / "home/.rembg/models/u2netp/u2netp.onnx") in message and "--download" in message


@pytest.mark.parametrize(
    ("device", "providers"),
    [("cpu", ["CPUExecutionProvider"]), ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"])],
)
def test_the_session_has_our_file_on_the_device_that_is_asked_for(contract, tmp_path, capsys, device, providers):
    file = put(tmp_path / "u2netp.onnx")
    picture = np.random.default_rng(0).integers(0, 255, (20, 31, 4), np.uint8)[..., :3]
    alphas = list(_rembg.Rembg("u2netp", file, torch.device(device)).alphas([picture, picture // 2]))
    np.testing.assert_array_equal(alphas[1], picture[..., 0] // 2)
    ((model, path, options, given),) = FakeRembgSession.made  # one session for the clip
    assert (model, path, given) == ("u2netp", str(file), providers)
    assert options.intra_op_num_threads == threads.count()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("built_for_cuda", [False, True])
def test_a_runtime_that_starts_no_cuda_is_said(contract, tmp_path, caplog, built_for_cuda):
    network = _rembg.Rembg("u2netp", put(tmp_path / "u2netp.onnx"), torch.device("cuda"))
    list(network.alphas([]))
    assert caplog.text.count("WARNING") == 0
    FakeRembgSession.works[:] = ["CPUExecutionProvider"]
    if not built_for_cuda:
        contract.get_available_providers = lambda: ["CPUExecutionProvider"]
    list(network.alphas([]))
    assert len(FakeRembgSession.made[1][3]) == 1 + built_for_cuda and "starts no CUDA" in caplog.text


def test_weights_are_fetched_into_the_users_folder_when_allowed(contract, tmp_path):
    (tmp_path / "weights").mkdir()
    found = _rembg.open_rembg(replace(CONFIG, weights_dir=tmp_path / "weights", download=True))
    assert found.file.is_relative_to((tmp_path / "weights/danielgatis/rembg").resolve())
    assert "U2NET_HOME" not in os.environ
    _rembg.require_rembg(replace(CONFIG, weights_dir=tmp_path / "weights"))  # found again without fetching


def test_fetching_that_fails_is_told(contract, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(FakeRembgSession, "download_models", fail)
    with pytest.raises(Unavailable, match="weights of u2netp could not be fetched: ConnectionError"):
        _rembg.open_rembg(replace(CONFIG, download=True))


def test_a_model_that_an_old_rembg_does_not_know_is_told(contract, tmp_path):
    with pytest.raises(Unavailable, match="this rembg knows no birefnet-cod"):
        list(_rembg.Rembg("birefnet-cod", put(tmp_path / "birefnet-cod.onnx"), torch.device("cpu")).alphas([]))


def brightness(path, size, gain):
    """A network with U2-Net's and BiRefNet's signature whose score is the brightness."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.full((1, 3, 1, 1), gain, np.float32), "kernel")
    node = helper.make_node("Conv", ["input.1", "kernel"], ["1959"])
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, size, size])
    score = helper.make_tensor_value_info("1959", TensorProto.FLOAT, [1, 1, size, size])
    graph = helper.make_graph([node], "brightness", [picture], [score], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


@needs_rembg
@pytest.mark.parametrize(("model", "size", "gain"), [("u2netp", 320, 1.0), ("birefnet-general-lite", 1024, 9.0)])
def test_rembg_itself_runs_our_file_and_the_mask_lies_on_the_object(tmp_path, model, size, gain):
    brightness(tmp_path / f"weights/rembg/{model}.onnx", size, gain)
    config = replace(CONFIG, frames=replace(CONFIG.frames, rembg_model=model), weights_dir=tmp_path / "weights")
    pictures = []
    for index in range(2):  # a bright L, high in the left half of a wide picture: nothing about it is symmetric
        picture = np.full((90, 160, 3), 20, np.uint8)
        picture[10:60, 20 + 9 * index : 34 + 9 * index] = picture[46:60, 20 + 9 * index : 70 + 9 * index] = 220
        pictures.append(picture)
    alphas = list(_rembg.open_rembg(config).alphas(pictures))
    for picture, alpha in zip(pictures, alphas, strict=True):
        assert alpha.shape == (90, 160) and alpha.dtype == np.uint8
        truth = picture[..., 0] > 100
        assert (truth & (alpha > 127)).sum() / (truth | (alpha > 127)).sum() > 0.97


@needs_rembg
def test_a_torn_file_is_told(tmp_path):
    with pytest.raises(Unavailable, match=r"torn\.onnx: is not a network that rembg's u2netp can load"):
        list(_rembg.Rembg("u2netp", put(tmp_path / "torn.onnx"), torch.device("cpu")).alphas([]))


@needs_rembg
@pytest.mark.parametrize("model", _rembg.RELEASED)
def test_the_sources_are_the_owners(model):
    from rembg.sessions import sessions_class

    owner = next(owner for owner in sessions_class if owner.name() == model)
    assert f"{_rembg.RELEASE}/{_rembg.RELEASED[model]}" in inspect.getsource(owner.download_models)
