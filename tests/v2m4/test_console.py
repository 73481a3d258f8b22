"""What main.py shows: the progress line, which records, and the summary."""

import io
import logging
import sys
from pathlib import Path

import pytest

from v2m4.console import STAGES, AnimationProgress, Outcome, summary, use_console
from v2m4.remaining_time import TYPICAL, RemainingTime
from v2m4.report import NOTICE, WarningRecorder, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize("verbose", [False, True])
def test_records_below_warning_are_shown_when_they_are_notices_or_asked_for(verbose, capsys) -> None:
    use_console(verbose, "registration")
    log = logging.getLogger("v2m4.test")
    log.info("residual 0.1")
    log.info("foreground: alpha", extra=NOTICE)
    log.warning("track lost")
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["I residual 0.1"] * verbose + ["I foreground: alpha", "W track lost"]


def test_the_progress_line_has_stage_time_left_and_the_latest_figure(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = use_console(False, "registration")
    log = logging.getLogger("v2m4.test")
    with console.animation("fox", 2, 3, frames=10) as shown:
        with shown.stage("camera_search"):
            log.info("0: similarity 0.871", extra=progress("similarity 0.871", "1 of 4"))
        with shown.stage("registration"):
            log.info("a residual", extra=progress(step="2 of 4"))
        shown.end("done")
    written = terminal.getvalue()
    lines = written.split("\r")
    assert any("[2/3] fox: camera search 1 of 4" in line and "s left, similarity 0.871" in line for line in lines)
    assert any("[2/3] fox: registration 2 of 4" in line and "s left, similarity 0.871" in line for line in lines)
    assert not any("registration 1 of 4" in line for line in lines)
    assert "[2/3] fox: done" in written.splitlines()[-1].split("\r")[-1]
    assert written.count("\n") == 1  # one line
    assert "0: similarity" not in written


def test_without_a_terminal_one_line_is_written_at_the_end(capsys) -> None:
    console = use_console(False, "baseline")
    with console.animation("fox", 1, 1, frames=3) as progress:
        with progress.stage("frames"):
            pass
        progress.end("done")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("I fox: done after")


def test_a_failed_stage_is_not_timed() -> None:
    progress = AnimationProgress("fox", list(STAGES), 3, RemainingTime("registration"), WarningRecorder())
    with pytest.raises(ValueError, match="bad"), progress.stage("frames"):
        raise ValueError("bad")
    progress.close()
    assert progress.seconds == {}


def test_the_summary_names_the_page_where_there_is_one_else_the_glb(tmp_path: Path) -> None:
    outcomes = []
    for name in ("fox", "jelly"):
        (tmp_path / name).mkdir()
        result = tmp_path / name / "output_animation.glb"
        result.write_bytes(b"0" * 1_500_000)
        manifest = {"figures": {"size": 256, "mean_psnr": 27.123, "mean_iou": 0.9876}, "motion": {"lost": {"3": "x"}}}
        outcomes.append(Outcome(name, 24, result, manifest=manifest, seconds={"frames": 1.26, "export": 0.5}))
    (tmp_path / "fox" / "report.html").write_text("page")
    outcomes.append(Outcome("broken", 4, error="ValueError: 1.png: no picture"))
    header, _, fox, jelly, broken = summary(outcomes).splitlines()
    assert header.split()[-5:] == ["PSNR@256", "IoU@256", "MB", "lost", "result"]
    assert fox.split()[:8] == ["fox", "24", "1.3", "-", "-", "-", "-", "0.5"]
    assert fox.split()[8:] == ["27.12", "0.988", "1.50", "1", str(tmp_path / "fox/report.html")]
    assert jelly.split()[-1] == str(tmp_path / "jelly/output_animation.glb")
    assert broken.endswith("failed: ValueError: 1.png: no picture") and broken.split()[:3] == ["broken", "4", "-"]


@pytest.mark.parametrize("way", TYPICAL)
def test_time_left_follows_the_machine(way: str) -> None:
    remaining = RemainingTime(way)
    stages = [stage for stage in STAGES if stage in TYPICAL[way]]
    whole = sum(remaining.expected(stage, 20) for stage in stages)
    assert remaining.seconds(stages, 20, 0.0) == pytest.approx(whole)
    first, *rest = stages
    remaining.add(first, 20, 3 * remaining.expected(first, 20))  # three times slower than the reference
    after = 3 * sum(remaining.expected(stage, 20) for stage in rest)
    assert remaining.seconds(rest, 20, 0.0) == pytest.approx(after)
    current = 3 * remaining.expected(rest[0], 20)
    assert remaining.seconds(rest, 20, current / 2) == pytest.approx(after - current / 2)
    late = remaining.seconds(rest, 20, 10 * current)  # ten times as long as expected: so may the others take
    assert late >= after - current if len(rest) > 1 else late == 0
    assert remaining.seconds([], 20, 5.0) == 0.0


def test_a_stage_read_from_the_cache_tells_nothing_of_the_machine() -> None:
    remaining = RemainingTime("registration")
    remaining.add("generation", 20, 0.01)
    assert remaining.factor == 1.0
