"""Find the files that a mesh file names: beside it, by name, whatever path and letter case it names them with."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

MAX_ENTRIES = 20_000  # files and folders looked at below the folder
MAX_DEPTH = 6


def find_beside(folder: Path, reference: str, start: Path | None = None) -> Path | None:
    r"""Return the file that a reference in a mesh file means, None where there is none.

    The reference is tried as it stands, then with percent escapes decoded, then by its file name alone in all folders
    below (letter case ignored; the least deep is taken, then the first by name). A path of another machine
    (``C:\Users\...``) is so found by its name. Nothing outside the folder is ever returned, links resolved.

    Args:
        folder: the only folder whose files may be returned, with those below it.
        reference: the path or URI as the file has it.
        start: the folder that relative paths begin at; by default ``folder``.
    """
    folder, start = Path(folder), Path(folder if start is None else start)
    text = reference.strip().strip('"').replace("\\", "/")
    texts = list(dict.fromkeys(each for each in (text, unquote(text)) if each and "\0" not in each))
    for each in texts:
        named = start / each
        if _is_file_in(named, folder):
            return named
    names = {_folded(each.rsplit("/", 1)[-1]) for each in texts} - {"", ".", ".."}
    matches = (file for file in _files_below(folder) if _folded(file.name) in names)
    return next((file for file in matches if _is_file_in(file, folder)), None)


def _folded(name: str) -> str:
    """A name for comparison: without letter case, accents as one letter with theirs (macOS stores them apart)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_file_in(path: Path, folder: Path) -> bool:
    """Whether a path is a file that lies in a folder or below it, links resolved."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links
        return False


def _files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, the least deep first, each folder's by name; links to folders are not followed."""
    level, seen = [folder], 0
    for _ in range(MAX_DEPTH):
        deeper: list[Path] = []
        for each in level:
            try:
                with os.scandir(each) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                continue
            seen += len(listed)
            yield from (Path(entry.path) for entry in listed if entry.is_file())
            deeper += [Path(entry.path) for entry in listed if entry.is_dir(follow_symlinks=False)]
            if seen > MAX_ENTRIES:
                return
        level = deeper
