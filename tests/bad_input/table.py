"""One table of bad and odd input: each row is run through the program's entry point, as far as its frames are read.

The rows stand in the test modules of this folder, by theme. What comes after the frames (the four stages) is replaced
by a recorder: input that is wrong has been refused by then, and input that is legal has been read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

import main
from v2m4.engines import batch

OPTIONS = ("--preset", "fast", "--device", "cpu", "--threads", "2", "--report", "off")
GOOD = "zz_good"  # an animation beside the one in question, which must be read whatever that one is
ANY = -1  # number of frames: that of a damaged video depends on the version of FFmpeg
EARLIER = b"the result of an earlier run"


def nothing(root: Path) -> None:
    """Write nothing but the good animation."""


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: what is wrong or odd.
        make: writes the input into the folder that becomes ``--root``; an animation in question is called ``clip``.
        code: exit code: 0 read, 1 the animation failed and others went on, 2 refused before any work.
        says: regular expression of the one error line, or, with code 0, of a warning; empty for no warning.
        options: further words of the command line; ``{root}`` becomes the folder.
        frames: number of frames that are read, with code 0; None for those of the good animation alone.
    """

    name: str
    make: Callable[[Path], object]
    code: int
    says: str = ""
    options: tuple[str, ...] = ()
    frames: int | None = None

    def __str__(self) -> str:
        return self.name


def picture(shift: int = 0, side: int = 48, radius: int = 10) -> np.ndarray:
    """A disc with transparent surroundings, (side, side, 4) uint8."""
    rgba = np.zeros((side, side, 4), np.uint8)
    cv2.circle(rgba, (side // 2 + shift, side // 2), radius, (200, 120, 60, 255), -1)
    return rgba


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, pixels)
    return path


def clip(root: Path, count: int = 3, name: str = "clip") -> Path:
    """A folder of good frames ``0.png``, ``1.png``, ...; returns it."""
    for index in range(count):
        save(root / name / f"{index}.png", picture(index))
    return root / name


def with_frame(data: bytes, name: str = "1.png") -> Callable[[Path], object]:
    """A writer of a clip one of whose frames has other bytes."""
    return lambda root: (clip(root) / name).write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, int]:
    """Run a case and check the exit code, its line, and that nothing else is lost.

    Returns:
        The number of frames of each animation that was read.
    """
    root, out = folder / "in", folder / "out"
    root.mkdir()
    clip(root, 2, GOOD)
    case.make(root)
    earlier = out / "clip" / "output_animation.glb"
    earlier.parent.mkdir(parents=True, exist_ok=True)
    earlier.write_bytes(EARLIER)
    before, beside = tree(out), {path.name for path in folder.iterdir()}
    read: dict[str, int] = {}

    def recorder(found: object, workspace: object, *_: object) -> Path:
        read[found.name] = len(found.frames)  # type: ignore[attr-defined]
        return workspace.root  # type: ignore[attr-defined]

    monkeypatch.setattr(main, "four_stages", recorder)
    monkeypatch.setattr(main, "track_user_mesh", lambda mesh, *more: recorder(*more))
    monkeypatch.setattr(batch, "compile_kernels", lambda: None)
    monkeypatch.chdir(folder)
    more = [word.replace("{root}", str(root)) for word in case.options]
    capsys.readouterr()
    try:
        code = main.main(["--root", str(root), "--output", str(out), *OPTIONS, *more])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr()
    assert code == case.code, told.err
    assert "Traceback" not in told.out + told.err
    lines = told.err.splitlines()
    assert all(re.match(r"[EWI] ", line) for line in lines), told.err
    errors, warnings = ([line for line in lines if line.startswith(level)] for level in ("E ", "W "))
    if case.code == 0:
        assert errors == []
        assert bool(warnings) == bool(case.says), told.err
        assert not case.says or any(re.search(case.says, line) for line in warnings), told.err
        assert read.pop(GOOD) == 2
        assert len(read) == (case.frames is not None)
        assert case.frames in (None, ANY, *read.values())
    else:
        assert len(errors) == 1, told.err
        assert re.search(case.says, errors[0]), errors[0]
    if case.code == 1:
        assert read == {GOOD: 2}
    if case.code == 2:
        assert read == {}
        assert tree(out) == before
    assert earlier.read_bytes() == EARLIER
    assert {path.name for path in folder.iterdir()} == beside  # nothing is written elsewhere
    return read
