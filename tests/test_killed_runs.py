"""A run that is killed anywhere, any number of times, ends with the bytes of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import main
from tests.test_main import write_clip

QUICK = [
    *("--preset", "fast", "--device", "cpu", "--skip", "2", "--key_frames", "even", "--max_faces", "300"),
    *("--model", "Inflate", "--generation.grid", "40", "--generation.texture_size", "64", "--threads", "2"),
    *("--search.samples", "16", "--search.particles", "8", "--search.swarm_steps", "1", "--search.refine_steps", "2"),
    *("--search.size", "32", "--search.proxy_faces", "200", "--registration.coarse_steps", "3"),
    *("--registration.half_turn_steps", "1", "--registration.fine_steps", "6", "--registration.views", "1"),
    *("--registration.size", "32", "--registration.video_size", "48", "--registration.points", "200"),
    *("--registration.joint_steps", "10", "--registration.settle_rounds", "4", "--drive.nodes", "12"),
    *("--drive.size", "64", "--drive.points", "100", "--drive.rounds", "1", "--drive.window", "3", "--bones", "4"),
    *("--texture.size", "64", "--texture.views", "2", "--texture.view_size", "48"),
]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked, which this system cannot")


def killed(folder: Path, kills: int, *options: str) -> dict[str, object]:
    """Report of ``tests.killed_runs``."""
    write_clip(folder / "clips" / "arms", count=5)
    command = [sys.executable, "-m", "tests.killed_runs", str(folder / "out"), str(kills), "7", "--"]
    told = subprocess.run(
        [*command, "--root", str(folder / "clips"), *QUICK, *options],
        cwd=Path(main.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


@pytest.mark.parametrize("motion", ["registration", "video"])
def test_a_run_killed_in_three_ways_ends_the_same(tmp_path: Path, motion: str) -> None:
    report = killed(tmp_path, 3, "--motion", motion)
    assert report["kills"] == 3
    assert report["same"]
    assert report["leftovers"] == []


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["registration", "video"])
def test_a_run_killed_at_forty_moments_ends_the_same(tmp_path: Path, motion: str) -> None:
    report = killed(tmp_path, 40, "--motion", motion)
    print(json.dumps(report, indent=1))
    assert report["kills"] == 40
    assert report["same"]
    assert report["leftovers"] == []
    assert {"generation", "camera_search", "registration", "texture", "export"} <= set(report["stages"])
