"""Command lines: one line on what is wrong, and a quiet end where the reader of the output has gone."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from v2m4.command_line import PIPE_CLOSED, check_arguments, parse_options

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("v2m4", "generators", "camera_search", "motion324", "evaluation", "data_preparation_tools")
IN_BLENDER = ("_blender_script.py", "_fbx_script.py", "_blender_render_script.py")  # run by Blender's own Python


@dataclass(frozen=True)
class Part:
    """Nested options."""

    depth: int
    sizes: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class OneFile:
    """Options with one positional argument."""

    file: Annotated[Path, tyro.conf.Positional]
    output: Path
    part: Part
    shown: bool = True


@dataclass(frozen=True)
class ManyWords:
    """Options with any number of positional arguments, and of values."""

    frames: list[int]
    rest: tyro.conf.Positional[tuple[str, ...]] = ()


LINE = ["--output", "out", "clip.mp4", "--part.depth", "3"]


def test_positional_and_nested_options_are_parsed() -> None:
    assert parse_options(OneFile, LINE) == OneFile(Path("clip.mp4"), Path("out"), Part(3))
    parsed = parse_options(OneFile, [*LINE, "--no-shown", "--part.sizes", "4", "5"])
    assert (parsed.shown, parsed.part.sizes) == (False, (4, 5))
    assert parse_options(ManyWords, ["--frames", "1", "2"]) == ManyWords([1, 2])
    assert parse_options(ManyWords, ["--frames"]) == ManyWords([])
    behind = ["--frames", "1", "--", "--skip", "3", "--help"]
    assert parse_options(ManyWords, behind) == ManyWords([1], ("--skip", "3", "--help"))


@pytest.mark.parametrize(
    ("options", "line", "says"),
    [
        (OneFile, ["clip.mp4"], r"--output --part\.depth: missing; --help lists all options"),
        (OneFile, LINE[:2] + LINE[3:], "FILE: missing"),
        (OneFile, [*LINE, "other.mp4"], "other.mp4: belongs to no option"),
        (OneFile, [*LINE, "--outptu", "x"], "--outptu: no such option; did you mean --output"),
        (OneFile, [*LINE, "--file", "x"], "--file: no such option"),
        (OneFile, [*LINE, "--part.sizes", "4"], r"--part\.sizes: its value is missing"),
        (ManyWords, [], "--frames: missing"),
        (ManyWords, ["--frames", "1", "two"], "--frames two: must be a whole number"),
    ],
)
def test_bad_usage_is_one_line_with_exit_code_two(
    options: type, line: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=says):
        check_arguments(line, options)
    with pytest.raises(SystemExit) as stop:
        parse_options(options, line)
    assert stop.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("E ")


def without_reader(code: str) -> subprocess.CompletedProcess:
    """Run Python code whose standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)


FROM = "from v2m4.command_line import end_with; "


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of closed pipes in another way")
@pytest.mark.parametrize(
    "code",
    [
        "import runpy, sys; sys.argv = ['main.py', '--help']; runpy.run_path('main.py', run_name='__main__')",
        f"{FROM}end_with(lambda: print('short'))",
        f"{FROM}end_with(lambda: print('long' * 100000))",
        f"{FROM}import sys; end_with(lambda: (print('short'), sys.exit(0)))",
    ],
    ids=["help of main.py", "short", "long", "SystemExit"],
)
def test_a_command_whose_reader_has_gone_ends_quietly(code: str) -> None:
    done = without_reader(code)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of closed pipes in another way")
def test_another_broken_pipe_is_an_error() -> None:
    code = f"{FROM}import os; r, w = os.pipe(); os.close(r); end_with(lambda: os.write(w, b'x'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_exit_codes_are_passed_on() -> None:
    for body, code in {"lambda: 3": 3, "lambda: None": 0, "lambda: sys.exit(2)": 2}.items():
        line = [sys.executable, "-c", f"{FROM}import sys; end_with({body})"]
        assert subprocess.run(line, cwd=ROOT, check=False).returncode == code


def test_all_commands_end_and_parse_in_this_way() -> None:
    files = [ROOT / "main.py", ROOT / "rendering_video.py", ROOT / "view.py"]
    files += [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if file.name not in IN_BLENDER]
    commands = [file for file in files if 'if __name__ == "__main__":' in file.read_text("utf-8")]
    assert len(commands) > 20
    for file in commands:
        text = file.read_text("utf-8")
        assert "    end_with(main)\n" in text, file
        assert "tyro.cli(" not in text and "argparse.ArgumentParser(" not in text, file
