"""Blender on this machine: find it, install it from pip as the package ``bpy`` in an environment of its own.

``bpy`` is Blender as a Python module. Each of its releases has wheels for one version of Python only and requires an
old numpy, so it does not fit into the program's own environment.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from v2m4.command_line import OneLineParser
from v2m4.io.blender_process import SCRIPTS, blender_command, run_blender

VARIABLE = "V2M4_BLENDER"  # environment variable: Blender's folder or executable
# The release of bpy for each version of Python that has one on PyPI; 5.0.1 is what the conversions are tested with.
RELEASES = {(3, 11): "5.0.1", (3, 13): "5.1.2"}
MARKER = "v2m4_blender.txt"  # written into the environment when it is complete
INSTALL = "python -m v2m4.io.blender install"
VERSION_SCRIPT = SCRIPTS / "_blender_version_script.py"
SYSTEM_LIBRARIES = "libgl1 libegl1 libxi6 libxxf86vm1 libxfixes3 libxrender1 libxkbcommon0 libsm6"  # Debian's names


class InstallError(Exception):
    """Blender cannot be installed here; one line with what to do."""


@dataclass(frozen=True)
class Blender:
    """Blender as found on this machine.

    Attributes:
        path: as ``--blender_path`` takes it.
        source: what names it.
    """

    path: Path
    source: str


def default_folder() -> Path:
    """The folder of the environment that ``install`` makes: in the user's cache folder, ``v2m4/blender``."""
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "v2m4" / "blender"


def find_blender() -> Blender | None:
    """Blender without ``--blender_path``: of the environment variable, of ``install``, on PATH, or this Python's bpy.

    A path in the environment variable is returned as it stands, so that an error can name it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Blender(Path(named), f"environment variable {VARIABLE}")
    if (default_folder() / MARKER).is_file():
        return Blender(default_folder(), INSTALL)
    on_path = shutil.which("blender")
    if on_path is not None:
        return Blender(Path(on_path), "PATH")
    return None if importlib.util.find_spec("bpy") is None else Blender(Path(sys.executable), "bpy in this Python")


def blender_version(path: Path) -> str:
    """The version of Blender, as it tells it itself.

    Args:
        path: see ``blender_command``.

    Raises:
        FileNotFoundError: there is no executable.
        RuntimeError: it does not run; the message ends with its last line of output.
    """
    lines = run_blender(blender_command(path, VERSION_SCRIPT)).splitlines()
    return next((line.split(maxsplit=1)[1] for line in lines if line.startswith("v2m4-blender ")), "unknown")


def find_python(given: Path | None = None) -> tuple[Path, str]:
    """A Python that has a release of bpy, and the release.

    Args:
        given: the only one to look at; None for this process's and those on PATH.

    Raises:
        InstallError: there is none.
    """
    known = ", ".join(f"{major}.{minor} (bpy {RELEASES[major, minor]})" for major, minor in RELEASES)
    if given is not None:
        found = python_version(given)
        if found not in RELEASES:
            told = "does not run" if found is None else f"is Python {found[0]}.{found[1]}"
            raise InstallError(f"--python {given}: {told}; bpy has wheels for Python {known}")
        return given, RELEASES[found]
    names = [sys.executable, *(shutil.which(f"python{major}.{minor}") for major, minor in RELEASES)]
    for name in names:
        found = None if name is None else python_version(Path(name))
        if name is not None and found in RELEASES:
            return Path(name), RELEASES[found]
    raise InstallError(
        f"bpy has wheels for Python {known} and this is {sys.version_info[0]}.{sys.version_info[1]}; install one of"
        " these and add --python PATH, or unpack Blender from https://www.blender.org and use --blender_path FOLDER"
    )


def python_version(python: Path) -> tuple[int, int] | None:
    """Major and minor version of a Python executable; None where it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False, timeout=60)
        major, minor = told.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def install(folder: Path, python: Path | None = None) -> str:
    """Make an environment with bpy; returns Blender's version. pip shows its progress on the terminal.

    Args:
        folder: of the environment; one that is complete is kept, what a failed attempt left is replaced.
        python: the interpreter; None for one that has a release.

    Raises:
        InstallError: no Python fits, the folder holds something else, or a step failed.
    """
    if (folder / MARKER).is_file():
        return blender_version(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise InstallError(f"{folder}: is not empty and not a Python environment; give another --folder")
    interpreter, release = find_python(python)
    _run([str(interpreter), "-m", "venv", "--clear", str(folder)])
    inside = blender_command(folder, VERSION_SCRIPT)[0]
    _run([inside, "-m", "pip", "install", "--no-cache-dir", "--only-binary", "bpy", f"bpy=={release}"])
    try:
        version = blender_version(folder)
    except RuntimeError as error:
        hint = f"; on Debian or Ubuntu: apt-get install {SYSTEM_LIBRARIES}" if ".so" in str(error) else ""
        raise InstallError(f"{error}{hint}") from error
    (folder / MARKER).write_text(f"bpy {release}\n", "utf-8")
    return version


def _run(command: Sequence[str]) -> None:
    """Run a step of the installation.

    Raises:
        InstallError: it failed.
    """
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InstallError(f"{command[0]}: {error}") from error
    if code != 0:
        raise InstallError(f"{' '.join(command)} failed (exit code {code}); its output is above")


def check() -> str:
    """What is found, in one line.

    Raises:
        FileNotFoundError: nothing is found, or no executable where something names one.
        RuntimeError: what is found does not run.
    """
    found = find_blender()
    if found is None:
        raise FileNotFoundError(f"no Blender found; {INSTALL}, or give --blender_path where one is unpacked")
    return f"Blender {blender_version(found.path)} at {found.path} (from {found.source})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 where Blender is not found or cannot be installed."""
    parser = OneLineParser(prog="python -m v2m4.io.blender", description="Install Blender, or find it.")
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser(
        "install", help="install bpy from pip into an environment of its own (1 GB on disk)"
    )
    installing.add_argument("--folder", type=Path, default=None, help=f"default: {default_folder()}")
    installing.add_argument("--python", type=Path, default=None, help="a Python that bpy has wheels for")
    commands.add_parser("check", help="print which Blender is found, and its version")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            print(check())
            return 0
        folder = (options.folder or default_folder()).expanduser().absolute()
        print(f"Blender {install(folder, options.python)} is ready in {folder}")
        if folder != default_folder():
            print(f"to have it found: --blender_path {folder}, or the environment variable {VARIABLE}={folder}")
        return 0
    except (InstallError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
