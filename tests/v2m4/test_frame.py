"""Frames: windows of pictures agree with cameras' windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from v2m4.camera import DEFAULT_FOV
from v2m4.frame import Clip, Frame


def frame(height: int = 64, width: int = 96) -> Frame:
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[10:40, 20:60] = (200, 100, 50, 255)
    return Frame("a", 0, rgba)


def test_mask_area_and_centre_survive_resampling() -> None:
    _, mask = frame().tensors(32)
    assert mask.shape == (32, 48, 1)
    assert mask.mean() == pytest.approx(30 * 40 / (64 * 96), abs=1e-3)
    rows = torch.arange(32) + 0.5
    assert (mask[..., 0].sum(1) * rows).sum() / mask.sum() == pytest.approx(12.5, abs=0.02)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_a_window_shows_its_part_where_the_camera_says(size: int) -> None:
    window = (10 / 96, 5 / 64, 70 / 96, 65 / 64)  # reaches below the picture
    colour, mask = frame().tensors(size, window)
    assert mask.shape == (size, size, 1)
    grid = (torch.arange(size) + 0.5) / size
    x = (mask[..., 0].sum(0) * grid).sum() / mask.sum() * 60 + 10
    y = (mask[..., 0].sum(1) * grid).sum() / mask.sum() * 60 + 5
    assert x == pytest.approx(40.0, abs=0.35)
    assert y == pytest.approx(25.0, abs=0.35)
    inside = colour[mask[..., 0] > 0.999]
    assert torch.allclose(inside, torch.tensor([200.0, 100.0, 50.0]) / 255, atol=2e-3)
    assert torch.allclose(colour[mask[..., 0] == 0], torch.ones(3))


def test_the_camera_has_the_frames_lens_and_aspect() -> None:
    camera = frame().camera()
    assert (camera.fov, camera.aspect) == (DEFAULT_FOV, 1.5)
    assert torch.equal(camera.extrinsics, torch.eye(4)[None])
    other = replace(frame(), fov=0.5)
    assert other.camera().fov == Clip("c", [other], 30.0, "").fov == 0.5


def test_stages_take_the_videos_camera_from_its_frames() -> None:
    """An identity camera that a stage makes itself would have the default lens, whatever ``--fov`` says."""
    root = Path(__file__).resolve().parents[2]
    made = [
        f"{file.relative_to(root)}: {line.strip()}"
        for room in ("generators", "camera_search", "registration", "texture")
        for file in (root / room).rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if "Camera.identity(" in line and "Camera.identity(fov, " not in line
    ]
    assert made == []


def test_key_frames_take_every_nth_and_the_last() -> None:
    def clip(count: int) -> Clip:
        return Clip("c", [frame()] * count, 30.0, "")

    assert clip(12).key_indices(5) == [0, 5, 10, 11]
    assert clip(11).key_indices(5) == [0, 5, 10]
    assert clip(1).key_indices(5) == [0]
    with pytest.raises(ValueError, match="skip"):
        clip(3).key_indices(0)
