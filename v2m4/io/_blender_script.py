"""Convert animated GLBs to FBX, USD, USDZ or Alembic; runs inside Blender (or a Python with bpy), is never imported.

Arguments after ``--``: one JSON object with ``jobs`` (paths of outputs by path of the GLB), ``fps`` and ``frames``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).parent))  # Blender does not, a Python with bpy does
from _blender_import import import_animation


def convert(jobs: dict[str, list[str]], fps: float, frames: int) -> None:
    """Import each animation at frames 0 .. frames - 1 and write its outputs in the formats of their suffixes."""
    for glb, outputs in jobs.items():
        scene = import_animation(glb, fps)
        scene.frame_start, scene.frame_end = 0, max(frames - 1, 0)
        for output in outputs:
            WRITERS[Path(output).suffix](output, scene)


def write_fbx(path: str, _scene: "bpy.types.Scene") -> None:
    """Write FBX with the animation of shape keys or bones and the textures embedded."""
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


class FrameRate(bpy.types.USDHook):
    """Adds the rate of playback to a USD; the exporter writes the time of a frame alone."""

    bl_idname = "v2m4_frame_rate"
    bl_label = "frame rate"

    @staticmethod
    def on_export(context: Any) -> bool:
        """Called by the exporter before it saves the stage."""
        stage = context.get_stage()
        stage.SetFramesPerSecond(stage.GetTimeCodesPerSecond())
        return True


def write_usd(path: str, _scene: "bpy.types.Scene") -> None:
    """Write USD with a skeleton or vertices for every frame, not blend shapes, which few viewers play, and textures."""
    bpy.ops.wm.usd_export(
        filepath=path,
        export_animation=True,
        export_shapekeys=False,
        convert_orientation=True,  # y up, as viewers of USDZ require
        export_global_forward_selection="NEGATIVE_Z",
        export_global_up_selection="Y",
    )


def write_abc(path: str, scene: "bpy.types.Scene") -> None:
    """Write Alembic with vertices for every frame; the format has no materials."""
    bpy.ops.wm.alembic_export(filepath=path, start=scene.frame_start, end=scene.frame_end, as_background_job=False)


WRITERS = {".fbx": write_fbx, ".usd": write_usd, ".usdz": write_usd, ".abc": write_abc}

if __name__ == "__main__":
    if hasattr(bpy.utils, "expose_bundled_modules"):  # since 4.2; the hook is given a stage of the module pxr
        bpy.utils.expose_bundled_modules()
        bpy.utils.register_class(FrameRate)
    convert(**json.loads(sys.argv[sys.argv.index("--") + 1]))
