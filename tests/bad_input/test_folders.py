"""Folders, names and links as they are found on disks, and outputs that are not this program's."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.table import GOOD, Case, clip, nothing, picture, run, save
from v2m4.io.folder import missing_number


def named(*names: str) -> Callable[[Path], None]:
    """A writer of a clip of frames with these names."""

    def write(root: Path) -> None:
        for index, name in enumerate(names):
            save(root / "clip" / f"{name}.png", picture(index))

    return write


def not_text(root: Path) -> None:
    """A clip with a frame whose name is no text in any encoding, and whose content is no picture."""
    with open(os.fsencode(clip(root)) + b"/\xff\xfe.png", "wb") as file:
        file.write(b"no picture")


def without_good(write: Callable[[Path], object]) -> Callable[[Path], None]:
    """A writer of what stands alone, without the good animation."""

    def made(root: Path) -> None:
        shutil.rmtree(root / GOOD)
        write(root)

    return made


def linked(root: Path) -> None:
    clip(root, 3, ".elsewhere")
    (root / "clip").symlink_to(root / ".elsewhere")


def linked_frames(root: Path) -> None:
    folder = clip(root, 3, ".elsewhere")
    (root / "clip").mkdir()
    for file in folder.iterdir():
        (root / "clip" / file.name).symlink_to(file)


def looped(root: Path) -> None:
    (clip(root) / "again").symlink_to(root / "clip")
    (root / "all").symlink_to(root)


def itself(path: Path) -> None:
    path.symlink_to(path)


def earlier(text: str) -> Callable[[Path], None]:
    """A writer of a clip whose output folder has a manifest of this content."""

    def write(root: Path) -> None:
        clip(root)
        (root.parent / "out" / "clip").mkdir(parents=True)
        (root.parent / "out" / "clip" / "manifest.json").write_text(text)

    return write


def output_is_a_file(root: Path) -> None:
    (root.parent / "taken").write_text("a file")


def pipe(root: Path) -> None:
    os.mkfifo(clip(root) / "9.png")


ESCAPE = json.dumps({"frames": {"key": "", "names": ["../../secret"], "fps": 1, "times": [0], "absent": []}})

CASES = [
    Case("no such folder", nothing, 2, "no such folder; give --root", ("--root", "{root}/gone")),
    Case("an empty root", without_good(nothing), 2, "no animation in it; put each animation there"),
    Case("a root of other files", without_good(lambda root: (root / "a.txt").write_text("x")), 2, "no animation in it"),
    Case(
        "an empty folder", lambda root: (root / "clip").mkdir(), 1, "clip: no pictures in it .*; add frames or remove"
    ),
    Case(
        "a picture as root",
        nothing,
        2,
        "0.png: not a video file but a still picture",
        ("--root", "{root}/zz_good/0.png"),
    ),
    Case(
        "a text as root",
        lambda root: (root / "a.txt").write_text("x"),
        2,
        "a.txt: not a video file",
        ("--root", "{root}/a.txt"),
    ),
    Case(
        "missing numbers",
        named("1", "2", "5", "6"),
        0,
        "no frame between 2 and 5; they are taken as consecutive",
        frames=4,
    ),
    Case("every fifth number", named("0", "5", "10", "15"), 0, frames=4),
    Case("numbers with zeros and without", named("08", "9", "010", "11"), 0, frames=4),
    Case(
        "unicode and spaces in names",
        lambda root: (named("größe 1", "größe 2")(root), (root / "clip").rename(root / "日本 über")),
        0,
        frames=2,
    ),
    Case(
        "line breaks in names",
        lambda root: (named("a\n1", "a\n2")(root), (root / "clip").rename(root / "x\ny")),
        0,
        frames=2,
    ),
    Case(
        "a line break in the name of a broken frame",
        lambda root: (clip(root) / "a\nE b.png").write_bytes(b"x"),
        1,
        r"a E b\.png: cannot be read",
    ),
    Case("a name that is no text", not_text, 1, r"clip.*\.png: cannot be read as a picture"),
    Case(
        "reserved characters in names",
        lambda root: (named('a:"?1', 'a:"?2')(root), (root / "clip").rename(root / "con")),
        0,
        frames=2,
    ),
    Case("a name of dots", lambda root: (clip(root), (root / "clip").rename(root / "a..")), 0, frames=3),
    Case("a long name", lambda root: (clip(root), (root / "clip").rename(root / ("n" * 200))), 0, frames=3),
    Case("a link to a folder", linked, 0, frames=3),
    Case("links to frames", linked_frames, 0, frames=3),
    Case("loops of links", looped, 0, frames=3),
    Case("a link to itself as root", lambda root: itself(root / "loop"), 2, "loop: ", ("--root", "{root}/loop")),
    Case(
        "a frame that links to itself",
        lambda root: itself(clip(root) / "3.png"),
        0,
        "3.png: is a link to nothing",
        frames=3,
    ),
    Case(
        "a frame that links to nothing",
        lambda root: (clip(root) / "3.png").symlink_to("gone.png"),
        0,
        "3.png: is a link to nothing, not a picture",
        frames=3,
    ),
    Case(
        "a folder in place of a frame",
        lambda root: (clip(root) / "3.png").mkdir(),
        0,
        "3.png: is a folder, not a picture",
        frames=3,
    ),
    Case("a pipe in place of a frame", pipe, 0, "9.png: is no file, not a picture", frames=3),
    Case("a folder in place of a video", lambda root: clip(root, 3, "clip.mp4"), 0, frames=3),
    Case(
        "an output that is a file",
        output_is_a_file,
        2,
        "--output .*taken: a file stands there; give a folder",
        ("--output", "{root}/../taken"),
    ),
    Case(
        "an output below a file",
        output_is_a_file,
        2,
        "--output .*taken/x: a file stands there",
        ("--output", "{root}/../taken/x"),
    ),
    Case(
        "a manifest that is no JSON",
        earlier("{ no"),
        1,
        r"manifest.json: damaged \(Expecting .*\); delete it or use --overwrite",
    ),
    Case(
        "a manifest that is a list",
        earlier("[]"),
        1,
        r"manifest.json: damaged \(not a manifest of this program\); delete it",
    ),
    Case(
        "a manifest without tables",
        earlier('{"artefacts": 3}'),
        1,
        r"manifest.json: damaged \(not a manifest of this program\)",
    ),
    Case("a manifest of deep brackets", earlier("[" * 100_000), 1, "manifest.json: damaged"),
    Case(
        "a manifest with a wrong record",
        earlier('{"artefacts": {}, "stages": {}, "frames": 3, "warnings": 1}'),
        0,
        frames=3,
    ),
    Case("a manifest that names files elsewhere", earlier(ESCAPE), 0, frames=3),
    Case("a manifest of deep brackets, overwritten", earlier("[" * 100_000), 0, options=("--overwrite",), frames=3),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_folders(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(case, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (["a1", "a2", "a4"], None),  # one step of two is no rule
        (["a1", "a2", "a3", "a7"], ("a3", "a7")),
        (["a1", "b2", "b9"], None),
        (["1", "1x", "9"], None),
        (["3", "3", "4", "9"], None),
        (["1"], None),
    ],
)
def test_gaps_are_seen_in_numbers_of_one_step(names: list[str], gap: tuple[str, str] | None) -> None:
    assert missing_number(names) == gap
