"""File names: natural sort order, and names that every operating system accepts."""

from __future__ import annotations

import re
import unicodedata

WINDOWS_NAMES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)


def natural_key(name: str) -> tuple:
    """Sort key of natural order: numbers by value, letters regardless of case; ties by the name itself."""
    text = unicodedata.normalize("NFC", name)
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part), text, name


def safe_name(name: str) -> str:
    """The name as a file name valid on every system: reserved characters and leading or trailing dots replaced."""
    text = re.sub(r'[\x00-\x1f\x7f\ud800-\udfff<>:"/\\|?*]', "_", unicodedata.normalize("NFC", name)).strip(" ")
    text = re.sub(r"^\.+|[. ]+$", "_", text) or "_"
    return f"{text}_" if text.split(".")[0].casefold() in WINDOWS_NAMES else text
