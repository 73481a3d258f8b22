"""A run that is killed anywhere, any number of times, ends with the bytes of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import main
from tests.quick_runs import QUICK
from tests.test_main import write_clip

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
