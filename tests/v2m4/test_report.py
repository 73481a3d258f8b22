"""Tables: cells line up under their headers."""

import logging

import pytest

from v2m4.report import WarningRecorder, table


def test_numbers_to_the_right_words_to_the_left():
    lines = table([["fox", 5, "1.50"], ["a robot", 120, "12.00"]], ["name", "frames", "dB"]).splitlines()
    assert lines == [
        "name     frames     dB",
        "-------  ------  -----",
        "fox           5   1.50",
        "a robot     120  12.00",
    ]


def test_line_breaks_and_wide_characters():
    lines = table([["一二", "x\ny"], ["abc", "z"]], ["n", "text"]).splitlines()
    assert lines[2:] == ["一二  x y", "abc   z"]


def test_an_empty_table_has_its_headers():
    assert table([], ["a", "b"]) == "a  b\n-  -"


def test_cells_must_fit():
    with pytest.raises(ValueError, match="2 headers but 1 cells"):
        table([["x"]], ["a", "b"])


def test_warnings_are_recorded_with_their_stage() -> None:
    log = logging.getLogger("somewhere")
    with WarningRecorder() as recorder:
        recorder.stage = "texture"
        log.info("not recorded")
        log.warning("%d of %d", 1, 2)
        log.error("bad")
    log.warning("after it")
    assert recorder.records == [
        {"stage": "texture", "level": "warning", "message": "1 of 2"},
        {"stage": "texture", "level": "error", "message": "bad"},
    ]


def test_a_flood_of_warnings_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WarningRecorder, "LIMIT", 3)
    with WarningRecorder() as recorder:
        for number in range(10):
            logging.getLogger("somewhere").warning("%d", number)
    assert [entry["message"] for entry in recorder.records] == ["0", "1", "2", "7 more messages are not recorded"]
