"""Tables: cells line up under their headers."""

import pytest

from v2m4.report import table


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
