"""The owners' folder layout, on a small folder made here."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from motion324.owners_layout import OwnersFolder, window_indices
from motion324.samples import SampleConfig

CONFIG = SampleConfig(size=16, points=400, camera_axes=False)
FRAMES = 6


def make_object(folder: Path, name: str, frames: int = FRAMES) -> None:
    """A square that moves along x; its texture is red in the upper half and blue in the lower."""
    points = folder / "pcds" / f"{name}_pointclouds"
    points.mkdir(parents=True)
    square = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], np.float32)
    for frame in range(frames):
        np.save(points / f"frame_{frame:04d}.npy", square + np.array([0.2 * frame, 0, 0]))
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    np.save(points / "faces.npy", faces)
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)[faces]  # v upwards
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4] = (255, 0, 0)  # row 0 is the top
    texture[4:] = (0, 0, 255)
    np.savez(points / "uv_face_texture.npz", face_uvs=uvs, texture_array=texture)
    for camera in range(2):
        pictures = folder / "all_images" / f"{name}_images" / f"camera_{camera}"
        pictures.mkdir(parents=True)
        for frame in range(frames):
            cv2.imwrite(str(pictures / f"frame_{frame:04d}.png"), np.full((32, 32, 3), 10 * frame, np.uint8))


def test_samples_have_the_frames_their_points_and_colours(tmp_path: Path) -> None:
    make_object(tmp_path, "a")
    folder = OwnersFolder(tmp_path, None, 4, held_out=True)
    sample = folder.sample("a", CONFIG, np.random.default_rng(0))
    assert sample.frames.shape == (4, 16, 16, 4)
    assert (sample.frames[..., 3] == 255).all()
    shown = sample.frames[:, 0, 0, 0].astype(int) // 10
    assert (np.diff(shown) == np.diff(shown)[0]).all()
    points = sample.points.astype(np.float32)
    moved = points[:, :, 0] - points[0, :, 0]
    np.testing.assert_allclose(moved, np.tile(0.1 * (shown - shown[0])[:, None], (1, 400)), atol=2e-3)
    assert np.abs(points[0]).max() <= 0.5
    upper = points[0, :, 1] > 0.07
    lower = points[0, :, 1] < -0.07
    assert (sample.colors[upper] == [255, 0, 0]).all()
    assert (sample.colors[lower] == [0, 0, 255]).all()
    np.testing.assert_allclose(np.abs(sample.normals.astype(np.float32)), np.tile([0, 0, 1], (400, 1)), atol=1e-3)


def test_objects_of_the_list_with_too_few_frames_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_object(tmp_path, "long")
    make_object(tmp_path, "short", 3)
    (tmp_path / "train.lst").write_text("held_out\nlong\nshort\n\nabsent\n")
    with caplog.at_level(logging.WARNING):
        folder = OwnersFolder(tmp_path, tmp_path / "train.lst", 5, held_out=False)
    assert folder.names == ["long"]
    assert "short has 3 frames, 5 are needed" in caplog.text
    assert "absent has 0 frames" in caplog.text
    sample, name, kind = next(folder.samples(CONFIG, np.random.default_rng(0)))
    assert (name, kind, len(sample.frames)) == ("long", "owners", 5)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no object with 4 frames"):
        OwnersFolder(tmp_path, None, 4, held_out=True)


def test_objects_of_training_and_validation_differ(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_object(tmp_path, name)
    assert OwnersFolder(tmp_path, None, 4, held_out=True).names == ["a"]
    assert OwnersFolder(tmp_path, None, 4, held_out=False).names == ["b", "c"]


def test_faces_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    make_object(tmp_path, "a")
    np.save(tmp_path / "pcds" / "a_pointclouds" / "faces.npy", np.array([[0, 1, 9]]))
    with pytest.raises(ValueError, match=r"faces.npy .* does not fit"):
        OwnersFolder(tmp_path, None, 4, held_out=True).sample("a", CONFIG, np.random.default_rng(0))


def test_windows_use_the_strides_that_fit() -> None:
    rng = np.random.default_rng(0)
    strides = {int(np.diff(window_indices(9, 4, rng))[0]) for _ in range(100)}
    assert strides == {1, 2}
    for _ in range(50):
        window = window_indices(40, 4, rng)
        assert window[0] >= 0
        assert window[-1] < 40
