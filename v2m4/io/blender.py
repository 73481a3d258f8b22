"""Convert an animated GLB to FBX, USD and Alembic with Blender, run as a separate process.

Either Blender or a Python that has ``bpy`` is used (an environment of its own: bpy needs an old numpy).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from v2m4.workspace import atomic

logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("_blender_script.py")
FORMATS = (".fbx", ".usd", ".abc")
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


def blender_command(blender_path: Path, script: Path = SCRIPT) -> list[str]:
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


def export_with_blender(
    glb: Path, blender_path: Path, *, fps: float, frames: int, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Convert an animation to other formats, written beside the GLB under its name.

    Args:
        glb: written by ``write_animation_glb``.
        blender_path: see ``blender_command``.
        fps: frames per second.
        frames: number of frames of the animation.
        formats: suffixes out of FORMATS.

    Returns:
        The files written, in the order of ``formats``. USD puts its texture into ``textures/`` beside it.

    Raises:
        ValueError: a format is not known.
        FileNotFoundError: the GLB or Blender does not exist.
        RuntimeError: Blender failed; the message ends with its last line of output.
    """
    unknown = [suffix for suffix in formats if suffix not in FORMATS]
    if unknown:
        raise ValueError(f"export_with_blender: unknown formats {unknown}; known are {list(FORMATS)}")
    glb = Path(glb).resolve()
    if not glb.is_file():
        raise FileNotFoundError(f"{glb}: no such file")
    outputs = [glb.with_suffix(suffix) for suffix in formats]
    with ExitStack() as stack:
        temporary = [stack.enter_context(atomic(output)) for output in outputs]
        request = {"glb": str(glb), "fps": fps, "frames": frames, "outputs": [str(path) for path in temporary]}
        command = [*blender_command(blender_path), json.dumps(request)]
        run_blender(command, {output.name: path for output, path in zip(outputs, temporary, strict=True)})
    return outputs


def run_blender(command: Sequence[str], outputs: Mapping[str, Path]) -> None:
    """Run a command of ``blender_command`` and check its outputs.

    Args:
        command: with its arguments.
        outputs: files that must exist afterwards, by the name that errors use.

    Raises:
        RuntimeError: Blender did not run, failed or did not write one of them; the message ends with its last line of
            output.
    """
    logger.debug("running %s", command)
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"Blender ({command[0]}) did not run: {error}") from error
    missing = [name for name, path in outputs.items() if not path.is_file()]
    if process.returncode != 0 or missing:
        last_line = (process.stderr.strip() or process.stdout.strip()).splitlines()[-1:]
        failure = f"wrote no {', '.join(missing)}" if missing else "failed"
        raise RuntimeError(f"Blender ({command[0]}) {failure} (exit code {process.returncode}): {''.join(last_line)}")
