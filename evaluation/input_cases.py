"""Rows of the table of inputs, read from YAML and validated: what is run, and what is expected of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class CaseError(ValueError):
    """The file of cases cannot be used; the message is one line that says where and why."""


@dataclass(frozen=True)
class ExpectedAnimation:
    """What is expected of one animation's result; None is not checked.

    Attributes:
        frames: number of key times of the animation.
        times: those key times, seconds, to a millisecond.
        like: folder of RGBA pictures; each picture of the clip resembles one of them in shape and colour.
        like_iou: least mask IoU of that, both masks scaled to their bounding boxes.
        like_colour: largest difference of the mean colour of the object, sRGB in [0, 1], per channel.
        overlap: least mask IoU of the rendered animation and the clip's pictures, mean over frames.
        moves: least largest displacement of a vertex, relative to its primitive's longest side.
        albedo: mean base colour over the surface, sRGB in [0, 1], to 0.04.
        textured: whether a material has a base colour texture.
        area: surface area of the mesh, to 0.1 %.
        middle: middle of the mesh's bounding box in the file's world, to 1 % of its size.
        size: longest side of that box, to 1 %.
        extensions: extensions that the file still names, or keys that its JSON still has under "extensions".
        skeleton: the motion is written on the joints of the file's own skeleton, not as morph targets.
    """

    frames: int | None = None
    times: list[float] | None = None
    like: str | None = None
    like_iou: float = 0.85
    like_colour: float = 0.06
    overlap: float | None = None
    moves: float | None = None
    albedo: list[float] | None = None
    textured: bool | None = None
    area: float | None = None
    middle: list[float] | None = None
    size: float | None = None
    extensions: list[str] = field(default_factory=list)
    skeleton: bool = False


@dataclass(frozen=True)
class InputCase:
    """One row of the table.

    Attributes:
        name: unique, safe as a folder name.
        mesh: the user mesh, relative to the folder of cases; with ``video``.
        video: a video file or a folder of frames.
        root: a folder of animations, instead of ``video``.
        run: another command, words with {python}, {code}, {cases} and {output}, instead of main.py's.
        writes: files that ``run`` leaves, relative to {output}.
        exit: the expected exit code.
        says: regular expressions that the output has to match somewhere, letter case ignored.
        animations: expectations by name of the animation; the output has exactly these.
        fails: animations that fail, with a regular expression of their message.
    """

    name: str
    mesh: str | None = None
    video: str | None = None
    root: str | None = None
    run: list[str] | None = None
    writes: list[str] = field(default_factory=list)
    exit: int = 0
    says: list[str] = field(default_factory=list)
    animations: dict[str, ExpectedAnimation] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)


def read_cases(path: Path) -> list[InputCase]:
    """Read a file of cases.

    Raises:
        CaseError: it cannot be used.
        OSError: it cannot be read.
    """
    try:
        rows = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise CaseError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(rows, list):
        raise CaseError(f"{path}: expected a list of cases")
    cases = [_case(row, f"{path}: case {number}") for number, row in enumerate(rows, 1)]
    names = [case.name for case in cases]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise CaseError(f"{path}: several cases are called {min(repeated)!r}")
    return cases


def _case(row: Any, where: str) -> InputCase:
    """One case of plain values."""
    if not isinstance(row, dict):
        raise CaseError(f"{where}: expected a table")
    animations = {
        str(name): _made(ExpectedAnimation, expected, f"{where}: animation {name}")
        for name, expected in (row.get("animations") or {}).items()
    }
    case = _made(InputCase, row | {"animations": animations}, where)
    if sum(given is not None for given in (case.video, case.root, case.run)) != 1:
        raise CaseError(f"{where}: give one of video, root and run")
    return case


def _made(kind: type[T], values: Any, where: str) -> T:
    """A dataclass of a table of values."""
    names = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = set(values or {}) - names
    if unknown:
        raise CaseError(f"{where}: unknown key {min(unknown)!r}; known are {', '.join(sorted(names))}")
    try:
        return kind(**(values or {}))
    except TypeError as error:
        raise CaseError(f"{where}: {error}") from error
