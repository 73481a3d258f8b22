"""Convert an animated GLB to FBX, USD, USDZ and Alembic with Blender, run as a separate process.

``python -m v2m4.io.blender install`` installs Blender, ``python -m v2m4.io.blender check`` tells which is found.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from v2m4.io.blender_process import blender_command, run_blender

__all__ = ["FORMATS", "SUFFIXES", "blender_command", "export_with_blender", "run_blender"]

SUFFIXES = (".fbx", ".usd", ".usdz", ".abc")
FORMATS = (".fbx", ".usd", ".abc")  # by default
TEXTURES = "textures"  # folder beside the .usd
WORK_FOLDER = ".blender-"  # prefix of the folder beside the GLB that Blender writes into


def export_with_blender(
    glb: Path,
    blender_path: Path,
    *,
    fps: float,
    frames: int,
    formats: Sequence[str] = FORMATS,
    rigged: Path | None = None,
) -> list[Path]:
    """Convert an animation to other formats, written beside the GLB under its name.

    Args:
        glb: an animated GLB.
        blender_path: Blender's executable or its folder, or a Python with bpy or its environment's folder.
        fps: frames per second.
        frames: number of frames of the animation, the first at time 0.
        formats: suffixes out of SUFFIXES.
        rigged: the same animation of a skin with joints; the FBX is made of it, and has a skeleton in place of shape
            keys. The other formats are made of ``glb``: Alembic holds the vertices of every frame, and so does USD
            where ``glb`` has no skin.

    Returns:
        The files written, in the order of ``formats``. USD puts its textures into ``textures/`` beside it.

    Raises:
        ValueError: a format is not known.
        FileNotFoundError: the GLB or Blender does not exist.
        RuntimeError: Blender failed; the message ends with its last line of output.
    """
    unknown = [suffix for suffix in formats if suffix not in SUFFIXES]
    if unknown:
        raise ValueError(f"export_with_blender: unknown formats {unknown}; known are {list(SUFFIXES)}")
    glb = Path(glb).resolve()
    for file in (glb, *([] if rigged is None else [rigged])):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
    command = blender_command(blender_path)
    for leftover in glb.parent.glob(f"{WORK_FOLDER}*"):  # of a run that was killed
        shutil.rmtree(leftover)
    # Blender names what is inside a .usdz after the file, and writes pictures beside a .usd: hence a folder.
    with tempfile.TemporaryDirectory(prefix=WORK_FOLDER, dir=glb.parent) as name:
        folder = Path(name)
        temporary = [folder / f"{glb.stem}{suffix}" for suffix in formats]
        jobs: dict[str, list[str]] = {}
        for path in temporary:
            source = rigged.resolve() if rigged is not None and path.suffix == ".fbx" else glb
            jobs.setdefault(str(source), []).append(str(path))
        request = json.dumps({"jobs": jobs, "fps": fps, "frames": frames})
        run_blender([*command, request], {path.name: path for path in temporary})
        for path in sorted((folder / TEXTURES).glob("*")):
            (glb.parent / TEXTURES).mkdir(exist_ok=True)
            os.replace(path, glb.parent / TEXTURES / path.name)
        for path in temporary:
            os.replace(path, glb.parent / path.name)
    return [glb.with_suffix(suffix) for suffix in formats]


if __name__ == "__main__":
    from v2m4.command_line import end_with
    from v2m4.io.blender_install import main

    end_with(main)
