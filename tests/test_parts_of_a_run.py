"""--stage, --from_stage, --until_stage, and what a changed option makes anew."""

import json
import shutil
from pathlib import Path

import pytest

from tests.quick_runs import result, run
from v2m4.workspace import STAGE_FOLDERS, Workspace


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the arrays that are computed from now on."""
    names: list[str] = []
    record = Workspace.record

    def noted(self: Workspace, name: str, key: str) -> None:
        if name.endswith(".npz"):
            names.append(name)
        record(self, name, key)

    monkeypatch.setattr(Workspace, "record", noted)
    return names


def test_stages_one_after_the_other_make_what_a_whole_run_does(
    clips: Path, whole: Path, tmp_path: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path, "--until_stage", "2") == 0
    told = capsys.readouterr()
    folder = tmp_path / "arms"
    assert f"{folder}: stopped after stage 2 (camera search)" in told.err
    assert str(folder / "1_generation") in told.err and str(folder / "2_camera_search") in told.err
    assert "without --until_stage goes on" in told.err
    assert {name.split("/")[0] for name in made} == {"1_generation", "2_camera_search"}
    assert set(json.loads((folder / "manifest.json").read_text())["stages"]) == {
        *("frames", "generation", "camera_search")
    }
    for number, name in enumerate(STAGE_FOLDERS.values(), 1):
        made.clear()
        assert run(clips, tmp_path, "--stage", str(number)) == 0
        assert {path.split("/")[0] for path in made} == ({name} if number > 2 else set())
        assert (folder / "output_animation.glb").exists() == (number == 4)
    assert result(tmp_path) == result(whole)


def test_a_stage_without_its_inputs_is_refused(
    clips: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path / "new", "--stage", "3") == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("E "))
    assert str(tmp_path / "new/arms/1_generation/0.npz") in line and "--until_stage" in line
    shutil.copytree(whole, tmp_path / "old")
    assert run(clips, tmp_path / "old", "--stage", "4", "--registration.fine_steps", "7") == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("E "))
    assert "3_registration" in line and "made from other inputs, options or code" in line


def test_from_a_stage_on_everything_is_computed_again(
    clips: Path, whole: Path, tmp_path: Path, made: list[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    assert run(clips, output, "--from_stage", "3") == 0
    assert {name.split("/")[0] for name in made} == {"3_registration", "4_texture"}
    assert result(output) == result(whole)
    made.clear()
    assert run(clips, output, "--stage", "4", "--overwrite") == 0
    assert {name.split("/")[0] for name in made} == {"4_texture"}
    assert result(output) == result(whole)
    made.clear()
    assert run(clips, output) == 0
    assert made == []


def test_an_interrupted_overwrite_goes_on(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    record, names = Workspace.record, []

    def noted(self: Workspace, name: str, key: str) -> None:
        if name.startswith("3_registration"):
            raise KeyboardInterrupt
        names.append(name)
        record(self, name, key)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "record", noted)
        assert run(clips, output, "--overwrite") == 130
    assert "1_generation/0.npz" in names
    again: list[str] = []
    monkeypatch.setattr(Workspace, "record", lambda self, name, key: (again.append(name), record(self, name, key)))
    assert run(clips, output, "--overwrite") == 0
    assert not [name for name in again if name.startswith(("1_generation", "2_camera_search"))]
    assert [name for name in again if name.startswith("4_texture")]
    assert result(output) == result(whole)


@pytest.mark.parametrize(
    ("option", "change", "stages"),
    [
        (("--registration.joint_steps", "11"), "--registration.joint_steps 10 -> 11", (3, 4)),
        (("--texture.size", "96"), "--texture.size 64 -> 96", (4,)),
    ],
)
def test_a_changed_option_is_named_and_redoes_what_depends_on_it(
    clips: Path,
    whole: Path,
    tmp_path: Path,
    made: list[str],
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, str],
    change: str,
    stages: tuple[int, ...],
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    capsys.readouterr()
    assert run(clips, output, *option) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "changed since the last run" in line)
    listed = f"stages {', '.join(map(str, stages))}" if len(stages) > 1 else f"stage {stages[0]}"
    assert line.endswith(f"changed since the last run: {change}; computed again: what depends on it in {listed}")
    folders = list(STAGE_FOLDERS.values())
    assert {name.split("/")[0] for name in made} == {folders[number - 1] for number in stages}


def test_an_option_that_no_result_depends_on_is_not_named(
    clips: Path, whole: Path, tmp_path: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    capsys.readouterr()
    assert run(clips, output, "--threads", "1", "--report", "off") == 0
    assert "changed since the last run" not in capsys.readouterr().err
    assert made == []


@pytest.mark.parametrize(
    "line", ["--stage 5", "--stage 3 --until_stage 3", "--from_stage 3 --until_stage 2", "--baseline --stage 1"]
)
def test_bad_usage_exits_with_two(clips: Path, tmp_path: Path, line: str) -> None:
    try:
        code = run(clips, tmp_path / "out", *line.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert not (tmp_path / "out").exists()
