"""The formats that an animation is written in: their names on the command line and what they need."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

FORMATS = ("glb", "fbx", "usd", "usdz", "abc", "obj", "ply")
BLENDER_FORMATS = ("fbx", "usd", "usdz", "abc")  # written by Blender
WITH_BLENDER = ("glb", "fbx", "usd", "abc")  # what ``--blender_path`` alone asks for


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of a comma-separated list in the order of FORMATS; ``glb`` is always among them.

    Args:
        text: such as ``glb,fbx``; letter case, spaces and leading dots are ignored.

    Raises:
        ValueError: a name is not known; one line with the nearest one.
    """
    names = [name.strip().lower().removeprefix(".") for name in text.split(",")]
    for name in filter(None, names):
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"{text}: no format {name!r}; {hint}known are {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in names or name == "glb")


def need_blender(formats: Sequence[str]) -> list[str]:
    """Those of the formats that Blender writes."""
    return [name for name in formats if name in BLENDER_FORMATS]
