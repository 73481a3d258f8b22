"""A copy of a GLB compressed for web pages (EXT_meshopt_compression), written by the command line tool gltf-transform.

Viewers decode it with meshoptimizer's decoder (three.js, Babylon.js and model-viewer have it); other programs, Blender
among them, may not read it.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)

INSTALL = "npm install -g @gltf-transform/cli"
TIMEOUT = 600.0  # seconds


def gltf_transform_command() -> tuple[str, ...] | None:
    """The command that runs gltf-transform: on the PATH, else in node_modules by npx; None where it is in neither.

    Nothing is downloaded.
    """
    found = shutil.which("gltf-transform")
    if found is not None:
        return (found,)
    npx = shutil.which("npx")
    if npx is None:
        return None
    command = (npx, "--offline", "--no-install", "gltf-transform")
    return command if _version(command) else None


@lru_cache
def _version(command: tuple[str, ...]) -> str:
    """The version of gltf-transform, empty where the command does not run."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tool_version() -> str:
    """The version of the gltf-transform that is found, for the keys of artefacts; empty where there is none."""
    command = gltf_transform_command()
    return "" if command is None else _version(command)


def write_web_glb(source: Path, path: Path, command: Sequence[str] | None = None) -> None:
    """Write a meshopt-compressed copy of a GLB.

    Positions are rounded to 14 bits of the mesh's size, normals to 10, texture coordinates to 12; textures are kept.

    Args:
        source: the GLB.
        path: the copy, ends in .glb.
        command: that runs gltf-transform (default: ``gltf_transform_command``).

    Raises:
        FileNotFoundError: there is no gltf-transform.
        RuntimeError: it failed; the message ends with its last line of output.
    """
    command = gltf_transform_command() if command is None else command
    if command is None:
        raise FileNotFoundError(f"gltf-transform is not installed; {INSTALL}")
    arguments = [*command, "meshopt", str(source), str(path)]
    logger.debug("running %s", arguments)
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"gltf-transform ({command[0]}) did not run: {error}") from error
    if done.returncode != 0 or not path.is_file():
        last_line = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise RuntimeError(f"gltf-transform failed on {source} (exit code {done.returncode}): {''.join(last_line)}")
