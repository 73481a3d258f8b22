"""Seeds and pictures of learned generators, and their refusal, without any of them."""

import sys
import time

import numpy as np
import pytest
import torch

import main
from generators import GenerationError, _learned
from v2m4.frame import Frame
from v2m4.weights import installed


def test_seeds_are_equal_for_all_frames_and_differ_in_further_attempts():
    frames = [Frame(str(index), index, np.zeros((2, 2, 4), np.uint8)) for index in range(3)]
    assert {_learned.seed_for(42, frame, 0) for frame in frames} == {42}
    further = {_learned.seed_for(seed, frame, attempt) for seed in (42, 43) for frame in frames for attempt in (1, 2)}
    assert len(further) == 12


def test_no_surface_is_attempted_again_and_then_an_error():
    frame = Frame("7", 7, np.zeros((2, 2, 4), np.uint8))
    seeds = []
    found = _learned.first_surface("Model", frame, 42, lambda seed: seeds.append(seed) or (seed != 42 or None))
    assert found is True and len(seeds) == 2
    with pytest.raises(GenerationError, match="frame 7: Model found no surface"):
        _learned.first_surface("Model", frame, 42, lambda seed: None)


def test_object_image_is_square_centred_and_keeps_its_colours(shapes):
    frame = shapes.frame_of(shapes.disc((120, 200), (150.0, 40.0), 20))
    picture = _learned.object_image(frame, margin=0.5)
    assert picture.shape == (60, 60, 4)
    rows, columns = np.nonzero(picture[..., 3] > 128)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (59, 59)
    assert np.array_equal(picture[30, 30, :3], frame.rgba[40, 150, :3])
    small = _learned.object_image(frame, margin=0.5, longest=30)
    assert small.shape == (30, 30, 4)
    inside = small[..., 3] == 255  # the blue background must not bleed in
    assert small[inside][:, 2].max() == 0
    grey = _learned.on_grey(picture, 0.5)
    assert grey.shape == (60, 60, 3) and tuple(grey[0, 0]) == (128, 128, 128)


def test_a_frame_without_foreground_is_an_error():
    frame = Frame("3", 3, np.full((20, 20, 4), _learned.MAX_HAZE_ALPHA, np.uint8))
    with pytest.raises(GenerationError, match="frame 3: no foreground"):
        _learned.object_image(frame)


def test_mean_colour_is_the_foregrounds():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., :3] = (0, 0, 255)
    rgba[:2] = (255, 51, 0, 255)
    assert torch.allclose(_learned.mean_color(Frame("0", 0, rgba)), torch.tensor([1, 0.2, 0]))


@pytest.mark.parametrize("model", ["Hunyuan", "TripoSG", "TRELLIS", "Craftsman"])
def test_a_missing_generator_ends_main_with_code_2(model, tmp_path, caplog, monkeypatch):
    owners = ("hy3dgen", "triposg", "trellis", "craftsman", "mvadapter")
    if any(installed(owner) for owner in owners):
        pytest.skip("an owner's package is installed here")
    (tmp_path / "clip").mkdir()
    arguments = ["--root", str(tmp_path), "--output", str(tmp_path / "out"), "--model", model, "--device", "cpu"]
    start = time.perf_counter()
    assert main.main(arguments) == 2
    assert time.perf_counter() - start < 1
    assert not (tmp_path / "out").exists()
    assert not set(owners) & set(sys.modules)
