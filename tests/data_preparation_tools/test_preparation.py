"""The two small commands that prepare inputs."""

import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from data_preparation_tools import convert_black_white_background_images_to_alpha_images as converting
from data_preparation_tools import split_videos_to_image_frames as splitting
from tests.v2m4.io.video_documents import disc, encode, moving, save, save_animated
from v2m4.io.video import write_video

TOOLS = Path(__file__).resolve().parents[2] / "data_preparation_tools"


def picture(shift=0, background=0):
    image = np.full((64, 80, 3), background, np.uint8)
    cv2.circle(image, (30 + shift, 32), 16, (200, 120, 60), -1)
    return image


def run(module, source, output, *more):
    return module.main(["--input", str(source), "--output", str(output), *more])


def test_videos_become_folders_of_frames(tmp_path):
    for name in ("fox", "robot 2"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_video(tmp_path / "in" / f"{name}.mp4", [picture(i) for i in range(5)], 10)
    assert run(splitting, tmp_path / "in", tmp_path / "out") == 0
    for name in ("fox", "robot 2"):
        files = sorted((tmp_path / "out" / name).iterdir())
        assert [file.name for file in files] == [f"{index:04d}.png" for index in range(5)]
        assert np.abs(iio.imread(files[3]).astype(int) - picture(3)).mean() < 4
    assert run(splitting, tmp_path / "in" / "fox.mp4", tmp_path / "some", "--every", "2", "--max_side", "40") == 0
    assert [iio.imread(file).shape for file in sorted((tmp_path / "some" / "fox").iterdir())] == [(32, 40, 3)] * 3


def test_animated_pictures_and_masks_are_taken_too(tmp_path):
    (tmp_path / "in").mkdir()
    save_animated(tmp_path / "in" / "wave.gif", moving(3), 40)
    encode(tmp_path / "in" / "fox.MKV", moving(4))
    assert run(splitting, tmp_path / "in", tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "wave").iterdir())) == 3
    assert len(list((tmp_path / "out" / "fox").iterdir())) == 4
    mask = np.where(disc().max(2) > 0, 255, 0).astype(np.uint8)
    save(tmp_path / "walk" / "0.jpg", disc())
    save(tmp_path / "walk" / "masks" / "0.png", mask)
    assert run(converting, tmp_path / "walk", tmp_path / "rgba", "--foreground", "auto") == 0
    np.testing.assert_array_equal(iio.imread(tmp_path / "rgba" / "walk" / "0.png")[..., 3], mask)


@pytest.mark.parametrize("background", [0, 255])
def test_backgrounds_become_alpha(tmp_path, background):
    for index in range(2):
        (tmp_path / "in" / "fox").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(index, background)).save(tmp_path / "in" / "fox" / f"{index}.jpg", quality=95)
    assert run(converting, tmp_path / "in", tmp_path / "out") == 0
    for index in range(2):
        result = iio.imread(tmp_path / "out" / "fox" / f"{index}.png")
        found, true = result[..., 3] > 127, (picture(index) > 0).any(2)
        assert (found & true).sum() / (found | true).sum() > 0.97


def test_a_broken_input_fails_alone(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "good.mp4", [picture()] * 2, 10)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    for module in (splitting, converting):
        output = tmp_path / module.__name__
        assert run(module, tmp_path / "in", output) == 1
        assert len(list((output / "good").iterdir())) == 2
        assert "bad.mp4: cannot be read" in capsys.readouterr().out


def test_missing_or_wrong_inputs_and_options_exit_with_2(tmp_path):
    for module in (splitting, converting):
        assert run(module, tmp_path / "missing", tmp_path / "out") == 2
        assert run(module, tmp_path, tmp_path / "out") == 2
        assert run(module, tmp_path, tmp_path / "out", "--max_side", "-1") == 2
        with pytest.raises(SystemExit) as stop:
            module.main(["--unknown"])
        assert stop.value.code == 2
    Image.fromarray(picture()).save(tmp_path / "0.png")
    assert run(splitting, tmp_path, tmp_path / "out") == 2
    assert run(converting, tmp_path, tmp_path) == 2


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", "data_preparation_tools", "/tmp"])
@pytest.mark.parametrize("module", [splitting, converting])
def test_they_run_from_any_folder(tmp_path, folder, module):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "fox.mp4", [picture()] * 2, 10)
    command = [sys.executable, module.__file__, "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=TOOLS.parent / folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "fox").iterdir())) == 2
