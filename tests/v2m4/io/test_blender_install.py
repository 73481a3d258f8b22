"""Finding Blender, and the command that installs it; pip itself is not run here."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.v2m4.io.blender_here import BLENDER, needs_blender
from v2m4.io import blender_install
from v2m4.io.blender_install import MARKER, VARIABLE, InstallError, default_folder, find_blender, find_python, main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Blender, its cache folder below ``tmp_path``."""
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(blender_install.importlib.util, "find_spec", lambda name: None)
    if sys.platform == "darwin":
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_places_are_searched_in_order(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_blender() is None
    monkeypatch.setattr(blender_install.importlib.util, "find_spec", lambda name: name)
    found = find_blender()
    assert found is not None and found.path == Path(sys.executable)
    if sys.platform != "win32":
        executable(bare / "bin" / "blender")
        found = find_blender()
        assert found is not None and (found.path, found.source) == (bare / "bin" / "blender", "PATH")
    default_folder().mkdir(parents=True)
    assert found == find_blender()  # an environment without its marker is not complete
    (default_folder() / MARKER).write_text("bpy")
    found = find_blender()
    assert found is not None and found.path == default_folder() and found.path.is_relative_to(bare)
    monkeypatch.setenv(VARIABLE, "/somewhere")
    found = find_blender()
    assert found is not None and found.path == Path("/somewhere") and VARIABLE in found.source


def test_check_tells_what_is_missing(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check"]) == 1
    assert "no Blender found; python -m v2m4.io.blender install" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, str(bare))
    assert main(["check"]) == 1
    assert "no Blender executable in this folder" in capsys.readouterr().err


@pytest.mark.usefixtures("bare")
def test_without_a_python_that_fits_one_line_tells_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(blender_install, "python_version", lambda python: (3, 12))
    assert main(["install", "--folder", str(tmp_path / "new")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Python 3.11 (bpy 5.0.1)" in told and "--python PATH" in told
    assert "blender.org" in told and not (tmp_path / "new").exists()
    with pytest.raises(InstallError, match=r"--python x: is Python 3\.12; bpy has wheels for"):
        find_python(Path("x"))
    monkeypatch.setattr(blender_install, "python_version", lambda python: None)
    with pytest.raises(InstallError, match=r"--python x: does not run"):
        find_python(Path("x"))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for Python are shell scripts")
def test_the_python_is_found_and_the_steps_run_in_order(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for python3.11 that makes an environment of a stand-in, which notes its commands."""
    inside = (
        '#!/bin/sh\necho "$@" >> "{log}"\ncase "$*" in *pip*{fail}*) echo no such wheel >&2; exit 1;; esac\n'
        "echo v2m4-blender 5.0.1\n"
    )
    log, folder = bare / "log", bare / "own"
    template = executable(bare / "template", inside.format(log=log, fail=""))
    python = executable(
        bare / "bin" / "python3.11",
        '#!/bin/sh\nif [ "$1" = -c ]; then echo 3 11; exit; fi\n'
        f'/bin/mkdir -p "$4/bin"; /bin/cp "{template}" "$4/bin/python"; echo > "$4/pyvenv.cfg"\n',
    )
    monkeypatch.setattr(sys, "executable", str(bare / "nothing"))
    assert find_python() == (python, "5.0.1")
    assert main(["install", "--folder", str(folder)]) == 1
    assert "pip install" in capfd.readouterr().err and not (folder / MARKER).exists()
    template.write_text(inside.format(log=log, fail="never"))
    assert main(["install", "--folder", str(folder)]) == 0  # what the failed attempt left is replaced
    told = capfd.readouterr().out
    assert f"Blender 5.0.1 is ready in {folder}" in told and f"{VARIABLE}={folder}" in told
    assert (folder / MARKER).is_file() and "bpy==5.0.1" in log.read_text()
    lines = len(log.read_text().splitlines())
    assert main(["install", "--folder", str(folder)]) == 0
    assert len(log.read_text().splitlines()) == lines + 1  # only its version was asked for
    (bare / "full").mkdir()
    (bare / "full" / "thesis.txt").write_text("mine")
    assert main(["install", "--folder", str(bare / "full")]) == 1
    assert "not empty and not a Python environment" in capfd.readouterr().err
    assert (bare / "full" / "thesis.txt").read_text() == "mine"


@needs_blender
def test_the_command_tells_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(BLENDER))
    command = [sys.executable, "-m", "v2m4.io.blender", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("Blender ") and str(BLENDER) in done.stdout
