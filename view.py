"""Write a gallery of the results of main.py (or one animation's page), and open it in the browser.

    python view.py results

Written are ``results/index.html``, and each animation's ``report.html`` where it is missing.
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import logging
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from v2m4.command_line import end_with, parse_options
from v2m4.page import write_report
from v2m4.page.gallery import write_gallery
from v2m4.report import TqdmHandler
from v2m4.results import find_results
from v2m4.workspace import REPORT

log = logging.getLogger("view")


@dataclass(frozen=True)
class ViewOptions:
    """Write a gallery of the results of main.py, and open it in the browser."""

    # The folder that main.py wrote (--output), or one animation's folder in it.
    result_path: Annotated[Path, tyro.conf.Positional] = Path("results")
    # Open the gallery in the browser.
    open: bool = True
    # Make the reports of all animations anew, not only those that are missing.
    remake: bool = False


def write_pages(path: Path, remake: bool) -> Path:
    """Write the gallery of a folder of results, or the report of one animation; returns the path of the page.

    Args:
        path: the folder that ``main.py`` wrote, or one animation's folder in it.
        remake: make reports that are there anew.

    Raises:
        ValueError: a file of a result is damaged.
        OSError: there are no results, or a file cannot be read or written.
    """
    folders = find_results(path)
    if folders != [path]:
        return write_gallery(path, folders, remake)
    if remake or not (path / REPORT).is_file():
        write_report(path)
    return path / REPORT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 2 where there are no results or they cannot be shown."""
    options = parse_options(ViewOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s", handlers=[TqdmHandler()])
    try:
        file = write_pages(options.result_path, options.remake)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 2
    print(file)
    if options.open and not webbrowser.open(file.resolve().as_uri()):
        log.warning("no browser was found; open %s", file)
    return 0


if __name__ == "__main__":
    end_with(main)
