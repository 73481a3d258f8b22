"""Whole runs on the GPU: an example with ``--preset fast`` beside the CPU's, a short one with ``--preset paper``."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import main
import rendering_video
from evaluation.video_metrics import psnr
from v2m4.workspace import Workspace

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE = "waving_robot"
SIZE = 512  # pixels (side) of the example's frames
LESS = 0.1  # dB that the GPU's result may be behind the CPU's
# A quarter of the published steps: what one step takes, and the memory, are those of the whole.
QUARTER = [
    *("--registration.coarse_steps", "125", "--registration.half_turn_steps", "25"),
    *("--registration.fine_steps", "250", "--registration.joint_steps", "250", "--texture.steps", "625"),
]


@pytest.fixture
def measured(performance, monkeypatch):
    """Stages of a run by that name, measured."""

    def under(run: str) -> None:
        stage = Workspace.stage

        @contextmanager
        def timed(self, name):
            with performance.stage(run, name), stage(self, name):
                yield

        monkeypatch.setattr(Workspace, "stage", timed)

    return under


def frames_of(folder: Path, count: int) -> list[Path]:
    """The first pictures of an example, in order."""
    return sorted(folder.glob("*.png"), key=lambda file: int("".join(filter(str.isdigit, file.stem)) or 0))[:count]


def clip(root: Path, count: int) -> Path:
    """A folder with the example's first frames."""
    (root / EXAMPLE).mkdir(parents=True)
    for file in frames_of(EXAMPLES / EXAMPLE, count):
        shutil.copy(file, root / EXAMPLE)
    return root


def reconstructed(root: Path, output: Path, device: str, *more: str) -> Path:
    """The animation's folder, rendered from the video's camera on the CPU."""
    assert main.main(["--root", str(root), "--output", str(output), "--device", device, *more]) == 0
    rendering = ["--result_path", str(output), "--size", str(SIZE), "--device", "cpu"]
    assert rendering_video.main(rendering) == 0
    return output / EXAMPLE


def quality(root: Path, folder: Path) -> float:
    """PSNR of a result's renders against the frames on white, dB, mean over the frames."""
    truth, result = [], []
    for file in frames_of(root / EXAMPLE, 1000):
        rgba = iio.imread(file).astype(np.float32) / 255
        truth.append(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])
        result.append(iio.imread(folder / rendering_video.IMAGES / file.name)[..., :3].astype(np.float32) / 255)
    return float(psnr(np.stack(truth), np.stack(result)).mean())


def test_an_example_is_as_good_as_on_the_cpu(rasteriser, performance, measured, tmp_path):
    root = clip(tmp_path / "clips", 24)
    wanted = quality(root, reconstructed(root, tmp_path / "cpu", "cpu", "--preset", "fast"))
    measured(f"{EXAMPLE}, 24 frames, fast")
    found = quality(root, reconstructed(root, tmp_path / "gpu", rasteriser.type, "--preset", "fast"))
    performance.check(f"{EXAMPLE}, fast: PSNR here / on the CPU", f"{found:.2f} / {wanted:.2f} dB")
    assert wanted > 20
    assert found > wanted - LESS


def test_the_paper_preset_runs(rasteriser, performance, measured, tmp_path):
    root = clip(tmp_path / "clips", 4)
    measured(f"{EXAMPLE}, 4 frames, 2 key frames, paper, a quarter of the steps of stages 3 and 4")
    more = ["--preset", "paper", "--skip", "3", *QUARTER]
    if rasteriser.type == "cpu":  # the check of this check
        more += ["--search.samples", "64", "--search.particles", "8", "--search.swarm_steps", "2"]
        more += ["--search.size", "64", "--search.refine_steps", "5", "--generation.grid", "64", "--max_faces", "1000"]
        more += ["--registration.coarse_steps", "2", "--registration.half_turn_steps", "1"]
        more += ["--registration.fine_steps", "3", "--registration.joint_steps", "3", "--registration.views", "2"]
        more += ["--registration.size", "64", "--registration.video_size", "64", "--texture.steps", "50"]
        more += ["--texture.size", "128", "--texture.views", "4", "--texture.view_size", "128"]
    folder = reconstructed(root, tmp_path / "gpu", rasteriser.type, *more)
    assert (folder / "output_animation.glb").is_file()
    found = quality(root, folder)
    performance.check(f"{EXAMPLE}, paper, a quarter of the steps: PSNR", f"{found:.2f} dB")
    assert found > 15
