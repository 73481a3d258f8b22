"""FBX as an animated GLB, through Blender in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from v2m4.io.blender import blender_command, run_blender
from v2m4.workspace import atomic

SCRIPT = Path(__file__).with_name("_fbx_script.py")


def fbx_to_glb(fbx: Path, glb: Path, blender_path: Path) -> Path:
    """Write the scene of an FBX as a GLB of one clip with a key at every frame.

    Args:
        fbx: the file to read.
        glb: the file to write.
        blender_path: see ``blender_command``.

    Returns:
        ``glb``.

    Raises:
        FileNotFoundError: the FBX or Blender is not there.
        RuntimeError: Blender failed; the message ends with what it said last.
    """
    fbx, glb = Path(fbx).resolve(), Path(glb)
    if not fbx.is_file():
        raise FileNotFoundError(f"{fbx}: no such file")
    with atomic(glb.resolve()) as temporary:
        request = json.dumps({"fbx": str(fbx), "glb": str(temporary)})
        run_blender([*blender_command(blender_path, SCRIPT), request], {glb.name: temporary})
    return glb
