"""Convert an animated GLB to FBX, USD or Alembic; runs inside Blender (or a Python with bpy), is never imported.

Arguments after ``--``: one JSON object with ``glb``, ``fps``, ``frames`` and ``outputs`` (paths).
"""

import json
import math
import sys
from pathlib import Path

import bpy


def convert(glb: str, fps: float, frames: int, outputs: list[str]) -> None:
    """Import the animation at frames 0 .. frames - 1 and write each output in the format of its suffix."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    # The importer converts seconds to frames at the scene's rate, so the rate is set first.
    scene.render.fps = math.ceil(fps)
    scene.render.fps_base = math.ceil(fps) / fps
    bpy.ops.import_scene.gltf(filepath=glb)
    scene.frame_start, scene.frame_end = 0, max(frames - 1, 0)
    for item in scene.objects:
        if item.type == "MESH":
            item.data.shade_smooth()  # the exporters split the vertices of flat-shaded faces
        if item.type == "CAMERA":
            scene.camera = item
    for output in outputs:
        WRITERS[Path(output).suffix](output, scene)


def write_fbx(path: str, _scene: "bpy.types.Scene") -> None:
    """Write FBX with the animation of the shape keys and the texture embedded."""
    bpy.ops.export_scene.fbx(
        filepath=path,
        path_mode="COPY",
        embed_textures=True,
        bake_anim=True,
        bake_anim_use_all_actions=False,
        bake_anim_use_nla_strips=False,
        bake_anim_simplify_factor=0.0,
        add_leaf_bones=False,
    )


def write_usd(path: str, _scene: "bpy.types.Scene") -> None:
    """Write USD with vertices for every frame (few viewers play blend shapes) and the texture beside it."""
    bpy.ops.wm.usd_export(filepath=path, export_animation=True, export_shapekeys=False)


def write_abc(path: str, scene: "bpy.types.Scene") -> None:
    """Write Alembic with vertices for every frame; the format has no materials."""
    bpy.ops.wm.alembic_export(filepath=path, start=scene.frame_start, end=scene.frame_end, as_background_job=False)


WRITERS = {".fbx": write_fbx, ".usd": write_usd, ".abc": write_abc}

if __name__ == "__main__":
    convert(**json.loads(sys.argv[sys.argv.index("--") + 1]))
