"""Output of the commands: summary tables, a log handler that keeps progress bars intact, one that records warnings."""

from __future__ import annotations

import copy
import logging
import sys
import unicodedata
from collections.abc import Sequence

from tqdm import tqdm

NOTICE = {"notice": True}  # ``extra`` of a log record below WARNING that main.py shows without --verbose


def progress(figure: str = "", step: str = "") -> dict[str, str]:
    """``extra`` of a log record: what main.py's progress line shows from now on.

    Args:
        figure: the best figure known, such as "similarity 0.87"; empty leaves the one before.
        step: how far the stage has come, such as "3 of 8"; it ends with the stage.
    """
    return {"figure": figure, "step": step}


class TqdmHandler(logging.Handler):
    """Write log records to standard error without breaking tqdm's progress bar.

    A message is one line, whatever characters the names of files in it have; a traceback keeps its lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record."""
        shown = copy.copy(record)
        shown.msg, shown.args = one_line(record.getMessage()), None
        return super().format(shown)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        tqdm.write(self.format(record), file=sys.stderr)


class WarningRecorder(logging.Handler):
    """Record warnings and errors of an animation for its manifest, while it is used as a context manager.

    Attributes:
        records: one dict for each message, with its ``stage``, ``level`` and ``message``.
        stage: name of the stage that is running.
    """

    LIMIT = 200  # messages; the rest are only counted, in a last record

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[dict[str, str]] = []
        self.stage = ""
        self._more = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Record one message."""
        entry = {"stage": self.stage, "level": record.levelname.lower(), "message": record.getMessage()}
        if len(self.records) < self.LIMIT:
            self.records.append(entry)
            return
        self._more += 1
        self.records[self.LIMIT :] = [{**entry, "message": f"{self._more} more messages are not recorded"}]

    def __enter__(self) -> WarningRecorder:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger().removeHandler(self)


def one_line(text: str) -> str:
    r"""The text with control characters, line breaks and bytes that are no text escaped, such as ``\n``."""
    escaped = (
        char.encode("unicode_escape").decode() if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") else char
        for char in text
    )
    return "".join(escaped)


def _width(text: str) -> int:
    """Display width in terminal columns: wide East Asian characters count 2, combining marks 0."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _is_number(value: object) -> bool:
    if isinstance(value, int | float):
        return True
    try:
        float(str(value).rstrip("%"))
    except ValueError:
        return str(value) in ("", "-")
    return True


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Format a table with a header rule; numeric columns are right-aligned, others left-aligned.

    Args:
        rows: cells of any kind, written with ``str``; a line break becomes a space, other control
            characters are escaped. Floats should come formatted.
        headers: one per column.

    Raises:
        ValueError: a row has not as many cells as there are headers.
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"table: {len(headers)} headers but {len(row)} cells in {list(row)}")
    cells = [[one_line(" ".join(str(cell).split())) for cell in row] for row in rows]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(headers))]
    widths = [max(_width(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]

    def line(parts: Sequence[str]) -> str:
        padded = []
        for part, width, to_right in zip(parts, widths, right, strict=True):
            space = " " * (width - _width(part))
            padded.append(space + part if to_right else part + space)
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), "  ".join("-" * width for width in widths), *(line(row) for row in cells)])
