"""Run a script in Blender, or in a Python that has ``bpy``, as a separate process."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

SCRIPTS = Path(__file__).parent
CONVERSION = SCRIPTS / "_blender_script.py"
# The executable within a folder: Blender's own, a macOS application, a virtual environment with bpy.
EXECUTABLES = (
    "blender",
    "blender.exe",
    "Contents/MacOS/Blender",
    "Blender.app/Contents/MacOS/Blender",
    "bin/python",
    "Scripts/python.exe",
)
TIMEOUT = 1800.0  # seconds
LAST_LINES = 15  # of the output of a failed script, that are logged


def blender_command(blender_path: Path, script: Path = CONVERSION) -> list[str]:
    """The command line that runs a script in Blender, to which the script's arguments are appended.

    Args:
        blender_path: Blender's executable or its folder, or a Python with bpy or its environment's folder.
        script: the Python script.

    Raises:
        FileNotFoundError: there is no executable.
    """
    path = Path(blender_path)
    if path.is_dir():
        executable = next((path / place for place in EXECUTABLES if (path / place).is_file()), None)
        if executable is None:
            raise FileNotFoundError(f"--blender_path {path}: no Blender executable in this folder")
        path = executable
    if not path.is_file() or not os.access(path, os.X_OK):
        raise FileNotFoundError(f"--blender_path {path}: not an executable; give Blender's folder or its executable")
    if path.name.lower().startswith("python"):
        return [str(path), str(script), "--"]
    options = ["--background", "--factory-startup", "--python-exit-code", "3", "--python", str(script), "--"]
    return [str(path), *options]


def run_blender(command: Sequence[str], outputs: Mapping[str, Path] | None = None, timeout: float = TIMEOUT) -> str:
    """Run a command of ``blender_command`` and check its outputs.

    Args:
        command: with its arguments.
        outputs: files that must exist afterwards, by the name that errors use.
        timeout: seconds.

    Returns:
        What the script printed.

    Raises:
        RuntimeError: Blender did not run, failed or did not write one of the files; the message ends with its last
            line of output, the lines before it are logged.
    """
    logger.debug("running %s", command)
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"Blender ({command[0]}) did not run: {error}") from error
    missing = [name for name, path in (outputs or {}).items() if not path.is_file()]
    if process.returncode != 0 or missing:
        lines = (process.stderr.strip() or process.stdout.strip()).splitlines()[-LAST_LINES:]
        if len(lines) > 1:
            for line in ("the last lines of Blender's output:", *lines):
                logger.error("%s", line)
        failure = f"wrote no {', '.join(missing)}" if missing else "failed"
        raise RuntimeError(f"Blender ({command[0]}) {failure} (exit code {process.returncode}): {''.join(lines[-1:])}")
    return process.stdout
