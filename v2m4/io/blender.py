"""An animated GLB as FBX, USD and Alembic, through Blender in a process of its own.

Blender, a Python that has ``bpy`` (its own environment: bpy wants an old numpy), or a folder of either will do.
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
# Where the executable lies in a folder: Blender's own, a Mac's application, a virtual environment with bpy.
PLACES = (
    "blender",
    "blender.exe",
    "Contents/MacOS/Blender",
    "Blender.app/Contents/MacOS/Blender",
    "bin/python",
    "Scripts/python.exe",
)
TIMEOUT = 1800.0  # seconds


def blender_command(blender_path: Path, script: Path = SCRIPT) -> list[str]:
    """The beginning of a command line that runs our script in Blender; arguments follow.

    Args:
        blender_path: Blender's executable or its folder, or a Python with bpy or its environment's folder.
        script: what is run.

    Raises:
        FileNotFoundError: there is nothing to run.
    """
    path = Path(blender_path)
    if path.is_dir():
        found = next((path / place for place in PLACES if (path / place).is_file()), None)
        if found is None:
            raise FileNotFoundError(f"--blender_path {path}: no Blender executable in this folder")
        path = found
    if not path.is_file() or not os.access(path, os.X_OK):
        raise FileNotFoundError(f"--blender_path {path}: not an executable; give Blender's folder or its executable")
    if path.name.lower().startswith("python"):
        return [str(path), str(script), "--"]
    options = ["--background", "--factory-startup", "--python-exit-code", "3", "--python", str(script), "--"]
    return [str(path), *options]


def export_with_blender(
    glb: Path, blender_path: Path, *, fps: float, frames: int, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write an animation in other formats beside the GLB, under its name.

    Args:
        glb: made by ``write_animation_glb``.
        blender_path: see ``blender_command``.
        fps: frames per second.
        frames: of the whole animation; frame 0 is the first.
        formats: suffixes out of FORMATS.

    Returns:
        The files written, in the order of ``formats``. USD puts its texture into ``textures/`` beside it.

    Raises:
        ValueError: a format is not known.
        FileNotFoundError: the GLB or Blender is not there.
        RuntimeError: Blender failed; the message ends with what it said last.
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
    """Run a command that ``blender_command`` began.

    Args:
        command: with its arguments.
        outputs: files that must be there afterwards, by the names that people know them by.

    Raises:
        RuntimeError: Blender did not run, failed or wrote none of them; the message ends with what it said last.
    """
    logger.debug("running %s", command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"Blender ({command[0]}) did not run: {error}") from error
    missing = [name for name, path in outputs.items() if not path.is_file()]
    if done.returncode != 0 or missing:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        what = f"wrote no {', '.join(missing)}" if missing else "failed"
        raise RuntimeError(f"Blender ({command[0]}) {what} (exit code {done.returncode}): {''.join(said)}")
