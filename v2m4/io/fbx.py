"""Convert FBX to animated GLB with Blender, run as a separate process."""

from __future__ import annotations

import json
from pathlib import Path

from v2m4.io.blender_process import SCRIPTS, blender_command, run_blender
from v2m4.workspace import atomic

SCRIPT = SCRIPTS / "_fbx_script.py"


def fbx_to_glb(fbx: Path, glb: Path, blender_path: Path) -> Path:
    """Convert the scene of an FBX to a GLB with one clip, a key at every frame.

    Args:
        fbx: the file to read.
        glb: the file to write.
        blender_path: see ``blender_command``.

    Returns:
        ``glb``.

    Raises:
        FileNotFoundError: the FBX or Blender does not exist.
        RuntimeError: Blender failed; the message ends with its last line of output.
    """
    fbx, glb = Path(fbx).resolve(), Path(glb)
    if not fbx.is_file():
        raise FileNotFoundError(f"{fbx}: no such file")
    with atomic(glb.resolve()) as temporary:
        request = json.dumps({"fbx": str(fbx), "glb": str(temporary)})
        run_blender([*blender_command(blender_path, SCRIPT), request], {glb.name: temporary})
    return glb
