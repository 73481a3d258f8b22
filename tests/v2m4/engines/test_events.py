"""Events through files, what a console without a terminal sends, and the line of a batch."""

import logging
from pathlib import Path

import pytest

from v2m4.config import FAST
from v2m4.console import Outcome, install, use_console
from v2m4.engines.events import Event, EventFiles, RelayConsole, sender_to
from v2m4.engines.progress import BatchProgress
from v2m4.engines.task import Task, name_of, plain
from v2m4.io.sources import Source
from v2m4.remaining_time import TYPICAL
from v2m4.report import NOTICE, progress
from v2m4.workspace import digest


def test_events_come_once_and_a_line_that_is_being_written_comes_later(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "events")
    first, second = files.file(0), files.file(1)
    assert list(files.new()) == []
    events = [Event("größe", "texture", 1.5, 3), Event("größe", level=30, message="odd\npixels")]
    for event in events:
        sender_to(first)(event)
    assert list(files.new()) == events
    assert list(files.new()) == []
    sender_to(second)(events[0])
    whole = second.read_bytes()
    second.write_bytes(whole + whole[:10])
    assert list(files.new()) == events[:1]
    second.write_bytes(whole + whole)
    assert list(files.new()) == events[:1]
    files.remove()
    assert not (tmp_path / "events").exists()


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("verbose", [False, True])
def test_a_relay_sends_what_a_console_shows(verbose: bool) -> None:
    sent: list[Event] = []
    console = RelayConsole(verbose, "baseline", "fox", sent.append)
    install(console, verbose)
    log = logging.getLogger("v2m4.test")
    with console.animation("fox", 1, 1, 4) as shown:
        with shown.stage("generation"):
            log.info("a residual", extra=progress("0.1", "2 of 4"))
            log.warning("track lost")
        log.info("done", extra=NOTICE)
        shown.end("done")
    texts = [(event.level, event.message) for event in sent if event.level]
    assert texts == [(20, "a residual")] * verbose + [(30, "track lost"), (20, "done")]
    assert shown.warnings.records == [{"stage": "generation", "level": "warning", "message": "track lost"}]
    stages = [event for event in sent if not event.level]
    assert [(event.stage, event.step, event.seconds is None) for event in stages] == [
        ("generation", "", True),
        ("generation", "2 of 4", True),
        ("generation", "", False),
    ]
    assert {event.frames for event in stages} == {4}
    assert stages[-1].seconds == shown.seconds["generation"]


def tasks(**counts: int) -> list[Task]:
    return [Task(Source(name, Path(name), "folder", count), FAST, "m:f", "video", 1) for name, count in counts.items()]


@pytest.mark.usefixtures("restored_logging")
def test_the_time_left_of_a_batch_falls_with_what_is_done_and_is_shared() -> None:
    console = use_console(False, "video")
    with BatchProgress(tasks(fox=10, jelly=0), console, 2) as shown:
        whole = sum(constant + 10 * each for constant, each in TYPICAL["video"].values())
        assert shown.seconds_left() == pytest.approx(whole)  # two at once; the unknown number is the known one's
        shown.handle(Event("fox", "registration", frames=10, step="2 of 3"))
        assert "fox: registration 2 of 3" in shown.line()
        constant, each = TYPICAL["video"]["registration"]
        shown.handle(Event("fox", "registration", 2 * (constant + 10 * each), 10))  # a machine of half the speed
        rest = sum(TYPICAL["video"][stage][0] + 10 * TYPICAL["video"][stage][1] for stage in ("texture", "export"))
        assert shown.seconds_left() == pytest.approx(2 * (whole + rest) / 2)
        shown.end(Outcome("fox", 10))
        assert shown.seconds_left() == pytest.approx(2 * whole)  # one is left
        assert "fox" not in shown.line()
        shown.end(Outcome("jelly", 0, error="ValueError: bad"))
        assert shown.seconds_left() == 0


@pytest.mark.usefixtures("restored_logging")
def test_messages_name_their_animation_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = use_console(False, "video")
    with BatchProgress(tasks(fox=1), console, 1) as shown:
        shown.handle(Event("fox", level=30, message="track lost"))
        shown.handle(Event("fox", level=40, message="fox: ValueError: bad"))
        shown.end(Outcome("fox", 1, error="ValueError: bad"))
    assert capsys.readouterr().err.splitlines() == [
        "W fox: track lost",
        "E fox: ValueError: bad",
        "I [1/1] fox: failed",
    ]


def test_functions_are_named_and_outcomes_are_plain() -> None:
    assert name_of(digest) == "v2m4.workspace:digest"  # type: ignore[arg-type]
    outcome = Outcome("fox", 3, manifest={"figures": {"at": Path("a")}, "motion": {"lost": {1: "x"}}, "stages": {}})
    assert plain(outcome).manifest == {"figures": {"at": "a"}, "motion": {"lost": {"1": "x"}}}
