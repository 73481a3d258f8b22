"""Packages, weights, seeds, pictures and memory of learned generators, without any of them."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import main
from generators import GenerationError, GeneratorUnavailable, _learned
from v2m4.config import FAST
from v2m4.frame import Frame

WEIGHTS = _learned.Weights("owner/Model-1", ("part/config.yaml", "part/model.safetensors"))


@pytest.fixture(autouse=True)
def no_cache_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setattr(_learned, "_cached", lambda weights, config: [])
    monkeypatch.setenv("HY3DGEN_MODELS", str(tmp_path / "none"))


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")


def test_a_missing_package_is_named_with_its_command():
    _learned.require_packages([_learned.Package("numpy", "pip install numpy")])
    with pytest.raises(GeneratorUnavailable, match=r"no_such_thing is not installed; pip install no_such_thing==1\.0"):
        _learned.require_packages([_learned.Package("no_such_thing", "pip install no_such_thing==1.0")])


@pytest.mark.parametrize("below", ["owner/Model-1", "Model-1"])
def test_weights_are_found_in_the_users_folder(tmp_path, below):
    config = replace(FAST, weights_dir=tmp_path)
    put(tmp_path / below, WEIGHTS.files[0])
    assert _learned.find_weights(WEIGHTS, config) is None  # half a copy is none
    put(tmp_path / below, WEIGHTS.files[1])
    assert _learned.find_weights(WEIGHTS, config) == (tmp_path / below).resolve()


def test_weights_are_found_in_the_cache(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.undo()
    snapshot = tmp_path / "models--owner--Model-1/snapshots/abc"
    put(snapshot, *WEIGHTS.files)
    put(tmp_path / "models--owner--Model-1", "refs/main")
    (tmp_path / "models--owner--Model-1/refs/main").write_text("abc")
    assert _learned.find_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path)) == snapshot.resolve()
    (snapshot / WEIGHTS.files[1]).unlink()
    assert _learned.find_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path)) is None


def test_missing_weights_are_told_in_one_line(tmp_path):
    put(tmp_path / "owner/Model-1", WEIGHTS.files[0])
    with pytest.raises(GeneratorUnavailable) as told:
        _learned.require_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path))
    message = str(told.value)
    assert "weights of owner/Model-1 are missing" in message and "\n" not in message
    assert "part/model.safetensors" in message and "config.yaml" not in message  # what is missing, not what is there
    assert str(tmp_path / "owner/Model-1") in message and "--download" in message
    with pytest.raises(GeneratorUnavailable, match="--weights_dir FOLDER"):
        _learned.require_weights(WEIGHTS, FAST)
    with pytest.raises(GeneratorUnavailable, match="no such folder"):
        _learned.require_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path / "nowhere"))


def test_nothing_is_fetched_unless_the_user_says_so(tmp_path, monkeypatch, shapes):
    asked = []

    def snapshot_download(repository, allow_patterns, local_dir):
        asked.append((repository, allow_patterns, local_dir))
        put(local_dir, *WEIGHTS.files)
        return str(local_dir)

    constants = shapes.fake_module(monkeypatch, "huggingface_hub", snapshot_download=snapshot_download)
    constants = shapes.fake_module(monkeypatch, "huggingface_hub.constants", HF_HUB_OFFLINE=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = replace(FAST, weights_dir=tmp_path, download=True)
    _learned.require_weights(WEIGHTS, config)  # may be fetched, so nothing is wrong yet
    folder = _learned.get_weights(WEIGHTS, config)
    assert asked == [("owner/Model-1", ["*"], tmp_path / "owner/Model-1")] and folder == asked[0][2].resolve()
    assert not constants.HF_HUB_OFFLINE
    assert _learned.get_weights(WEIGHTS, replace(config, download=False)) == folder and len(asked) == 1
    assert constants.HF_HUB_OFFLINE  # the owner's loader cannot fetch either


def test_a_failed_fetch_keeps_its_cause(tmp_path, monkeypatch, shapes):
    def snapshot_download(*arguments, **options):
        raise ConnectionError("no route")

    shapes.fake_module(monkeypatch, "huggingface_hub", snapshot_download=snapshot_download)
    with pytest.raises(GeneratorUnavailable, match="owner/Model-1 could not be fetched") as told:
        _learned.get_weights(WEIGHTS, replace(FAST, weights_dir=tmp_path, download=True))
    assert isinstance(told.value.__cause__, ConnectionError)


def test_other_weights_have_another_fingerprint(tmp_path):
    put(tmp_path, *WEIGHTS.files)
    first = _learned.fingerprint(WEIGHTS, tmp_path)
    assert first == _learned.fingerprint(WEIGHTS, tmp_path)
    (tmp_path / WEIGHTS.files[1]).write_bytes(b"123456")
    assert first != _learned.fingerprint(WEIGHTS, tmp_path)
    assert first != _learned.fingerprint(replace(WEIGHTS, repository="owner/Model-2"), tmp_path)


def test_the_same_noise_for_every_frame_and_other_noise_for_every_further_try():
    frames = [Frame(str(index), index, np.zeros((2, 2, 4), np.uint8)) for index in range(3)]
    assert {_learned.seed_for(42, frame, 0) for frame in frames} == {42}
    further = {_learned.seed_for(seed, frame, attempt) for seed in (42, 43) for frame in frames for attempt in (1, 2)}
    assert len(further) == 12


def test_a_volume_without_a_surface_is_tried_again_and_then_told():
    frame = Frame("7", 7, np.zeros((2, 2, 4), np.uint8))
    seeds = []
    found = _learned.first_surface("Model", frame, 42, lambda seed: seeds.append(seed) or (seed != 42 or None))
    assert found is True and len(seeds) == 2
    with pytest.raises(GenerationError, match="frame 7: Model found no surface"):
        _learned.first_surface("Model", frame, 42, lambda seed: None)


def test_the_picture_is_square_centred_and_keeps_its_colours(shapes):
    frame = shapes.frame_of(shapes.disc((120, 200), (150.0, 40.0), 20))
    picture = _learned.object_picture(frame, margin=0.5)
    assert picture.shape == (60, 60, 4)
    rows, columns = np.nonzero(picture[..., 3] > 128)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (59, 59)
    assert np.array_equal(picture[30, 30, :3], frame.rgba[40, 150, :3])
    small = _learned.object_picture(frame, margin=0.5, longest=30)
    assert small.shape == (30, 30, 4)
    inside = small[..., 3] == 255  # the blue background must not bleed in
    assert small[inside][:, 2].max() == 0
    grey = _learned.on_grey(picture, 0.5)
    assert grey.shape == (60, 60, 3) and tuple(grey[0, 0]) == (128, 128, 128)


def test_a_frame_without_an_object_is_told():
    frame = Frame("3", 3, np.full((20, 20, 4), _learned.FAINT, np.uint8))
    with pytest.raises(GenerationError, match="frame 3: no foreground"):
        _learned.object_picture(frame)


def test_the_mean_colour_is_the_objects():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., :3] = (0, 0, 255)
    rgba[:2] = (255, 51, 0, 255)
    assert torch.allclose(_learned.mean_color(Frame("0", 0, rgba)), torch.tensor([1, 0.2, 0]))


def test_an_owners_code_leaves_the_global_generator_and_the_output_as_they_were(capsys):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with _learned.owners_code(5):
        inside = torch.rand(3)
        print("final grids shape")
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), inside)


@pytest.mark.parametrize("model", ["Hunyuan", "TripoSG", "TRELLIS", "Craftsman"])
def test_a_generator_that_is_not_installed_ends_at_once_with_code_2(model, tmp_path, caplog, monkeypatch):
    owners = ("hy3dgen", "triposg", "trellis", "craftsman", "mvadapter")
    if any(_learned.installed(owner) for owner in owners):
        pytest.skip("an owner's package is installed here")
    (tmp_path / "clip").mkdir()
    arguments = ["--root", str(tmp_path), "--output", str(tmp_path / "out"), "--model", model, "--device", "cpu"]
    start = time.perf_counter()
    assert main.main(arguments) == 2
    assert time.perf_counter() - start < 1
    assert not (tmp_path / "out").exists()
    assert not set(owners) & set(sys.modules)
