"""The table of what this machine can run: fast, complete, true."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from v2m4 import doctor
from v2m4.config import OWN_MODELS, ModelName
from v2m4.preflight import generators

ROOT = Path(__file__).resolve().parents[2]


def examine(tmp_path: Path) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(None, tmp_path)}


def test_it_answers_in_five_seconds_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from v2m4 import doctor; ended = doctor.main([])\n"
        "print([name for name in ('torch', 'numpy', 'numba', 'cv2') if name in sys.modules], ended)"
    )
    start = time.perf_counter()
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert time.perf_counter() - start < 5
    assert told.stdout.splitlines()[-2:] == ["the default job (python main.py) can run here", "[] 0"]


OWN = {f"--model {name}" for name in OWN_MODELS}


def test_every_model_and_option_has_a_row(tmp_path: Path) -> None:
    found = examine(tmp_path)
    assert {f"--model {name}" for name in get_args(ModelName)} <= set(found)
    assert {f"--model {name}: its texture" for name in generators.PAINTERS} <= set(found)
    for what in ("--use_vggt", "--use_tracking", "--search.similarity dreamsim", "--frames.foreground rembg"):
        assert what in found
    for what in (
        "Python",
        "PyTorch",
        "device",
        "nvdiffrast",
        "pytorch3d",
        "threads",
        "Blender",
        "ffmpeg",
        "ray",
        "submitit",
    ):
        assert what in found
    assert {"ray", "submitit"} <= set(found)
    assert all(found[what] == doctor.Finding(what, "ready") for what in OWN)


def test_what_is_missing_comes_with_commands_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find, core = importlib.util.find_spec, set(doctor.CORE.values())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: find(name) if name in core else None)
    monkeypatch.setattr("v2m4.weights._cached", lambda *_: [])
    found = examine(tmp_path)
    tracking = found["--use_tracking"]
    assert tracking.state == "missing"
    command, files = tracking.note.split("\n")
    assert command.startswith("cotracker not installed; pip install git+")
    assert "put scaled_offline.pth into FOLDER/facebook/cotracker3" in files
    assert found["nvdiffrast"].state == "optional"
    text = doctor.layout(list(found.values()))
    assert re.search(r"^--use_tracking +missing +cotracker not installed; pip install", text, re.MULTILINE)
    assert all(found[what].state != "ready" for what in found if what.startswith("--") and what not in OWN)


def test_weights_in_the_folder_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2m4.weights.installed", lambda module: module != "diffusers")
    monkeypatch.setattr("v2m4.weights._cached", lambda *_: [])
    monkeypatch.setattr("v2m4.preflight.generators.metadata.version", lambda name: "0.35.2")
    (tmp_path / "facebook/cotracker3").mkdir(parents=True)
    before = {finding.what: finding for finding in doctor.examine(tmp_path, tmp_path)}
    (tmp_path / "facebook/cotracker3/scaled_offline.pth").touch()
    after = {finding.what: finding for finding in doctor.examine(tmp_path, tmp_path)}
    assert (before["--use_tracking"].state, after["--use_tracking"].state) == ("missing", "ready")
    assert after["--use_vggt"].state == "missing"


@pytest.mark.parametrize("lost", ["tyro", "cholespy"])
def test_without_a_core_package_the_default_cannot_run(
    lost: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == lost else find(name, *more))
    assert doctor.main(["--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["default"] is False
    (core,) = (row for row in told["findings"] if row["what"] == "core packages")
    assert core["state"] == "missing"
    assert f"not installed: {lost}; pip install -r requirements.txt" in core["note"]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 2**28})())
    assert doctor.main([]) == 1
    told = capsys.readouterr().out
    assert re.search(r"^free disk +missing +0 GiB for results; 2 GiB are wanted$", told, re.MULTILINE)


def test_the_core_is_what_the_requirements_list() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines if line and not line.startswith("#")}
    assert listed == {*doctor.CORE, *doctor.SEGMENTATION}
