import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from motion324.clips import FPS, ClipPool, file_clip, frame_times, generated_clip, training_pool, validation_pool
from v2m4.character_files import Source, held_out

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "characters"


def test_strides_are_one_two_or_four_frames_and_fit_the_clip() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        times = frame_times(12, 1.0, 3.0, rng)
        assert times.min() >= 1.0
        assert times.max() <= 3.0 + 1e-9
        found.append(round(float(np.diff(times)[0]) * FPS))
        np.testing.assert_allclose(np.diff(times), found[-1] / FPS)
    shares = [found.count(stride) / 300 for stride in (1, 2, 4)]
    assert shares == pytest.approx([0.4, 0.4, 0.2], abs=0.08)


def test_a_short_clip_repeats() -> None:
    times = frame_times(12, 0.5, 0.7, np.random.default_rng(1))
    assert times.min() >= 0.5
    assert times.max() < 0.7
    assert (np.diff(times) < 0).any()


def test_generated_clips_are_drawn_without_files() -> None:
    clip = ClipPool([], 0.0, 5).draw(np.random.default_rng(0))
    assert clip.name.startswith("generated/")
    assert clip.vertices.shape[0] == 5
    assert 0.012 < clip.motion() < 0.6


def test_a_broken_file_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.glb").write_bytes(b"not a glTF file")
    pool = ClipPool([Source(tmp_path / "broken.glb", "broken", "robot", 1.0)], 0.0, 4)
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="no clip that moves"):
        pool.draw(np.random.default_rng(0))
    assert sum("left out" in line for line in caplog.messages) == 1


def test_motion_is_relative_to_the_size() -> None:
    clip = generated_clip(2, np.random.default_rng(0))
    moved = torch.stack([clip.vertices[0], clip.vertices[0] + torch.tensor([0.3, 0.0, 0.0])])
    size = float((moved[0].amax(0) - moved[0].amin(0)).max())
    changed = type(clip)(clip.name, clip.kind, moved, clip.faces, clip.colors)
    assert changed.motion() == pytest.approx(0.3 / size, rel=1e-4)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/characters")
def test_files_are_read_at_a_windows_times() -> None:
    path = DATA / "animated" / "quaternius_showcase" / "animals__Husky.glb"
    clip = file_clip(path, "husky", "quadruped", 6, np.random.default_rng(0))
    assert clip.vertices.shape[0] == 6
    assert (clip.colors is None) != (clip.texture is None)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/characters")
def test_training_and_validation_share_no_file() -> None:
    training, validation = training_pool(DATA, 0.4, 4), validation_pool(DATA, 4)
    names = {source.name for source in training.sources}
    assert not names & {source.name for source in validation.sources}
    assert not any(held_out(name) for name in names)
    assert not any(Path(name).name in ("Fox", "RobotExpressive") for name in names)
