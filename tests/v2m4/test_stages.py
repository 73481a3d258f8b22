"""Which stages the options ask for, and what has changed since the last run."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from v2m4.config import FAST, PAPER, Config
from v2m4.preflight import ranges
from v2m4.stages import ChangeNotice, StageSelection, Stopped, changed_options
from v2m4.workspace import Redo, Workspace


def selected(**options: object) -> StageSelection:
    config = replace(FAST, **options)  # type: ignore[arg-type]
    ranges.check(config)
    return StageSelection.of(config)


def test_without_options_all_stages_are_run() -> None:
    selection = selected()
    assert (selection.required, selection.last, selection.redo) == (frozenset(), 4, None)
    assert selected(overwrite=True).redo == Redo("--overwrite")


def test_one_stage_requires_those_before_and_stops_after_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    selection = selected(stage=3)
    assert selection.required == {"generation", "camera_search"} and selection.redo is None
    workspace = Workspace(tmp_path)
    selection.check_end("camera_search", workspace)
    with pytest.raises(Stopped, match=r"^3_registration$"):
        selection.check_end("registration", workspace)
    again = selected(stage=3, overwrite=True)
    assert again.redo == Redo("--overwrite --stage 3", frozenset({"registration"}))
    assert "the same command without --stage goes on" in caplog.text
    with pytest.raises(Stopped):
        again.check_end("registration", workspace)
    assert "the same command without --overwrite --stage 3 goes on" in caplog.text
    assert selected(stage=4).last == 4


def test_from_a_stage_on_everything_is_made_again_and_until_one_it_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    selection = selected(from_stage=2, until_stage=3)
    assert selection.required == frozenset()
    assert selection.redo == Redo("--from_stage 2", frozenset({"camera_search", "registration", "texture", "export"}))
    caplog.set_level(logging.INFO)
    with pytest.raises(Stopped):
        selection.check_end("registration", Workspace(tmp_path))
    assert "stopped after stage 3 (registration)" in caplog.text
    assert "without --from_stage 2 and --until_stage goes on" in caplog.text
    for stage in ("frames", "generation", "texture", "export"):
        selected(until_stage=4).check_end(stage, Workspace(tmp_path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stage": 3, "until_stage": 3}, "--stage 3 .*--until_stage"),
        ({"stage": 3, "from_stage": 2}, "--stage 3 .*--from_stage"),
        ({"from_stage": 3, "until_stage": 2}, "--from_stage 3 --until_stage 2"),
        ({"from_stage": 3, "overwrite": True}, "--overwrite"),
        ({"baseline": True, "until_stage": 1}, "--baseline .*--until_stage"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        selected(**options)


def test_changed_options_are_named_with_both_values() -> None:
    before = Config().describe()
    assert changed_options(before, before) == []
    assert changed_options(None, before) == changed_options([], before) == []
    changed = replace(FAST, max_faces=500, threads=7, registration=replace(FAST.registration, trust="no"))
    assert changed_options(FAST.describe(), changed.describe()) == [
        "--max_faces 10000 -> 500",
        "--registration.trust fits -> no",
    ]
    boxed = replace(FAST, frames=replace(FAST.frames, sam2_box=(0.0, 0.1, 0.2, 0.3)))
    stored = {**boxed.describe(), "frames": {**boxed.describe()["frames"], "sam2_box": [0.0, 0.1, 0.2, 0.3]}}
    assert changed_options(stored, boxed.describe()) == []


def test_a_notice_names_what_changed_and_what_is_computed_again_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    workspace = Workspace(tmp_path)
    ChangeNotice(workspace, FAST)
    workspace.manifest["config"] = FAST.describe()
    with workspace.stage("registration"):
        for name in ("a", "b"):
            workspace.make_file(name, "k1", lambda path: path.write_bytes(b"1"))
    assert not caplog.records
    workspace = Workspace(tmp_path)
    ChangeNotice(workspace, replace(FAST, max_faces=500))
    with workspace.stage("registration"):
        for name in ("a", "b", "new"):
            workspace.make_file(name, "k2", lambda path: path.write_bytes(b"2"))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        f"{tmp_path}: changed since the last run: --max_faces 10000 -> 500; computed again: what depends on it"
        " in stages 3, 4"
    )


def test_another_version_of_the_program_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    workspace = Workspace(tmp_path)
    workspace.manifest |= {"code": "an older one", "config": FAST.describe()}
    with workspace.stage("frames"):
        workspace.make_file("a", "k1", lambda path: path.write_bytes(b"1"))
    ChangeNotice(workspace, FAST)
    with workspace.stage("frames"):
        workspace.make_file("a", "k2", lambda path: path.write_bytes(b"1"))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.endswith("the program itself; computed again: what depends on it in the frames and stages 1, 2, 3, 4")


def test_of_many_changes_the_first_ones_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    workspace = Workspace(tmp_path)
    workspace.manifest["config"] = FAST.describe()
    workspace.make_file("a", "k1", lambda path: path.write_bytes(b"1"))
    ChangeNotice(workspace, PAPER)
    workspace.make_file("a", "k2", lambda path: path.write_bytes(b"2"))
    (line,) = (record.getMessage() for record in caplog.records)
    assert "--inbetween fit -> linear" in line and " more; computed again" in line and len(line) < 500
